"""A mail store to move an account to."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath

from mailfw.disk import Disk
from mailfw.interfaces import IMailStore
from mailfw.mail.failure import MailboxExists, StoreRefusal
from mailfw.mail.mailbox import (
    DELETED,
    FIRST_MAILBOXES,
    INBOX,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    Flags,
    MailboxEdit,
    MailboxInfo,
    NewMessage,
    Path,
    RenameMailbox,
    Subscribe,
)
from mailfw.transfer.account import Arrival, Box, Entry, Found, Held, Readings, TransferRefused
from mailfw.transfer.batches import parts
from mailfw.transfer.digests import digests
from mailfw.transfer.journal import Journal, Line
from mailfw.transfer.names import fitting, fitting_names
from mailfw.transfer.numbers import Numbers
from mailfw.transfer.shares import Shares, share
from mailfw.transfer.store_origin import StoreOrigin


@dataclass(frozen=True, slots=True)
class _Kept:
    """A message that the journal says was kept here."""

    mailbox: str
    uid_validity: int
    uid: int
    size: int
    digest: str


class StoreTarget:
    """
    Writes `account` of a store; each message goes there with a token made of `origin` and its place there.

    `journals` is a directory for notes of what has come.  With `recognises` a message that is here already under
    its UID, in a mailbox with the origin's UIDVALIDITY, is not taken again: the origin is a backup of this account.
    `leap` is as `Numbers` has it.
    """

    def __init__(
        self,
        store: IMailStore,
        account: str,
        origin: str,
        journals: FilePath,
        disk: Disk,
        recognises: bool = False,
        leap: int = 0,
    ) -> None:
        self._store = store
        self._account = account
        self._origin = origin
        self._disk = disk
        self._recognises = recognises
        name = hashlib.sha256(f"{origin}\0{account}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._journal = Journal(disk, journals / f"{name}.jsonl")
        self._boxes: dict[str, MailboxInfo] = {}
        self._names: Mapping[str, Path] = {}
        self._known: set[tuple[Path, int]] = set()
        self._kept: dict[tuple[Path, int], dict[int, _Kept]] = {}
        self._numbers = Numbers(store, account, leap)
        #: Mailboxes that have got the origin's UIDVALIDITY.
        self._numbered: set[tuple[Path, int]] = set()
        #: What came from the origin and is there no more: UIDs by mailbox.
        self._left: dict[str, list[int]] = {}

    # ------------------------------------------------------------ mailboxes

    async def prepare(self, boxes: Sequence[Box], subscriptions: frozenset[Path]) -> Mapping[str, str]:
        """Make the mailboxes that are missing, and subscribe to what is subscribed at the origin."""
        await self._store.open_account(self._account)
        await self._disk.run(self._load)
        self._known = {(box.path, box.uid_validity) for box in boxes}
        self._names = fitting_names(boxes)
        refused = {}
        for box in sorted(boxes, key=lambda each: len(each.path)):
            try:
                self._boxes[box.key] = await self._begin(box, await self._place_of(box, boxes))
            except StoreRefusal as reason:
                refused[box.key] = str(reason)
        names = {box.path: self._names[box.key] for box in boxes}
        await self._subscribe(names.values(), frozenset(names.get(path, fitting(path)) for path in subscriptions))
        return refused

    async def _begin(self, box: Box, info: MailboxInfo) -> MailboxInfo:
        """Have the mailbox's UIDs be the origin's if that can be."""
        begun = await self._numbers.begin(box, info)
        # That the two are the same may be chance: mailboxes made in the same second have the same.
        is_new = self._numbers.are_offered and not info.messages and info.uid_next == 1
        is_numbered = (box.path, box.uid_validity) in self._numbered
        if is_new and begun.uid_validity == box.uid_validity and not is_numbered:
            await self._disk.run(self._note, box, begun, [])
        return begun

    async def _place_of(self, box: Box, boxes: Sequence[Box]) -> MailboxInfo:
        """Return the mailbox for one of the origin's: of its path, else of its role, else a new one."""
        there = {_key(each.path): each for each in await self._store.mailboxes(self._account)}
        path = self._names[box.key]
        if (found := there.get(_key(path))) is not None:
            return found
        holder = next((each for each in there.values() if box.role and each.role is box.role), None)
        if holder is not None and holder.path not in {each.path for each in boxes}:
            if holder.messages:
                return holder  # two mailboxes for what is sent would please nobody
            with suppress(MailboxExists):
                await self._edit(RenameMailbox(holder.path, path))
                await self._edit(Subscribe(holder.path, False))
                return await self._store.mailbox(self._account, holder.id)
        await self._edit(CreateMailbox(path, None if holder else box.role))
        return next(each for each in await self._store.mailboxes(self._account) if each.path == path)

    async def _edit(self, edit: MailboxEdit) -> None:
        await self._store.edit_mailbox(self._account, edit)

    async def _subscribe(self, paths: Collection[Path], subscriptions: frozenset[Path]) -> None:
        """Subscribe as at the origin; what a new account subscribes to of itself goes where the origin did not."""
        ours = await self._store.subscriptions(self._account)
        unwanted = set(paths) & {path for path, _ in FIRST_MAILBOXES}
        for path in sorted(subscriptions - ours):
            with suppress(StoreRefusal):
                await self._edit(Subscribe(path))
        for path in sorted((unwanted & ours) - subscriptions):
            await self._edit(Subscribe(path, False))

    # ------------------------------------------------------------ what is here

    def _load(self) -> None:
        for line in self._journal.read():
            with suppress(KeyError, TypeError, ValueError):
                key = (tuple(line["path"]), line["uid_validity"])
                if not line["messages"]:
                    self._numbered.add(key)
                kept = self._kept.setdefault(key, {})
                for uid, here, size, digest in line["messages"]:
                    kept[uid] = _Kept(line["to"], line["to_uid_validity"], here, size, digest)

    async def held(self, box: Box, entries: Sequence[Entry]) -> dict[int, Held]:
        """Return what came earlier and is still here, and what was always here."""
        info = await self._store.mailbox(self._account, self._boxes[box.key].id)
        own = StoreOrigin(self._store, self._account, "")
        here = {entry.uid: entry for entry in await own.entries(_as_box(info))}
        held: dict[int, Held] = {}
        for uid, kept in self._here(info, self._kept.get((box.path, box.uid_validity), {})).items():
            if kept.uid in here:
                there = here[kept.uid]
                held[uid] = Held(str(kept.uid), kept.size, kept.digest, there.received, there.flags)
        if self._recognises and info.uid_validity == box.uid_validity:
            for entry in entries:
                same = here.get(entry.uid)
                if same is not None and (same.size, same.received) == (entry.size, entry.received):
                    held.setdefault(entry.uid, Held(str(entry.uid), same.size, "", same.received, same.flags))
        return held

    # ------------------------------------------------------------ writing

    async def keep(self, box: Box, arrivals: Sequence[Arrival]) -> None:
        """Append messages, then note that they are here."""
        info = self._boxes[box.key]
        new = [(each.entry.uid, self._new(box, each)) for each in arrivals]
        try:
            appended = await self._numbers.append(box, info, new)
        except StoreRefusal as reason:
            raise TransferRefused(f"{'/'.join(box.path)}: {reason}")
        pairs = zip(arrivals, appended, strict=True)
        messages = [[each.entry.uid, at.uid, each.content.size, each.digest] for each, at in pairs]
        await self._disk.run(self._note, box, info, messages)

    def _new(self, box: Box, each: Arrival) -> NewMessage:
        place = ["/".join(box.path), f"{box.uid_validity}.{each.entry.uid}"]
        token = "\0".join(["mailfw.transfer", self._origin, *place])
        return NewMessage(each.content, each.entry.flags, each.entry.received, token)

    def _note(self, box: Box, info: MailboxInfo, messages: list[list[object]]) -> None:
        line: Line = {"path": box.path, "uid_validity": box.uid_validity, "to": info.id}
        line |= {"to_uid_validity": info.uid_validity, "messages": messages}
        self._journal.add(line)
        if not messages:
            self._numbered.add((box.path, box.uid_validity))
        kept = self._kept.setdefault((box.path, box.uid_validity), {})
        for uid, here, size, digest in messages:
            kept[uid] = _Kept(info.id, info.uid_validity, here, size, digest)  # type: ignore[index,arg-type] # as above

    async def reflag(self, box: Box, flags: Mapping[Flags, Sequence[int]]) -> None:
        """Give messages exactly these flags."""
        info = self._boxes[box.key]
        kept = self._kept.get((box.path, box.uid_validity), {})
        for each, uids in flags.items():
            here = sorted(kept[uid].uid if uid in kept else uid for uid in uids)
            await self._store.alter(self._account, info.id, here, FlagChange.REPLACE, each)

    # ------------------------------------------------------------ what is different from the last time

    async def settle(self, box: Box, entries: Sequence[Entry]) -> int:
        """Let UIDs go on as at the origin, and look for what is there no more."""
        info = self._boxes[box.key]
        kept = self._here(info, self._kept.get((box.path, box.uid_validity), {}))
        here = set((await self._store.snapshot(self._account, info.id, 0)).uids)
        if info.uid_validity == box.uid_validity and (box.path, box.uid_validity) in self._numbered:
            held = {uid: each.uid for uid, each in kept.items()}
            settled = await self._numbers.settle(box, info, entries, here, held)
            if settled.uid_validity != info.uid_validity:
                messages: list[list[object]] = [[uid, each.uid, each.size, each.digest] for uid, each in kept.items()]
                await self._disk.run(self._note, box, settled, messages)
            self._boxes[box.key] = settled
        there = {entry.uid for entry in entries}
        return self._leave(info.id, [each.uid for uid, each in kept.items() if uid not in there and each.uid in here])

    def _here(self, info: MailboxInfo, kept: Mapping[int, _Kept]) -> dict[int, _Kept]:
        """Return what came into the mailbox as it is now."""
        place = (info.id, info.uid_validity)
        return {uid: each for uid, each in kept.items() if (each.mailbox, each.uid_validity) == place}

    def _leave(self, mailbox: str, uids: list[int]) -> int:
        if uids:
            self._left.setdefault(mailbox, []).extend(uids)
        return len(uids)

    async def share(self, box: Box, entries: Sequence[Entry], shares: Shares, exactly: bool) -> None:
        """Grant the same rights, and note what others have seen."""
        held = await self.held(box, entries) if shares.seen else {}
        places = {uid: int(each.place) for uid, each in held.items()}
        await share(self._store, self._account, self._boxes[box.key].id, shares, places, exactly)

    async def left_boxes(self) -> int:
        """Look for what came from mailboxes that the origin no longer has, or has begun anew."""
        infos = {each.id: each for each in await self._store.mailboxes(self._account)}
        count = 0
        for key in self._kept.keys() - self._known:
            for info in infos.values():
                if kept := self._here(info, self._kept[key]):
                    here = set((await self._store.snapshot(self._account, info.id, 0)).uids)
                    count += self._leave(info.id, [each.uid for each in kept.values() if each.uid in here])
        return count

    async def sweep(self) -> int:
        """Remove it; a mailbox that it leaves empty goes too, unless the origin or every account has one."""
        lasting = {INBOX, *(path for path, _ in FIRST_MAILBOXES), *self._names.values()}
        count = 0
        for mailbox, uids in self._left.items():
            await self._store.alter(self._account, mailbox, sorted(uids), FlagChange.ADD, frozenset({DELETED}))
            count += len((await self._store.expunge(self._account, mailbox, sorted(uids))).uids)
            info = await self._store.mailbox(self._account, mailbox)
            if not info.messages and info.path not in lasting and info.role is None:
                await self._edit(DeleteMailbox(info.path))
                await self._edit(Subscribe(info.path, False))
        self._left.clear()
        return count

    # ------------------------------------------------------------ reading back

    async def read(self, box: Box, held: Mapping[int, Held]) -> Readings:
        """Read messages back; none is in memory for longer than it takes."""
        info = self._boxes[box.key]
        names = {int(each.place): uid for uid, each in held.items()}
        own = StoreOrigin(self._store, self._account, "")
        entries = [Entry(uid, held[names[uid]].size, 0) for uid in sorted(names)]
        for part in parts(entries):
            async for batch in own.contents(_as_box(info), part):
                contents = [content for _, content in batch]
                try:
                    summed = await digests(self._disk, contents)
                finally:
                    for content in contents:
                        await content.close()
                yield [
                    (names[entry.uid], Found(content.size, digest))
                    for (entry, content), digest in zip(batch, summed, strict=True)
                ]

    async def finish(self) -> None:
        """Do nothing: the journal stays, so that the next move brings only what is new."""

    async def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def _key(path: Path) -> Path:
    """Return a path as it counts: the inbox is called so in any case (RFC 3501 section 5.1)."""
    return (path[0].upper(),) if len(path) == 1 and path[0].upper() == "INBOX" else path


def _as_box(info: MailboxInfo) -> Box:
    return Box(info.id, info.path, info.role, info.subscribed, info.uid_validity, info.uid_next, info.messages)
