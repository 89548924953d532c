"""The segments' writer: what happens in its thread, and what it does when the disk refuses."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twisted.logger import Logger

from mailfw.disk import Disk
from mailfw.spools.log.names import discard, key_of
from mailfw.spools.log.records import Kind, head
from mailfw.spools.log.tables import Tables

log = Logger()

#: Octets of states and ends that may wait for a sync that nobody asked for: they are kept in memory until then.
_UNSYNCED = 256 * 1024


@dataclass(slots=True, eq=False)
class Segment:
    """One file of records.  `alive` counts the messages in it that are not done; the reactor's thread keeps it."""

    path: Path
    descriptor: int
    seed: int
    size: int = 0
    alive: int = 0


@dataclass(slots=True, eq=False)
class Line:
    """
    One record on its way into a segment, and what became of it.

    `large` says that the message's file has just been given its name; `discard` is a file that may go as soon as this
    is on stable storage.  Where writing fails, a line that `insists` is written with the next.
    """

    kind: Kind
    state: bytes
    octets: bytes = b""
    start: int | None = None
    name: str = ""
    large: bool = False
    discard: Path | None = None
    insists: bool = False

    segment: Segment | None = None
    offset: int = 0
    is_kept: bool = False
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """Lines that are written with one call, and synced with one; `error` is why there was no sync."""

    lines: list[Line] = field(default_factory=list)
    wants_sync: bool = False
    looks_up: bool = False
    made: list[Segment] = field(default_factory=list)
    error: Exception | None = None


class Segments:
    """
    Appends lines to the newest segment; every method runs in the writer's thread.

    `index` is a second look at the backlog; `number` that of the last segment there was.
    """

    def __init__(self, disk: Disk, directory: Path, large: Path, limit: int, index: Tables, number: int) -> None:
        self._disk = disk
        self._directory = directory
        self._large = large
        self._limit = limit
        self._index = index
        self._number = number
        self._current: Segment | None = None
        #: States and ends that are written and not synced: where the sync fails, they have to be written again.
        self._unsynced: list[Line] = []
        #: Lines of which nobody hears any more, and that have to be written before anything else.
        self._owed: list[Line] = []

    def commit(self, batch: Batch) -> None:
        """Write a batch; what could not be written has its `error` afterwards, and nobody was promised anything."""
        try:
            lines = self._wanted(batch)
            self._write(batch, lines)
            if batch.wants_sync or sum(len(line.state) for line in self._unsynced) > _UNSYNCED:
                self._sync(batch, lines)
                self._discard(lines)
        except Exception as error:  # whatever it is, all that wait have to hear of it
            batch.error = error
            for line in batch.lines:
                line.error = line.error or error
                if line.insists and line not in self._owed and line not in self._unsynced:
                    self._owed.append(line)

    def drop(self, segment: Segment) -> Exception | None:
        """Remove a segment with which nothing is left to do: before any younger one, for good."""
        try:
            self._disk.close(segment.descriptor)
            self._disk.unlink(segment.path)
            self._disk.sync_directory(self._directory)
        except Exception as error:
            return error
        return None

    def close(self, segments: Iterable[Segment]) -> None:
        """Let go of files."""
        self._index.close()
        for segment in segments:
            self._disk.close(segment.descriptor)

    # ------------------------------------------------------------ writing

    def _wanted(self, batch: Batch) -> list[Line]:
        """Return the lines to write: not those of messages that we have, nor those whose file may get lost."""
        puts = [line for line in batch.lines if line.kind is Kind.MESSAGE]
        if puts and batch.looks_up:
            names = [line.name for line in puts]
            known = self._index.read(lambda: self._index.known(names))
            for line in puts:
                line.is_kept = line.name in known
        if any(line.large for line in puts):
            try:
                self._disk.sync_directory(self._large)
            except OSError as error:
                for line in puts:
                    line.error = error if line.large else None
        return [line for line in batch.lines if not (line.is_kept or line.error)]

    def _write(self, batch: Batch, lines: Sequence[Line]) -> None:
        try:
            self._append(batch, lines)
        except OSError as error:
            # Ends and states are short, and set room free: they may still fit where the messages do not.
            rest = [line for line in lines if line.kind is not Kind.MESSAGE]
            if len(rest) == len(lines):
                raise
            for line in lines:
                line.error = error if line.kind is Kind.MESSAGE else None
            self._append(batch, rest)

    def _append(self, batch: Batch, lines: Sequence[Line]) -> None:
        if not (lines or self._owed):
            return
        segment = self._room(batch)
        lines = [*self._owed, *lines]
        parts: list[bytes] = []
        end = segment.size
        for line in lines:
            parts += (head(line.kind, segment.seed, line.state, line.octets, line.start), line.state, line.octets)
            end += sum(map(len, parts[-3:]))
            line.segment, line.offset = segment, end - len(line.octets)
        try:
            self._disk.write(segment.descriptor, b"".join(parts))
        except OSError:
            self._retract(segment)
            raise
        segment.size = end
        self._owed.clear()
        self._unsynced += [line for line in lines if line.kind is not Kind.MESSAGE]

    def _room(self, batch: Batch) -> Segment:
        """Return the segment to write to, a new one where the last is full."""
        if self._current is not None and self._current.size >= self._limit:
            self._finish(self._current)
        if self._current is None:
            seed = secrets.randbits(32)
            self._number += 1
            path = self._directory / f"{self._number:010}-{seed:08x}.log"
            descriptor = self._disk.create(path)
            try:
                self._disk.sync_directory(self._directory)
            except OSError:
                self._disk.close(descriptor)
                raise
            self._current = Segment(path, descriptor, seed)
            batch.made.append(self._current)
        return self._current

    def _finish(self, segment: Segment) -> None:
        """Go on in another segment; what is not on stable storage is written there again."""
        try:
            if self._unsynced:
                self._disk.sync_octets(segment.descriptor)
                self._unsynced.clear()
        except OSError as error:
            log.error("{path} cannot be synced: {error}", path=str(segment.path), error=str(error))
        self._leave()

    def _retract(self, segment: Segment) -> None:
        """Take back what was half written.  A segment that refuses even that is left alone."""
        try:
            self._disk.truncate(segment.descriptor, segment.size)
        except OSError as error:
            log.error("{path} cannot be cut back: {error}", path=str(segment.path), error=str(error))
            self._leave()

    def _leave(self) -> None:
        self._owed[:0], self._unsynced, self._current = self._unsynced, [], None

    # ------------------------------------------------------------ syncing

    def _sync(self, batch: Batch, lines: Sequence[Line]) -> None:
        if self._current is None:
            return
        try:
            self._disk.sync_octets(self._current.descriptor)
        except OSError as error:
            # Nobody can know what of it is on the disk, and no second sync would tell.
            log.error("{path} cannot be synced: {error}", path=str(self._current.path), error=str(error))
            self._leave()
            for line in lines:
                if line.kind is Kind.MESSAGE:
                    line.error = error
                    self._owed.append(Line(Kind.DONE, key_of(line.name)))
            self._append(batch, ())
            self._sync_again()
        self._unsynced.clear()

    def _sync_again(self) -> None:
        """Sync the segment after one that failed, once."""
        if self._current is not None:
            try:
                self._disk.sync_octets(self._current.descriptor)
            except OSError:
                self._leave()
                raise

    def _discard(self, lines: Sequence[Line]) -> None:
        for line in lines:
            if line.discard is not None and line.error is None:
                discard(self._disk, line.discard)
