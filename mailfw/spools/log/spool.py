"""The embedded spool: a log for what is under way, a backlog for what waits."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.disk import Disk, FileContent, is_full
from mailfw.interfaces import IContent, IDraft, ISpool
from mailfw.mail.failure import NoSpace
from mailfw.mail.queued import Queued, encode
from mailfw.spools.contents import Octets
from mailfw.spools.log.backlog import Backlog
from mailfw.spools.log.ballast import Ballast
from mailfw.spools.log.drafts import RESERVE, DraftRoom, Material
from mailfw.spools.log.journal import Journal, Promise
from mailfw.spools.log.names import discard, file_name, key_of
from mailfw.spools.log.records import Kind
from mailfw.spools.log.recovery import Places, Recovery
from mailfw.spools.log.segments import Line, Segment, Segments
from mailfw.spools.log.tables import Stored, Tables

log = Logger()

#: Octets after which a segment is followed by another.
SEGMENT = 32 * 1024 * 1024
#: Segments that there may be before what keeps the oldest alive goes to the backlog: what a restart has to read.
SEGMENTS = 8
#: Octets that are set aside for a start with a full disk: enough to change states, and for a few messages of the log.
BALLAST = 4 * 1024 * 1024
#: Octets of messages under way that are kept in memory besides.
_REMEMBERED = 32 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Fresh:
    """
    A message in the log: always out.  While it is `moving` to the backlog nothing may be done with it.

    `changes` counts the states and ends of it that are on their way to the log: until they are there it is not moved.
    """

    queued: Queued
    segment: Segment
    offset: int
    length: int
    octets: bytes | None
    file: str | None
    start: int | None
    moving: Promise[None] | None = None
    changes: int = 0


@implementer(ISpool)
class LogSpool:
    """Keeps messages in `directory`, which no other process may use meanwhile."""

    def __init__(
        self, *, directory: Path, disk: Disk, clock: object, reserve: int = RESERVE, segment: int = SEGMENT
    ) -> None:
        """Touch nothing yet: `open` does."""
        self._places = Places(directory)
        self._disk = disk
        self._segment = segment
        # Less than the reserve, so that no new mail takes the room that it sets free.
        self._ballast = Ballast(disk, self._places.ballast, min(BALLAST, reserve * 3 // 4))
        self._drafts = DraftRoom(directory=self._places.drafts, disk=disk, clock=clock, reserve=reserve)
        self._fresh: dict[str, Fresh] = {}
        self._arriving: dict[str, Promise[None] | None] = {}
        self._remembered: dict[Fresh, None] = {}
        self._octets = 0
        self._is_evacuating = False
        self._journal: Journal
        self._backlog: Backlog
        self._is_open = False

    async def open(self) -> None:
        """Let everything wait in the backlog, and begin a new log."""
        tables, index, number, count = await self._disk.run(self._open)
        writer = Segments(self._disk, self._places.segments, self._places.large, self._segment, index, number)
        self._journal = Journal(self._disk, writer)
        self._backlog = Backlog(self._disk, tables, self._journal, self._places.large)
        self._backlog.count = count
        self._is_open = True

    def _open(self) -> tuple[Tables, Tables, int, int]:
        places = self._places
        for directory in (places.root, places.segments, places.large, places.drafts, places.kept):
            self._disk.make_directory(directory)
        try:
            opened = self._look()
        except (OSError, NoSpace) as error:
            if not (isinstance(error, NoSpace) or is_full(error)) or not self._ballast.give_up():
                raise
            opened = self._look()
        self._ballast.keep()
        return opened

    def _look(self) -> tuple[Tables, Tables, int, int]:
        places = self._places
        tables = Tables(self._disk, places.backlog)
        self._disk.sync_directory(places.root)
        try:
            number = Recovery(self._disk, places, tables).recover()
        except NoSpace:
            with suppress(OSError, NoSpace):
                tables.close()
            raise
        count = tables.read(tables.count)
        if not count:
            with suppress(NoSpace):
                tables.shrink()
        return tables, Tables(self._disk, places.backlog), number, count

    async def close(self) -> None:
        """Finish what is under way; what is out stays in the log, for `open` to find."""
        if self._is_open:
            self._is_open = False
            try:
                await self._backlog.close()
            finally:
                await self._journal.close()

    # ------------------------------------------------------------ taking it

    async def open_draft(self, size_hint: int) -> IDraft:
        """Return an empty draft.  Raises `NoSpace` before the disk is full."""
        return await self._drafts.open(size_hint)

    async def put(self, queued: Queued, content: IContent) -> None:
        """Write a message to the log, and wait for the next sync."""
        name = queued.id
        while name in self._arriving:
            earlier = self._arriving[name] = self._arriving[name] or Promise()
            await earlier
        self._arriving[name] = None
        try:
            if name not in self._fresh:
                await self._put(queued, content)
        finally:
            waiting = self._arriving.pop(name)
            if waiting is not None:
                waiting.callback(None)

    async def _put(self, queued: Queued, content: IContent) -> None:
        material = await self._drafts.material(content)
        try:
            line = Line(Kind.MESSAGE, encode(queued), material.octets, material.start, queued.id)
            if material.file is None:
                await self._journal.write(line, looks_up=not self._backlog.is_empty)
            elif await self._backlog.get(queued.id) is None:
                await self._put_large(line, material)
            else:
                line.is_kept = True
        finally:
            if material.draft is not None:
                await material.draft.close()
        if line.is_kept:
            await self._backlog.seize(queued.id)
        else:
            self._enter(queued, line)

    async def _put_large(self, line: Line, material: Material) -> None:
        """Give the message's file a second name, which the writer syncs, and write the rest to the log."""
        assert material.file is not None
        path = self._places.large / file_name(line.name)
        line.large = True
        try:
            await self._disk.run(self._link, material.file, path)
            await self._journal.write(line)
        except BaseException:
            await self._disk.run(discard, self._disk, path)
            raise

    def _link(self, draft: Path, path: Path) -> None:
        try:
            self._disk.link(draft, path)
        except FileExistsError:  # left there by a disk that would not remove it
            self._disk.unlink(path)
            self._disk.link(draft, path)

    def _enter(self, queued: Queued, line: Line) -> None:
        assert line.segment is not None
        file = None if line.start is None else file_name(line.name)
        entry = Fresh(queued, line.segment, line.offset, len(line.octets), line.octets, file, line.start)
        self._fresh[queued.id] = entry
        self._remembered[entry] = None
        self._octets += entry.length
        while self._octets > _REMEMBERED:
            self._drop_octets(next(iter(self._remembered)))
        if len(self._journal.segments) > SEGMENTS and not self._is_evacuating:
            Deferred.fromCoroutine(self._evacuate())

    def _drop_octets(self, entry: Fresh) -> None:
        if entry in self._remembered:
            del self._remembered[entry]
            self._octets -= entry.length
            entry.octets = None

    # ------------------------------------------------------------ what becomes of it

    async def record(self, queued: Queued) -> None:
        """Write a state where the message is."""
        entry = await self._settled(queued.id)
        if entry is None:
            await self._backlog.record(queued, is_back=False)
        else:
            await self._change(entry, Line(Kind.STATE, encode(queued)))
            entry.queued = queued

    async def give_back(self, queued: Queued) -> None:
        """Write a state to the backlog, and the message with it where it is not there yet."""
        entry = await self._settled(queued.id)
        if entry is None:
            await self._backlog.record(queued, is_back=True)
        else:
            await self._move(entry, queued, is_out=False)

    async def remove(self, name: str) -> None:
        """Forget a message where it is."""
        entry = await self._settled(name)
        if entry is None:
            await self._backlog.remove(name)
        else:
            path = None if entry.file is None else self._places.large / entry.file
            await self._change(entry, Line(Kind.DONE, key_of(name), discard=path))
            self._forget(entry)

    async def _change(self, entry: Fresh, line: Line) -> None:
        """Write what becomes of a message, which stays where it is meanwhile."""
        entry.changes += 1
        try:
            await self._journal.write(line)
        finally:
            entry.changes -= 1

    async def _settled(self, name: str) -> Fresh | None:
        """Return a message of the log that does not move, None if it is not there (any longer)."""
        while (entry := self._fresh.get(name)) is not None and entry.moving is not None:
            await entry.moving
        return entry

    async def _move(self, entry: Fresh, queued: Queued, is_out: bool) -> None:
        """Bring a message from the log to the backlog; once it is there the log forgets it."""
        moving = entry.moving = Promise()
        try:
            await self._backlog.add(queued, lambda: self._stored(entry), is_out)
            self._journal.note(Line(Kind.DONE, key_of(queued.id)))
            self._forget(entry)
        finally:
            entry.moving = None
            moving.callback(None)

    def _stored(self, entry: Fresh) -> Stored:
        """Return a message's octets, in the backlog's thread; its segment stays until it has moved."""
        octets = entry.octets
        if octets is None:
            octets = self._disk.read(entry.segment.descriptor, entry.length, entry.offset)
        return Stored(octets, entry.file, entry.start)

    def _forget(self, entry: Fresh) -> None:
        del self._fresh[entry.queued.id]
        self._drop_octets(entry)
        entry.segment.alive -= 1
        if not entry.segment.alive:
            self._journal.sweep()

    async def _evacuate(self) -> None:
        """Move what keeps the oldest segment alive."""
        self._is_evacuating = True
        oldest = self._journal.segments[0]
        staying = [
            entry
            for entry in self._fresh.values()
            if entry.segment is oldest and entry.moving is None and not entry.changes
        ]
        try:
            moves = [Deferred.fromCoroutine(self._move(entry, entry.queued, is_out=True)) for entry in staying]
            await gatherResults(moves, consumeErrors=True)
        except Exception:
            log.failure("The queue's log grows, since messages cannot be moved to the backlog")
        finally:
            self._is_evacuating = False

    # ------------------------------------------------------------ what waits

    async def take(self, now: float, limit: int, each: int, passing_over: Collection[str]) -> list[Queued]:
        """Look in the backlog: what is in the log is out."""
        return await self._backlog.take(now, limit, each, passing_over)

    async def next_due(self, passing_over: Collection[str]) -> float | None:
        """Look in the backlog."""
        return await self._backlog.next_due(passing_over)

    async def seize(self, name: str) -> Queued | None:
        """Look in the backlog."""
        return None if name in self._fresh else await self._backlog.seize(name)

    async def get(self, name: str) -> Queued | None:
        """Return a message's state, from where it is."""
        entry = self._fresh.get(name)
        return await self._backlog.get(name) if entry is None else entry.queued

    async def scan(self, after: str, limit: int) -> list[Queued]:
        """Merge what both have."""
        waiting = await self._backlog.scan(after, limit)
        # Looked at after the backlog: what has moved there meanwhile is in one of them at least.
        found = {name: entry.queued for name, entry in self._fresh.items() if name > after}
        found.update((queued.id, queued) for queued in waiting)
        return [found[name] for name in sorted(found)[:limit]]

    async def count(self) -> int:
        """Return how many there are."""
        return len(self._fresh) + self._backlog.count

    # ------------------------------------------------------------ reading it

    async def content(self, name: str) -> IContent | None:
        """Open a message, from memory where it is still there."""
        entry = self._fresh.get(name)
        if entry is not None and entry.file is None:
            return self._open_fresh(entry)
        stored = await self._backlog.stored(name) if entry is None else await self._read_prefix(entry)
        if stored is None:
            return None
        if stored.file is None:
            return Octets(stored.octets)
        try:
            return await self._disk.run(self._open_large, stored)
        except FileNotFoundError:
            if await self.get(name) is None:  # removed meanwhile
                return None
            raise

    def _open_fresh(self, entry: Fresh) -> IContent:
        if entry.octets is not None:
            return Octets(entry.octets)
        descriptor = self._disk.duplicate(entry.segment.descriptor)
        return FileContent(self._disk, descriptor, entry.length, entry.offset)

    async def _read_prefix(self, entry: Fresh) -> Stored:
        content = self._open_fresh(entry)
        try:
            return Stored(await content.read(0, content.size), entry.file, entry.start)
        finally:
            await content.close()

    def _open_large(self, stored: Stored) -> IContent:
        assert stored.file is not None and stored.start is not None
        descriptor = self._disk.open(self._places.large / stored.file)
        size = len(stored.octets) + self._disk.size(descriptor) - stored.start
        return FileContent(self._disk, descriptor, size, stored.start, stored.octets)
