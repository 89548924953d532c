"""What a few mailboxes must hold after a change, told by nothing but the change and the store's answer to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import DELETED, NO_FLAGS, FlagChange, Flags, NewMessage
from mailfw.testing.contents import MemoryContent

FLAG_CHANGES = {"add": FlagChange.ADD, "remove": FlagChange.REMOVE, "replace": FlagChange.REPLACE}


class Differs(AssertionError):
    """The store did what no store may do."""


def hold(true: bool, what: str) -> None:
    """Raise `Differs` unless it is true."""
    if not true:
        raise Differs(what)


def octets_of(letter: int) -> bytes:
    """Return the octets of a letter: each is known by its number."""
    return f"Subject: {letter}\r\n\r\n".encode() + b"\x00\xff\rx\n" * (letter % 40)


@dataclass(frozen=True, slots=True)
class Change:
    """
    One call that changes mailboxes, in numbers alone, so that it can be noted on a pipe.

    `what` is ``append``, ``add``, ``remove`` or ``replace`` (flags), ``copy``, ``move`` or ``expunge``; `numbers` are
    UIDs, for an append letters.  `box` and `to` count mailboxes.  `since` and `stamp` are the modification sequence
    after which messages are to be left alone, and what it is to `Truth`.
    """

    what: str
    box: int
    numbers: tuple[int, ...]
    flags: Flags = NO_FLAGS
    to: int = 0
    since: int | None = None
    stamp: int = 0

    def noted(self) -> list[Any]:
        """Return what JSON can hold."""
        return [self.what, self.box, self.numbers, sorted(self.flags), self.to]

    @classmethod
    def read(cls, noted: Sequence[Any]) -> Change:
        """Return what was noted."""
        what, box, numbers, flags, to = noted
        return cls(what, box, tuple(numbers), frozenset(flags), to)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the store said: a modification sequence, and of each message concerned its UID, old and new.

    Of an append the old one is the letter, of an expunge both are the same; of flags `flags` run parallel.
    """

    modseq: int
    uids: tuple[tuple[int, int], ...]
    flags: tuple[Flags, ...] = ()
    conflicts: tuple[int, ...] = ()

    def noted(self) -> list[Any]:
        """Return what JSON can hold."""
        return [self.modseq, self.uids, [sorted(each) for each in self.flags], self.conflicts]

    @classmethod
    def read(cls, noted: Sequence[Any]) -> Answer:
        """Return what was noted."""
        modseq, uids, flags, conflicts = noted
        pairs = tuple((old, new) for old, new in uids)
        return cls(modseq, pairs, tuple(map(frozenset, flags)), tuple(conflicts))


async def perform(store: IMailStore, account: str, ids: Sequence[str], change: Change) -> Answer:
    """Make the change in a store, where the mailboxes have these ids."""
    mailbox, numbers = ids[change.box], change.numbers
    match change.what:
        case "append":
            messages = [letter_of(number, change.flags) for number in numbers]
            appended = await store.append(account, mailbox, messages)
            pairs = zip(numbers, (each.uid for each in appended), strict=True)
            return Answer(max(each.modseq for each in appended), tuple(pairs))
        case "copy" | "move":
            copied = await store.copy(account, mailbox, numbers, ids[change.to], change.what == "move")
            return Answer(copied.modseq, copied.uids)
        case "expunge":
            expunged = await store.expunge(account, mailbox, numbers)
            return Answer(expunged.modseq, tuple((uid, uid) for uid in expunged.uids))
    how = FLAG_CHANGES[change.what]
    altered = await store.alter(account, mailbox, numbers, how, change.flags, change.since)
    changed = sorted(altered.changed.items())
    pairs_changed = tuple((uid, uid) for uid, _ in changed)
    return Answer(altered.modseq, pairs_changed, tuple(flags for _, flags in changed), altered.conflicts)


