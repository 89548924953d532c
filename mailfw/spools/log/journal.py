"""The log as the reactor's thread sees it: lines are collected while the writer is busy, and handed over together."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailfw.disk import Disk, is_full
from mailfw.mail.failure import NoSpace
from mailfw.spools.log.records import Kind
from mailfw.spools.log.segments import Batch, Line, Segment, Segments

log = Logger()

T = TypeVar("T")

#: Octets of messages that one batch holds at most: those who wait for its sync should not wait for long.
_BATCH = 8 * 1024 * 1024


class Promise(Deferred[T]):
    """What a thread will tell; many may await it, where it never fails.  Giving up the waiting changes nothing."""

    def cancel(self) -> None:
        """Do nothing: what is on its way to the disk cannot be called back."""


def refusal(error: Exception) -> Exception:
    """Return an error of the disk as each that waited for it is to hear of it."""
    if is_full(error) or isinstance(error, NoSpace):
        return NoSpace("The disk is full")
    return OSError(*error.args) if isinstance(error, OSError) else error


class Journal:
    """
    Writes lines; `segments` are the files, the oldest first.

    While one batch is written and synced the next is collected: all that wait share a sync.
    """

    def __init__(self, disk: Disk, writer: Segments) -> None:
        self.segments: deque[Segment] = deque()
        self._writer = writer
        self._worker = disk.worker("mailfw spool log")
        self._waiting: deque[tuple[Batch, Promise[None]]] = deque()
        self._room = 0
        self._busy = False
        self._is_synced = True
        self._is_stuck = False

    async def write(self, line: Line, looks_up: bool = False) -> None:
        """Write a line; a message is on stable storage when this returns."""
        batch, done = self._collect(line)
        if line.kind is Kind.MESSAGE or line.discard:
            batch.wants_sync = True
            batch.looks_up |= looks_up
        self._hand_over()
        await done
        if line.error is not None:
            raise refusal(line.error)

    def note(self, line: Line) -> None:
        """Write a line of which nobody waits to hear: it is written before any line that comes after it."""
        line.insists = True
        self._collect(line)
        self._hand_over()

    async def sync(self) -> None:
        """Return when all that was given before is on stable storage."""
        if self._is_synced:
            return
        batch, done = self._collect(None)
        batch.wants_sync = True
        self._hand_over()
        await done
        if batch.error is not None:
            raise refusal(batch.error)

    def sweep(self) -> None:
        """Remove the oldest segments as far as nothing in them is alive; younger ones hold what became of theirs."""
        while len(self.segments) > 1 and not self.segments[0].alive and not self._is_stuck:
            segment = self.segments.popleft()
            self._worker.submit(lambda segment=segment: self._writer.drop(segment), self._dropped)  # type: ignore[misc]

    async def close(self) -> None:
        """Sync what was given, and end the thread."""
        try:
            await self.sync()
        finally:
            done = Promise[None]()
            self._worker.submit(self._close, done.callback)
            await done
            self._worker.stop()

    def _close(self) -> None:
        try:
            self._writer.close(self.segments)
        except Exception:
            log.failure("The queue's log is not closed well")

    def _dropped(self, error: Exception | None) -> None:
        if error is not None:
            # While an old segment is there, its younger ones must be: they say what is done of it.
            self._is_stuck = True
            log.error("An old segment of the queue cannot be removed: {error}", error=str(error))

    # ------------------------------------------------------------ batches

    def _collect(self, line: Line | None) -> tuple[Batch, Promise[None]]:
        if not self._waiting or self._room <= 0:
            self._waiting.append((Batch(), Promise[None]()))
            self._room = _BATCH
        self._is_synced = False
        batch, done = self._waiting[-1]
        if line is not None:
            self._room -= len(line.octets)
            batch.lines.append(line)
        return batch, done

    def _hand_over(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            batch, done = self._waiting.popleft()
            self._worker.submit(lambda: self._writer.commit(batch), lambda _: self._written(batch, done))

    def _written(self, batch: Batch, done: Promise[None]) -> None:
        self.segments.extend(batch.made)
        for line in batch.lines:
            if line.kind is Kind.MESSAGE and line.segment is not None and not (line.error or line.is_kept):
                line.segment.alive += 1
        self._busy = False
        self._is_synced = batch.wants_sync and batch.error is None and not self._waiting
        if batch.made:
            self.sweep()
        self._hand_over()  # before anybody hears of this one, so that the disk works while they do
        done.callback(None)
