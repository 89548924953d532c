"""The small interface for sources, dressed as the one the index wants."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from zope.interface import implementer

from mailfw.interfaces import IContent, IMessageSource
from mailfw.mail.mailbox import Flags, Folder, Item, MailboxEdit, Path, Scan
from mailfw.mail.summary import Summariser, Summary
from mailfw.stores.index.ledger import IDepositor, ILedgerSource, Known, Numbered, Staged, Survey
from mailfw.stores.threads import Threads
from mailfw.turns import Turns

#: What is read and summarised at once.
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """A message that a plain source has nowhere to stage: it waits in the content it came in."""

    content: Any


@implementer(ILedgerSource, IMessageSource)
class PlainSource:
    """
    Asks a source in turn for one account, looks at a folder anew every `patience` seconds, and leaves to the
    index what the source has no memory for: UIDs, tokens, subscriptions.
    """

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
        fresh = [Numbered(item, None, _new_email_id()) for item in scan.items if item.key not in flags]
        changed = {item.key: item.flags for item in scan.items if flags.get(item.key, item.flags) != item.flags}
        here = {item.key for item in scan.items}
        gone = [key for key in known.keys if key not in here] if scan.complete else list(scan.removed)
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
        whole = summary or await self._summarise(content)
        return Staged(_Unwritten(content), received, mark, _new_email_id(), whole)

    async def _summarise(self, content: Any) -> Summary:
        summariser = Summariser()
        offset = 0
        while octets := await content.read(offset, CHUNK):
            await self._threads.run(summariser.feed, octets)
            offset += len(octets)
        return await self._threads.run(summariser.finish)

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
            Numbered(item, None, staged.email_id, staged.mark)
            for item, (staged, _) in zip(items, messages, strict=True)
        ]

    async def transfer(
        self, account: str, folder: str, messages: Sequence[tuple[str, Flags, str, int]], to: str, move: bool
    ) -> list[tuple[str, int | None] | None]:
        """Put what is read from one folder into the other, and for a move drop it when all are there."""
        landed: list[tuple[str, int | None] | None] = []
        try:
            for key, flags, _, received in messages:
                landed.append(await self._copy(account, folder, key, flags, to, received))
        except BaseException:
            await self._take_back(account, to, [each[0] for each in landed if each is not None])
            raise
        if move:
            gone = [key for (key, *_), each in zip(messages, landed, strict=True) if each is not None]
            await self.drop(account, folder, gone)
        return landed

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

    def cursor(self, account: str, folder: str, cursor: str | None) -> str | None:
        """Return the cursor unchanged: the next scan will show our own changes, which do no harm."""
        return cursor

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


def _new_email_id() -> str:
    return "M" + secrets.token_hex(16)
