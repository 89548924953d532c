"""A look at what exists: what the segments hold goes to the backlog, what belongs to nobody goes away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from twisted.logger import Logger

from mailfw.disk import Disk
from mailfw.mail.queued import Queued, Unreadable, decode
from mailfw.spools.log.names import file_name, key_of
from mailfw.spools.log.records import Damage, Kind, Record, unpack
from mailfw.spools.log.tables import Stored, Tables

log = Logger()

_SEGMENT = re.compile(r"([0-9]{10,})-([0-9a-f]{8})\.log")
#: Messages that go to the backlog in one transaction.
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of a spool."""

    root: Path

    @property
    def segments(self) -> Path:
        """The log."""
        return self.root / "segments"

    @property
    def large(self) -> Path:
        """The files of large messages."""
        return self.root / "large"

    @property
    def drafts(self) -> Path:
        """Messages that arrive."""
        return self.root / "drafts"

    @property
    def kept(self) -> Path:
        """What cannot be used, for the postmaster."""
        return self.root / "kept"

    @property
    def ballast(self) -> Path:
        """Room for a start with a full disk."""
        return self.root / "ballast"

    @property
    def backlog(self) -> Path:
        """The database."""
        return self.root / "backlog.sqlite"


@dataclass(frozen=True, slots=True)
class Found:
    """A message that a segment holds: its record, and its last state."""

    segment: Path
    record: Record
    state: bytes


class Recovery:
    """Reads the segments of a process that is no more; every method blocks."""

    def __init__(self, disk: Disk, places: Places, tables: Tables) -> None:
        self._disk = disk
        self._places = places
        self._tables = tables

    def recover(self) -> int:
        """Make everything wait in the backlog, remove the segments, and return the number of the last one."""
        for name in self._disk.names(self._places.drafts):  # first of all, for there may be no other room
            self._disk.unlink(self._places.drafts / name)
        names = [name for name in self._disk.names(self._places.segments) if _SEGMENT.fullmatch(name)]
        alive: dict[bytes, Found] = {}
        for name in names:
            self._replay(self._places.segments / name, alive, is_last=name == names[-1])
        self._tables.change(self._tables.let_all_in)
        self._adopt(alive.values())
        # The oldest first, each for good: a younger one says what is done of what is in an older one.
        for name in names:
            self._disk.unlink(self._places.segments / name)
            self._disk.sync_directory(self._places.segments)
        self._clear()
        return max((int(name.partition("-")[0]) for name in names), default=0)

    def _clear(self) -> None:
        """Remove the files of what was promised to nobody, or is done."""
        for name in self._disk.names(self._places.large):
            if not self._tables.read(lambda name=name: self._tables.has_file(name)):  # type: ignore[misc]
                self._disk.unlink(self._places.large / name)

    # ------------------------------------------------------------ segments

    def _replay(self, path: Path, alive: dict[bytes, Found], is_last: bool) -> None:
        octets = self._read(path)
        number, seed = path.stem.split("-")
        for record in unpack(octets, int(seed, 16)):
            if isinstance(record, Damage):
                if record.is_tail and is_last:
                    log.info("{path} ends in what was promised to nobody", path=str(path))
                else:
                    self._set_aside(f"{number}-{record.offset}", octets[record.offset : record.end], "damaged")
            elif record.kind is Kind.DONE:
                alive.pop(record.state, None)
            else:
                self._note(path, record, alive)

    def _note(self, path: Path, record: Record, alive: dict[bytes, Found]) -> None:
        key = _key_in(record.state)
        if record.kind is Kind.MESSAGE:
            # A state that cannot be read is looked at again when it is clear that it is the last.
            name = key or f"{path.stem}-{record.offset}".encode()
            alive.pop(name, None)
            alive[name] = Found(path, record, record.state)
        elif key in alive:
            alive[key] = Found(alive[key].segment, alive[key].record, record.state)

    def _read(self, path: Path) -> bytes:
        descriptor = self._disk.open(path)
        try:
            return self._disk.read(descriptor, self._disk.size(descriptor), 0)
        finally:
            self._disk.close(descriptor)

    # ------------------------------------------------------------ messages

    def _adopt(self, found: Iterable[Found]) -> None:
        messages = self._messages(found)
        while batch := list(islice(messages, _BATCH)):
            self._tables.change(lambda batch=batch: self._add(batch))  # type: ignore[misc]

    def _add(self, batch: Iterable[tuple[Queued, Stored]]) -> None:
        for queued, stored in batch:
            self._tables.add(queued, stored, is_out=False)  # what the backlog has is younger

    def _messages(self, found: Iterable[Found]) -> Iterator[tuple[Queued, Stored]]:
        """Yield what can be used, and set aside what cannot."""
        path, descriptor = None, -1
        try:
            for one in found:
                if one.segment != path:
                    if path is not None:
                        self._disk.close(descriptor)
                    path, descriptor = one.segment, self._disk.open(one.segment)
                octets = self._disk.read(descriptor, one.record.length, one.record.offset)
                message = self._message(one, octets)
                if message is not None:
                    yield message
        finally:
            if path is not None:
                self._disk.close(descriptor)

    def _message(self, found: Found, octets: bytes) -> tuple[Queued, Stored] | None:
        label = f"{found.segment.stem}-{found.record.offset}"
        try:
            queued = decode(found.state)
        except Unreadable as reason:
            self._set_aside(label, found.state + b"\r\n" + octets, f"unreadable: {reason}")
            return None
        file = file_name(queued.id) if found.record.start is not None else None
        if file is not None and not (self._places.large / file).exists():
            known = self._tables.read(lambda: self._tables.known([queued.id]))
            if not known:
                self._set_aside(label, found.state + b"\r\n" + octets, "without the file of its message")
            return None
        return queued, Stored(octets, file, found.record.start)

    def _set_aside(self, label: str, octets: bytes, why: str) -> None:
        """Put what cannot be used where the postmaster finds it."""
        path = self._places.kept / label
        fresh = path.with_suffix(".new")
        if fresh.exists():
            self._disk.unlink(fresh)
        self._disk.replace_file(path, octets, fresh)
        self._disk.sync_directory(self._places.kept)
        log.error("A record of the queue is {why}; it is set aside as {path}", why=why, path=str(path))


def _key_in(state: bytes) -> bytes | None:
    """Return the key of a state, None where it does not say."""
    try:
        return key_of(str(json.loads(state)["id"]))
    except (ValueError, TypeError, KeyError):
        return None
