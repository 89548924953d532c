"""Moving one account from an origin to a target, and looking afterwards whether all is there as it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from mailfw.disk import Disk
from mailfw.interfaces import IContent
from mailfw.mail.mailbox import Flags, Path
from mailfw.transfer.account import Arrival, Box, BoxRefused, Entry, Found, Held, Origin, Target
from mailfw.transfer.digests import digests

#: Faults that are told one by one; the rest is counted.
TOLD = 20


class Progress(Protocol):
    """Whom to tell how far it is."""

    def begin(self, what: str, messages: int) -> None:
        """Something begins that concerns so many messages."""

    def advance(self, messages: int, octets: int) -> None:
        """So many are done."""

    def end(self) -> None:
        """What began last is over."""


@dataclass(slots=True)
class Outcome:
    """
    What became of an account: `messages` and `octets` of the origin, of which `copied` messages were new.

    `missing` messages could not be had.  `left` messages came earlier and are not at the origin any more; `removed` of
    them are not here any more either.  `faults` says what is not as it should be; `others` counts those that are not
    told.
    """

    mailboxes: int = 0
    messages: int = 0
    octets: int = 0
    copied: int = 0
    verified: int = 0
    missing: int = 0
    left: int = 0
    removed: int = 0
    faults: list[str] = field(default_factory=list)
    others: int = 0

    @property
    def is_good(self) -> bool:
        """Whether everything is there."""
        return not self.faults

    def add_fault(self, text: str) -> None:
        """Note that something is not as it should be."""
        if len(self.faults) < TOLD:
            self.faults.append(text)
        else:
            self.others += 1


@dataclass(frozen=True, slots=True)
class Terms:
    """
    How to move: `reflag` gives messages that came earlier the flags they have now, and their mailboxes the rights;
    `verify_all` reads back all messages, not only those that are new; `only` names mailboxes; `delete` removes what
    came earlier and is not at the origin any more.
    """

    reflag: bool = True
    verify_all: bool = True
    only: frozenset[Path] = frozenset()
    delete: bool = False


class Move:
    """Moves one account; a move that was interrupted is resumed by another one with the same ends."""

    def __init__(self, origin: Origin, target: Target, disk: Disk, progress: Progress, terms: Terms) -> None:
        self._origin = origin
        self._target = target
        self._disk = disk
        self._progress = progress
        self._terms = terms
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Copy and verify each mailbox.  Raises `TransferRefused`; what was moved until then stays."""
        boxes = [each for each in await self._origin.boxes() if not self._terms.only or each.path in self._terms.only]
        refused = await self._target.prepare(boxes, await self._origin.subscriptions())
        for box in boxes:
            if box.key in refused:
                self.outcome.add_fault(f"{name(box.path)}: {refused[box.key]}; its {box.messages} messages stay")
                continue
            try:
                await self._move_box(box)
            except BoxRefused as reason:
                self.outcome.add_fault(f"{name(box.path)}: {reason}")
        if self.outcome.is_good and not self._terms.only:
            self.outcome.left += await self._target.left_boxes()
        if self._terms.delete and self.outcome.left and self.outcome.is_good:
            await self._sweep()
        if self.outcome.is_good:
            await self._target.finish()
        return self.outcome

    async def _sweep(self) -> None:
        """Remove what the origin no longer has, once all else is well: an origin without any mail may be a mistake."""
        if self.outcome.messages:
            self.outcome.removed = await self._target.sweep()
        else:
            self.outcome.add_fault(f"the origin has no mail at all any more: {self.outcome.left} messages stay here")

    async def _move_box(self, box: Box) -> None:
        entries = await self._origin.entries(box)
        before = await self._target.held(box, entries)
        missing = [entry for entry in entries if entry.uid not in before]
        if missing:
            await self._copy(box, missing)
        if self._terms.reflag:
            await self._reflag(box, [(entry, before[entry.uid]) for entry in entries if entry.uid in before])
        if missing:
            # One that was here already, from a run that was killed before it could note that, may have other flags.
            here = await self._target.held(box, missing)
            await self._reflag(box, [(entry, here[entry.uid]) for entry in missing if entry.uid in here])
        self.outcome.left += await self._target.settle(box, entries)
        shares = await self._origin.shares(box, entries)
        await self._target.share(box, entries, shares, self._terms.reflag)
        self.outcome.mailboxes += 1
        self.outcome.messages += len(entries)
        wanted = entries if self._terms.verify_all else missing
        await self._verify(box, wanted, len(entries), before)

    # ------------------------------------------------------------ copying

    async def _copy(self, box: Box, entries: Sequence[Entry]) -> None:
        self._progress.begin(name(box.path), len(entries))
        try:
            async with aclosing(self._origin.contents(box, entries)) as batches:
                async for batch in batches:
                    try:
                        await self._keep(box, batch)
                    finally:
                        for _, content in batch:
                            await content.close()
        finally:
            self._progress.end()

    async def _keep(self, box: Box, batch: Sequence[tuple[Entry, IContent]]) -> None:
        summed = await digests(self._disk, [content for _, content in batch])
        arrivals = [Arrival(entry, content, digest) for (entry, content), digest in zip(batch, summed, strict=True)]
        for each in arrivals:
            if each.entry.digest not in ("", each.digest):
                self.outcome.add_fault(f"{_which(box, each.entry)}: the origin's own octets have changed")
        await self._target.keep(box, arrivals)
        self.outcome.copied += len(batch)
        self._progress.advance(len(batch), sum(content.size for _, content in batch))

    async def _reflag(self, box: Box, pairs: Sequence[tuple[Entry, Held]]) -> None:
        changes: dict[Flags, list[int]] = defaultdict(list)
        for entry, held in pairs:
            if entry.flags != held.flags:
                changes[entry.flags].append(entry.uid)
        if changes:
            await self._target.reflag(box, changes)

    # ------------------------------------------------------------ verifying

    async def _verify(self, box: Box, wanted: Sequence[Entry], total: int, before: dict[int, Held]) -> None:
        held = await self._target.held(box, wanted)
        if any(entry.uid not in held for entry in wanted):
            # Of a server in use a message may have gone since it was listed.
            still = {entry.uid for entry in await self._origin.entries(box)}
            total -= sum(1 for entry in wanted if entry.uid not in still)
            wanted = [entry for entry in wanted if entry.uid in still]
        await self._read_back(box, [(entry, held[entry.uid]) for entry in wanted if entry.uid in held])
        for entry in wanted:
            if entry.uid not in held:
                self.outcome.missing += 1
                self.outcome.add_fault(f"{_which(box, entry)}: it could not be read, or is not there")
            else:
                self._compare(box, entry, held[entry.uid], entry.uid in before)
        present = sum(1 for entry in wanted if entry.uid in held) + total - len(wanted)
        if present != total:
            self.outcome.add_fault(f"{name(box.path)}: {total} messages at the origin, {present} of them here")

    def _compare(self, box: Box, entry: Entry, held: Held, was_here: bool) -> None:
        self.outcome.octets += held.size
        if entry.is_dated and held.received != entry.received:
            self.outcome.add_fault(f"{_which(box, entry)}: its date is another one")
        if held.flags != entry.flags and (self._terms.reflag or not was_here):
            self.outcome.add_fault(f"{_which(box, entry)}: its flags are others: {' '.join(sorted(held.flags))}")

    async def _read_back(self, box: Box, pairs: Sequence[tuple[Entry, Held]]) -> None:
        expected = {entry.uid: (held.size, held.digest or entry.digest) for entry, held in pairs}
        unread = set(expected)
        self._progress.begin(f"{name(box.path)}: verifying", len(expected))
        try:
            async for batch in self._target.read(box, {entry.uid: held for entry, held in pairs}):
                for uid, found in batch:
                    unread.discard(uid)
                    self._judge(f"{name(box.path)}, UID {uid}", found, *expected[uid])
                self._progress.advance(len(batch), sum(found.size for _, found in batch))
        finally:
            self._progress.end()
        for uid in sorted(unread):
            self.outcome.add_fault(f"{name(box.path)}, UID {uid}: it cannot be read back")

    def _judge(self, which: str, found: Found, size: int, digest: str) -> None:
        if found.size == size and digest in ("", found.digest):
            self.outcome.verified += 1
        else:
            self.outcome.add_fault(f"{which}: its octets are not what they were")


def name(path: Path) -> str:
    """Return a path as people write it."""
    return "/".join(path)


def _which(box: Box, entry: Entry) -> str:
    return f"{name(box.path)}, UID {entry.uid}"
