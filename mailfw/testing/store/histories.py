"""Random histories of an account, each step compared with a model that keeps nothing but what must be true."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    SEEN,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    Flags,
    MailboxInfo,
    NewMessage,
    Path,
    RenameMailbox,
    Want,
)
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.fixture import StoreFixture, read_all

#: What is done, and three numbers that say to which mailbox and messages: they mean something in any state, so
#: that a history from which steps are taken out is one still.
Step = tuple[str, int, int, int]

FLAG_SETS: tuple[Flags, ...] = tuple(
    frozenset(flags)
    for size in range(4)
    for flags in itertools.combinations((SEEN, DELETED, FLAGGED, "$Keep", "Case"), size)
)
PATHS: tuple[Path, ...] = (("A",), ("A", "x"), ("A", "x", "한글"), ("B",), ("B", "y.z"), ("C & D",))

#: What is done how often, among so many steps.
WEIGHTS = {
    "append": 8,
    "alter": 10,
    "copy": 4,
    "move": 4,
    "expunge": 6,
    "create": 4,
    "delete": 1,
    "rename": 2,
    "reopen": 1,
}

#: How many shorter histories are tried to find out what made one fail.
SHORTER_TRIES = 60


class Broken(AssertionError):
    """The store and the model differ."""


def hold(true: bool, what: str) -> None:
    """Raise `Broken` unless it is true."""
    if not true:
        raise Broken(what)


@dataclass(slots=True)
class Kept:
    """A message as it must be; `modseq` is 0 until the store has said what it is."""

    octets: bytes
    flags: Flags
    received: int
    email_id: str
    modseq: int = 0


@dataclass(slots=True, eq=False)
class Box:
    """A mailbox as it must be, and the UIDs and modification sequences of every moment before."""

    path: Path
    info: MailboxInfo
    kept: dict[int, Kept] = field(default_factory=dict)
    past: list[tuple[int, dict[int, int]]] = field(default_factory=list)


class Model:
    """One account, changed step by step in the store and here."""

    def __init__(self, cases: StoreFixture, account: str) -> None:
        self._cases = cases
        self._account = account
        self._boxes: dict[Path, Box] = {}
        self._graves: dict[Path, int] = {}
        self._modseq = 0
        self._count = 0
        self._earlier = 0

    async def open(self) -> None:
        """Make the account."""
        await self._cases.store.open_account(self._account)
        for info in await self._cases.store.mailboxes(self._account):
            self._boxes[info.path] = Box(info.path, info, past=[(info.modseq, {})])
            self._modseq = max(self._modseq, info.modseq)

    async def take(self, step: Step) -> None:
        """Take one step and compare all there is to see."""
        what, a, b, c = step
        self._earlier = a + b + c
        touched: list[Box] = await getattr(self, f"_{what}")(a, b, c)
        await self._compare(touched)

    # ------------------------------------------------ steps: each returns the mailboxes with changed messages

    async def _append(self, a: int, b: int, c: int) -> list[Box]:
        box, new = self._box(a), []
        for number in range(1 + b % 3):
            self._count += 1
            octets = f"Subject: {self._count}\r\n\r\n".encode() + b"\x00\xff\rx\n" * (c % 50)
            new.append(Kept(octets, FLAG_SETS[(c + number) % len(FLAG_SETS)], 1_000_000 + self._count, ""))
        messages = [NewMessage(MemoryContent(kept.octets), kept.flags, kept.received) for kept in new]
        for kept, appended in zip(
            new, await self._cases.store.append(self._account, box.info.id, messages), strict=True
        ):
            kept.email_id = appended.email_id
            self._add(box, appended.uid, kept)
        return [box]

    async def _alter(self, a: int, b: int, c: int) -> list[Box]:
        box = self._box(a)
        uids = self._pick(box, b)
        change, flags = list(FlagChange)[c % 3], FLAG_SETS[c % len(FLAG_SETS)]
        since = box.kept[uids[b % len(uids)]].modseq - c // 4 % 2 if uids and c % 4 == 0 else None
        conflicts = tuple(uid for uid in uids if since is not None and box.kept[uid].modseq > since)
        changed = {
            uid: result
            for uid in uids
            if uid not in conflicts and (result := _combine(box.kept[uid].flags, change, flags)) != box.kept[uid].flags
        }
        altered = await self._cases.store.alter(self._account, box.info.id, uids, change, flags, since)
        hold(altered.changed == changed, f"changed {altered.changed}, not {changed}")
        hold(altered.conflicts == conflicts, f"conflicts {altered.conflicts}, not {conflicts}")
        for uid, result in changed.items():
            box.kept[uid].flags, box.kept[uid].modseq = result, 0
        return [box] if changed else []

    async def _copy(self, a: int, b: int, c: int, move: bool = False) -> list[Box]:
        box, target = self._box(a), self._box(b)
        uids = self._pick(box, c)
        copied = await self._cases.store.copy(self._account, box.info.id, uids, target.info.id, move)
        hold([old for old, _ in copied.uids] == uids, f"copied {copied.uids}, asked for {uids}")
        for old, new in copied.uids:
            kept = box.kept.pop(old) if move else box.kept[old]
            self._add(target, new, Kept(kept.octets, kept.flags, kept.received, kept.email_id))
        touched = [box, target] if move and box is not target else [target]
        return touched if uids else []

    async def _move(self, a: int, b: int, c: int) -> list[Box]:
        return await self._copy(a, b, c, move=True)

    async def _expunge(self, a: int, b: int, c: int) -> list[Box]:
        box = self._box(a)
        asked = None if c % 2 else self._pick(box, b)
        gone = [uid for uid in box.kept if DELETED in box.kept[uid].flags and (asked is None or uid in asked)]
        expunged = await self._cases.store.expunge(self._account, box.info.id, asked)
        hold(expunged.uids == tuple(gone), f"expunged {expunged.uids}, not {gone}")
        for uid in gone:
            del box.kept[uid]
        return [box] if gone else []

    async def _create(self, a: int, b: int, c: int) -> list[Box]:
        path = PATHS[a % len(PATHS)]
        if path not in self._boxes:
            await self._cases.store.edit_mailbox(self._account, CreateMailbox(path))
            [info] = [each for each in await self._cases.store.mailboxes(self._account) if each.path == path]
            hold(info.uid_validity > self._graves.get(path, 0), "UIDVALIDITY is not greater than before")
            self._boxes[path] = Box(path, info, past=[(info.modseq, {})])
        return []

    async def _delete(self, a: int, b: int, c: int) -> list[Box]:
        path = PATHS[a % len(PATHS)]
        if path in self._boxes:
            await self._cases.store.edit_mailbox(self._account, DeleteMailbox(path))
            self._graves[path] = self._boxes.pop(path).info.uid_validity
        return []

    async def _rename(self, a: int, b: int, c: int) -> list[Box]:
        path, to = PATHS[a % len(PATHS)], PATHS[b % len(PATHS)]
        depth = len(path)
        moving = {place: to + place[depth:] for place in self._boxes if place[:depth] == path}
        if path in self._boxes and to[:depth] != path and not self._boxes.keys() & set(moving.values()):
            await self._cases.store.edit_mailbox(self._account, RenameMailbox(path, to))
            for old, new in moving.items():
                box = self._boxes[new] = self._boxes.pop(old)
                box.path = new
                self._graves[old] = max(self._graves.get(old, 0), box.info.uid_validity)
        return []

    async def _reopen(self, a: int, b: int, c: int) -> list[Box]:
        if self._cases.can_reopen:
            await self._cases.reopen()
            await self._cases.store.open_account(self._account)
        return []

    # ------------------------------------------------------------ comparing

    async def _compare(self, touched: Sequence[Box]) -> None:
        infos = {info.id: info for info in await self._cases.store.mailboxes(self._account)}
        hold(infos.keys() == {box.info.id for box in self._boxes.values()}, "other mailboxes than there should be")
        highest = max(info.modseq for info in infos.values())
        for box in self._boxes.values():
            info, before = infos[box.info.id], box.info
            flags = [kept.flags for kept in box.kept.values()]
            counts = len(flags), sum(SEEN not in each for each in flags), sum(DELETED in each for each in flags)
            hold((info.messages, info.unseen, info.deleted) == counts, f"{box.path}: counts {info}, not {counts}")
            hold(info.size == sum(len(kept.octets) for kept in box.kept.values()), f"{box.path}: size {info.size}")
            hold((info.path, info.uid_validity) == (box.path, before.uid_validity), f"{info}, not {box.path}")
            hold(info.uid_next > max(box.kept, default=0), f"{box.path}: next UID {info.uid_next}")
            if box in touched:
                hold(info.modseq > self._modseq, f"{box.path}: modseq {info.modseq} after {self._modseq}")
            else:
                unmoved = (info.modseq, info.uid_next) == (before.modseq, before.uid_next)
                hold(unmoved, f"{box.path}: {info} where nothing changed, before {before}")
            box.info = info
        for box in touched:
            await self._compare_messages(box)
        self._modseq = max(self._modseq, highest)

    async def _compare_messages(self, box: Box) -> None:
        now = await self._cases.store.snapshot(self._account, box.info.id, 0)
        hold(now.info == box.info, f"a snapshot with {now.info}, not {box.info}")
        there = dict(zip(now.uids, zip(now.modseqs, now.flags, strict=True), strict=True))
        hold(list(there) == sorted(box.kept), f"{box.path}: {list(there)}, not {sorted(box.kept)}")
        for uid, (modseq, flags) in there.items():
            kept = box.kept[uid]
            hold(flags == kept.flags, f"{box.path} {uid}: {flags}, not {kept.flags}")
            fits = modseq == kept.modseq if kept.modseq else modseq > self._modseq
            hold(fits, f"{box.path} {uid}: modseq {modseq} where it was {kept.modseq or 'to change'}")
            kept.modseq = modseq
        modseq, uids = box.past[self._earlier % len(box.past)]
        if modseq:
            await self._compare_since(box, modseq, uids)
        box.past.append((now.info.modseq, {uid: kept.modseq for uid, kept in box.kept.items()}))

    async def _compare_since(self, box: Box, modseq: int, earlier: dict[int, int]) -> None:
        since = await self._cases.store.snapshot(self._account, box.info.id, modseq)
        expected = [uid for uid in sorted(box.kept) if box.kept[uid].modseq > modseq]
        hold(list(since.uids) == expected, f"{box.path} since {modseq}: {list(since.uids)}, not {expected}")
        hold(since.flags == [box.kept[uid].flags for uid in expected], f"{box.path} since {modseq}: other flags")
        missing = earlier.keys() - box.kept.keys() - set(since.vanished)
        hold(not missing, f"{box.path} since {modseq}: {missing} not told as vanished")
        hold(not set(since.vanished) & box.kept.keys(), f"{box.path} since {modseq}: there, and told as vanished")

    async def compare_all(self) -> None:
        """Compare the rows and octets of every message: once, when all steps are taken."""
        for box in self._boxes.values():
            await self._compare_messages(box)
            await self._compare_rows(box)

    async def _compare_rows(self, box: Box) -> None:
        store, mailbox = self._cases.store, box.info.id
        batches = store.rows(self._account, mailbox, sorted(box.kept), Want.NOTHING)
        rows = {row.uid: (row.flags, row.size, row.received, row.email_id) async for batch in batches for row in batch}
        expected = {uid: (kept.flags, len(kept.octets), kept.received, kept.email_id) for uid, kept in box.kept.items()}
        hold(rows == expected, f"{box.path}: rows {rows}, not {expected}")
        for uid, kept in box.kept.items():
            content = await store.content(self._account, mailbox, uid)
            assert content is not None
            hold(await read_all(content) == kept.octets, f"{box.path} {uid}: other octets")
            await content.close()

    # ------------------------------------------------------------

    def _box(self, number: int) -> Box:
        return self._boxes[sorted(self._boxes)[number % len(self._boxes)]]

    def _pick(self, box: Box, bits: int) -> list[int]:
        return [uid for place, uid in enumerate(sorted(box.kept)) if bits >> place % 8 & 1]

    def _add(self, box: Box, uid: int, kept: Kept) -> None:
        hold(uid >= box.info.uid_next, f"{box.path}: UID {uid} where {box.info.uid_next} was the next")
        hold(uid > max(box.kept, default=0), f"{box.path}: UID {uid} not after {list(box.kept)}")
        box.kept[uid] = kept


def _combine(old: Flags, change: FlagChange, flags: Flags) -> Flags:
    return {FlagChange.ADD: old | flags, FlagChange.REMOVE: old - flags, FlagChange.REPLACE: flags}[change]


def _step(chance: random.Random) -> Step:
    [what] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    return what, chance.randrange(256), chance.randrange(256), chance.randrange(256)


class HistoryCases(StoreFixture):
    """Whatever is done in whatever order, the store is what a plain model says."""

    _lives = itertools.count()

    async def test_random_histories(self) -> None:
        """Appends, flags, copies, moves, expunges, renames, deletes and restarts in any order."""
        for seed in range(self.seed, self.seed + self.histories):
            chance = random.Random(seed)  # noqa: S311  # no secret: the same histories every time
            steps = [_step(chance) for _ in range(self.history_steps)]
            error = await self._live(steps)
            if error is not None:
                steps, error = await self._shorten(steps, error)
                self.fail("\n".join((error, "after:", *map(repr, steps))))

    async def _live(self, steps: Sequence[Step]) -> str | None:
        """Live through the steps in an account of their own and return what went wrong."""
        account = f"life-{next(self._lives)}@example.org"
        model = Model(self, account)
        try:
            await model.open()
            for step in steps:
                await model.take(step)
            await model.compare_all()
        except Exception as error:  # whatever the store raises is a finding
            return f"{type(error).__name__}: {error}"
        await self.store.remove_account(account)
        return None

    async def _shorten(self, steps: list[Step], error: str) -> tuple[list[Step], str]:
        """Take out steps that do not matter, the last first."""
        position = len(steps) - 1
        for _ in range(SHORTER_TRIES):
            if position < 0:
                break
            shorter = steps[:position] + steps[position + 1 :]
            failed = await self._live(shorter)
            if failed is not None:
                steps, error = shorter, failed
            position -= 1
        return steps, error
