"""The small interface for sources, dressed as the one the index wants."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from zope.interface import implementer

from mailfw.interfaces import IContent, IMessageSource
from mailfw.mail.mailbox import Flags, Folder, Item, MailboxEdit, Path, Scan
from mailfw.mail.summary import Summariser, Summary
from mailfw.stores.index.ledger import (
    Expected,
    IDepositor,
    ILedgerSource,
    Intent,
    Known,
    Numbered,
    Staged,
    Survey,
)
from mailfw.stores.threads import Threads
from mailfw.turns import Turns

#: What is read and summarised at once.
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """A message that a plain source has nowhere to stage: it waits in the content it came in."""

    content: Any
    digest: str


@implementer(ILedgerSource, IMessageSource)
class PlainSource:
    """
    Asks a source in turn for one account, looks at a folder anew every `patience` seconds, and leaves to the
    index what the source has no memory for: UIDs, tokens, subscriptions.
    """

    notes_intents = True

    def __init__(self, source: Any, threads: Threads, patience: float) -> None:
        self._source = source
        self._threads = threads
        self._patience = patience
        self._turns: dict[str, Turns] = {}
        self._scanned: dict[tuple[str, str], float] = {}

    @asynccontextmanager
    async def _turn(self, account: str) -> AsyncIterator[Any]:
        turns = self._turns.setdefault(account, Turns())
        try:
            async with turns:
                yield self._source
        finally:
            if turns.is_idle:
                self._turns.pop(account, None)

    # ------------------------------------------------------------ as the source has it

    async def open_account(self, account: str) -> None:
        """Make sure the account exists."""
        async with self._turn(account) as source:
            await source.open_account(account)

    async def remove_account(self, account: str) -> None:
        """Destroy the account."""
        async with self._turn(account) as source:
            await source.remove_account(account)

    async def folders(self, account: str) -> Sequence[Folder]:
        """Return every folder."""
        async with self._turn(account) as source:
            found: Sequence[Folder] = await source.folders(account)
            return found

    async def edit_folder(self, account: str, edit: MailboxEdit) -> None:
        """Create, rename or delete."""
        async with self._turn(account) as source:
            await source.edit_folder(account, edit)

    async def scan(self, account: str, folder: str, cursor: str | None) -> Scan:
        """Look what is there."""
        async with self._turn(account) as source:
            found: Scan = await source.scan(account, folder, cursor)
            return found

    async def open(self, account: str, folder: str, key: str) -> IContent:
        """Open a message."""
        async with self._turn(account) as source:
            found: IContent = await source.open(account, folder, key)
            return found

    def at_hand(self, account: str, folder: str, keys: Sequence[str]) -> list[IContent | None]:
        """Return nothing: who knows how long a plug-in takes?"""
        return [None] * len(keys)

    async def open_many(self, account: str, folder: str, keys: Sequence[str]) -> list[IContent | None]:
        """Open messages."""
        return [await self._open_if_there(account, folder, key) for key in keys]

    async def _open_if_there(self, account: str, folder: str, key: str) -> IContent | None:
        try:
            return await self.open(account, folder, key)
        except KeyError:
            return None

    async def put(self, account: str, folder: str, content: IContent, flags: Flags, received: int) -> Item:
        """Keep a message."""
        async with self._turn(account) as source:
            item: Item = await source.put(account, folder, content, flags, received)
            return item

    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        """Give messages exactly these flags."""
        async with self._turn(account) as source:
            await source.set_flags(account, folder, flags)

    async def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        """Remove messages."""
        async with self._turn(account) as source:
            await source.drop(account, folder, keys)

    async def close(self) -> None:
        """Close the source."""
        await self._source.close()

    # ------------------------------------------------------------ as the index wants it

    async def survey(self, account: str, folder: str, known: Known, cursor: str | None) -> Survey:
        """Compare a folder with what is known of it."""
        scan = await self.scan(account, folder, cursor)
        self._scanned[account, folder] = time.monotonic()
        flags = dict(zip(known.keys, known.flags, strict=True))
        items = {item.key: item for item in scan.items}  # a journal may tell of a message twice: the last time counts
        fresh = [Numbered(item, None, _new_email_id()) for key, item in items.items() if key not in flags]
        changed = {key: item.flags for key, item in items.items() if flags.get(key, item.flags) != item.flags}
        gone = [key for key in known.keys if key not in items] if scan.complete else list(scan.removed)
        return Survey(None, None, fresh, changed, gone, scan.cursor)

    async def stale(self, folders: Sequence[tuple[str, str, str | None]]) -> list[bool]:
        """Say of each folder whether it was looked at long ago."""
        limit = time.monotonic() - self._patience
        return [self._scanned.get((account, folder), limit - 1) <= limit for account, folder, _ in folders]

    def directories(self, account: str, folder: str) -> Sequence[str]:
        """Return none: only asking the source tells."""
        return ()

    async def stage(
        self, account: str, content: Any, received: int, mark: str | None, summary: Summary | None
    ) -> Staged:
        """Summarise a message where it is."""
        digest = blake2b()
        if summary is None:
            summary = await self._summarise(content, digest.update)
        else:
            await self._pass(content, digest.update)
        return Staged(_Unwritten(content, digest.hexdigest()), received, mark, _new_email_id(), summary)

    async def _summarise(self, content: Any, *others: Callable[[bytes], None]) -> Summary:
        summariser = Summariser()
        await self._pass(content, summariser.feed, *others)
        return await self._threads.run(summariser.finish)

    async def _pass(self, content: Any, *takers: Callable[[bytes], None]) -> None:
        """Read a content in pieces, and give each of them to all who take them."""
        offset = 0
        while octets := await content.read(offset, CHUNK):
            for take in takers:
                await self._threads.run(take, octets)
            offset += len(octets)

    def depositor(self) -> IDepositor | None:
        """Return None: a plug-in's methods want the reactor."""
        return None

    async def discard(self, account: str, staged: Sequence[Staged]) -> None:
        """Do nothing: nothing was written."""

    async def place(self, account: str, folder: str, messages: Sequence[tuple[Staged, Flags]]) -> list[Numbered]:
        """Put messages one after the other; those before one that fails are taken back."""
        items: list[Item] = []
        try:
            for staged, flags in messages:
                draft = staged.draft
                assert isinstance(draft, _Unwritten)
                items.append(await self.put(account, folder, draft.content, flags, staged.received))
        except BaseException:
            await self._take_back(account, folder, [item.key for item in items])
            raise
        return [
            Numbered(item, staged.uid, staged.email_id, staged.mark)
            for item, (staged, _) in zip(items, messages, strict=True)
        ]

    async def renumber(self, account: str, folder: str, uid_validity: int | None, uid_next: int) -> int | None:
        """Do nothing: the index gives the numbers."""
        return None

    async def transfer(
        self,
        account: str,
        folder: str,
        messages: Sequence[tuple[str, Flags, str, int]],
        to: str,
        move: bool,
        landing: Sequence[str] | None,
    ) -> list[tuple[str, int | None] | None]:
        """Put what is read from one folder into the other."""
        landed: list[tuple[str, int | None] | None] = []
        try:
            for key, flags, _, received in messages:
                landed.append(await self._copy(account, folder, key, flags, to, received))
        except BaseException:
            await self._take_back(account, to, [each[0] for each in landed if each is not None])
            raise
        return landed

    def foresee(self, account: str, keys: Sequence[str]) -> Sequence[str]:
        """Return empty keys: a source gives them when it has the message."""
        return [""] * len(keys)

    def expect(self, account: str, staged: Staged) -> Expected:
        """Return what a message is known by: nothing but its octets."""
        draft = staged.draft
        assert isinstance(draft, _Unwritten)
        return Expected(digest=draft.digest)

    async def settle(self, account: str, intent: Intent, known: Known) -> list[str | None]:
        """Look for what came without the index's hearing of it: all of an order stays, or none."""
        if intent.dropping:
            await self.drop(account, intent.folder or "", [each.old for each in intent.messages])
            return [each.new for each in intent.messages]
        orphans = await self._orphans(account, intent, known)
        found: list[str | None] = []
        for each in intent.messages:
            digest = each.digest or await self._digest(account, intent.folder or "", each.old)
            same = orphans.get((each.size, each.received, digest), [])
            found.append(_take(same, frozenset(each.flags)))
        torn = {each.order for each, key in zip(intent.messages, found, strict=True) if key is None or intent.is_undone}
        parted = list(zip(intent.messages, found, strict=True))
        await self.drop(account, intent.to, [key for each, key in parted if key is not None and each.order in torn])
        stays = [None if each.order in torn else key for each, key in parted]
        if intent.move and not torn:
            await self.drop(account, intent.folder or "", [each.old for each in intent.messages])
        return stays

    async def _orphans(self, account: str, intent: Intent, known: Known) -> dict[tuple[int, int, str], list[Item]]:
        """Return what the index has not, by size, date and digest, as far as it may be what was put."""
        scan = await self.scan(account, intent.to, None)
        here, looks = set(known.keys), {(each.size, each.received) for each in intent.messages}
        found: dict[tuple[int, int, str], list[Item]] = {}
        for item in scan.items:
            if item.key not in here and (item.size, item.received) in looks:
                digest = await self._digest(account, intent.to, item.key)
                found.setdefault((item.size, item.received, digest), []).append(item)
        return found

    async def _digest(self, account: str, folder: str, key: str) -> str:
        """Return the digest of a message's octets, empty if it is gone."""
        content = await self._open_if_there(account, folder, key)
        if content is None:
            return ""
        digest = blake2b()
        try:
            await self._pass(content, digest.update)
        finally:
            await content.close()
        return digest.hexdigest()

    async def _copy(
        self, account: str, folder: str, key: str, flags: Flags, to: str, received: int
    ) -> tuple[str, int | None] | None:
        try:
            content = await self.open(account, folder, key)
        except KeyError:
            return None
        try:
            return (await self.put(account, to, content, flags, received)).key, None
        finally:
            await content.close()

    async def _take_back(self, account: str, folder: str, keys: Sequence[str]) -> None:
        with suppress(Exception):
            await self.drop(account, folder, keys)

    async def summaries(self, account: str, folder: str, keys: Sequence[str]) -> list[Summary | None]:
        """Summarise messages."""
        return [await self._summary(account, folder, key) for key in keys]

    async def _summary(self, account: str, folder: str, key: str) -> Summary | None:
        try:
            content = await self.open(account, folder, key)
        except KeyError:
            return None
        try:
            return await self._summarise(content)
        finally:
            await content.close()

    async def subscriptions(self, account: str) -> frozenset[Path] | None:
        """Return None: the index keeps them."""
        return None

    async def subscribe(self, account: str, path: Path, subscribed: bool) -> None:
        """Do nothing: the index keeps them."""

    async def trees(self, accounts: Sequence[tuple[str, object]]) -> Sequence[object]:
        """Return nothing: who knows what it costs a plug-in to look?"""
        return [None] * len(accounts)

    def cursor(self, account: str, folder: str, cursor: str | None) -> str | None:
        """Return the cursor unchanged: the next scan will show our own changes, which do no harm."""
        return cursor

    def saved(self, key: str, now: int) -> int:
        """Return the time at which the index hears of it."""
        return now

    def keeps(self, account: str, folder: str, flag: str) -> bool:
        """Return True: a source keeps all flags."""
        return True

    def forget(self, account: str, folder: str) -> None:
        """Scan the folder the next time."""
        self._scanned.pop((account, folder), None)


def with_ledger(source: object, threads: Threads, patience: float) -> Any:
    """Return the source itself if it numbers its messages, or dressed as one that does."""
    if ILedgerSource.providedBy(source):
        return source
    if not IMessageSource.providedBy(source):
        raise TypeError(f"{type(source).__name__} does not provide IMessageSource")
    return PlainSource(source, threads, patience)


def _take(same: list[Item], flags: Flags) -> str | None:
    """Take the key of one of several messages with the same octets: where there is one, of one with these flags."""
    if not same:
        return None
    return same.pop(next((place for place, item in enumerate(same) if item.flags == flags), 0)).key


def _new_email_id() -> str:
    return "M" + secrets.token_hex(16)