def letter_of(number: int, flags: Flags) -> NewMessage:
    """Return a letter as it is appended: tried twice, it is there once."""
    return NewMessage(MemoryContent(octets_of(number)), flags, 1_000_000 + number, f"letter-{number}")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message: which letter it is, its flags, and when (counted in changes) they became so."""

    number: int
    flags: Flags
    stamp: int


@dataclass(slots=True)
class Truth:
    """The mailboxes, by number: messages by UID, and the lowest UID that is free."""

    boxes: list[dict[int, Letter]]
    free: list[int] = field(default_factory=list)
    stamp: int = 0

    @classmethod
    def of(cls, count: int) -> Truth:
        """Return so many empty mailboxes."""
        return cls([{} for _ in range(count)], [1] * count)

    def copy(self) -> Truth:
        """Return one that can be changed by itself."""
        return Truth([dict(box) for box in self.boxes], list(self.free), self.stamp)

    def flags(self, box: int) -> dict[int, Flags]:
        """Return what a session has to know of a mailbox."""
        return {uid: letter.flags for uid, letter in self.boxes[box].items()}

    def take(self, change: Change, answer: Answer) -> None:
        """Change as the store did.  Raises `Differs` where its answer cannot be: nothing is to be relied on then."""
        self.stamp += 1
        match change.what:
            case "append":
                hold([number for number, _ in answer.uids] == list(change.numbers), "other letters")
                self._put(change.box, [(uid, Letter(n, change.flags, self.stamp)) for n, uid in answer.uids])
            case "copy" | "move":
                self._copy(change, answer)
            case "expunge":
                gone = [uid for uid in self._there(change) if DELETED in self.boxes[change.box][uid].flags]
                self._agree(change, answer, gone)
                self._drop(change.box, gone)
            case _:
                self._alter(change, answer)

    def _there(self, change: Change) -> list[int]:
        return [uid for uid in change.numbers if uid in self.boxes[change.box]]

    def _agree(self, change: Change, answer: Answer, expected: list[int]) -> None:
        told = [old for old, _ in answer.uids]
        hold(told == expected, f"{change.what}: answered {told}, not {expected}")

    def _copy(self, change: Change, answer: Answer) -> None:
        there = self._there(change)
        self._agree(change, answer, there)
        letters = [self.boxes[change.box][uid] for uid in there]
        if change.what == "move":
            self._drop(change.box, there)
        pairs = zip((new for _, new in answer.uids), letters, strict=True)
        self._put(change.to, [(uid, Letter(each.number, each.flags, self.stamp)) for uid, each in pairs])

    def _alter(self, change: Change, answer: Answer) -> None:
        box, there = self.boxes[change.box], self._there(change)
        conflicts = [uid for uid in there if change.since is not None and box[uid].stamp > change.stamp]
        hold(list(answer.conflicts) == conflicts, f"conflicts {answer.conflicts}, not {conflicts}")
        results = {uid: combined(box[uid].flags, change) for uid in there if uid not in conflicts}
        changed = {uid: flags for uid, flags in results.items() if flags != box[uid].flags}
        self._agree(change, answer, list(changed))
        hold(list(answer.flags) == list(changed.values()), f"flags {answer.flags}, not {changed}")
        for uid, flags in changed.items():
            box[uid] = Letter(box[uid].number, flags, self.stamp)

    def foresee(self, change: Change, new: Sequence[int]) -> None:
        """Change as a store must that says nothing: `new` are the UIDs of what is appended or copied."""
        there = self._there(change)
        box = self.boxes[change.box]
        match change.what:
            case "append":
                answer = Answer(0, tuple(zip(change.numbers, new, strict=True)))
            case "copy" | "move":
                answer = Answer(0, tuple(zip(there, new, strict=True)))
            case "expunge":
                answer = Answer(0, tuple((uid, uid) for uid in there if DELETED in box[uid].flags))
            case _:
                results = {uid: combined(box[uid].flags, change) for uid in there}
                changed = {uid: flags for uid, flags in results.items() if flags != box[uid].flags}
                answer = Answer(0, tuple((uid, uid) for uid in changed), tuple(changed.values()))
        self.take(change, answer)

    def _put(self, box: int, new: list[tuple[int, Letter]]) -> None:
        for uid, letter in new:
            hold(uid >= self.free[box], f"UID {uid} given where {self.free[box]} was the next")
            self.boxes[box][uid] = letter
            self.free[box] = uid + 1

    def _drop(self, box: int, uids: list[int]) -> None:
        for uid in uids:
            del self.boxes[box][uid]


def combined(flags: Flags, change: Change) -> Flags:
    """Return the flags a message has after a change."""
    match change.what:
        case "add":
            return flags | change.flags
        case "remove":
            return flags - change.flags
    return change.flags


def outcomes(truth: Truth, done: Sequence[tuple[Change, Answer]]) -> Iterator[Truth]:
    """
    Yield what may be true after changes that were made at the same time, once for each order their answers allow.

    Raises `Differs` when no order does.
    """
    refused: list[str] = []
    possible = False
    for order in itertools.permutations(done):
        after = truth.copy()
        try:
            for change, answer in order:
                after.take(change, answer)
        except Differs as difference:
            refused.append(str(difference))
            continue
        possible = True
        yield after
    if not possible:
        told = "\n".join(f"  {change} → {answer}" for change, answer in done)
        raise Differs(f"in no order can these be the answers: {refused[0]}\n{told}")
