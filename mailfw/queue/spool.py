"""
The spool: what the queue has taken responsibility for, one message in two files of ``queue/``.

===============  ==========================================================================
``ID.eml``       the message; written once, never changed
``ID.json``      its state (`mailfw.queue.queued`): this file *is* the message's place in the queue
``….new``        a file that is being written
===============  ==========================================================================

The states a message can be found in, and the steps between them.  What a crash leaves is always one of them:

====  ===============================  ===================================================================
S0    nothing                          not ours, or done
S1    ``ID.eml`` alone                 not ours yet, or done: `recover` removes it
S2    both                             ours: tried when its state says so
S3    ``ID.json`` alone                done, or the disk has lost the message: `recover` logs it and sets it aside
====  ===============================  ===================================================================

- *put*, S0 → S1 → S2: write and sync ``ID.eml``; write and sync ``ID.json.new``; rename it; sync the directory.  Only
  then is the message ours.  Whatever fails before that is undone, and the sender is told to keep the message.
- *record*, S2 → S2: write and sync ``ID.json.new``; rename it; sync the directory.  An outcome is acted on after this,
  so a crash repeats an attempt at worst, which the envelope's id lets couriers notice.
- *remove*, S2 → S1 → S0: unlink ``ID.json``; sync the directory; unlink ``ID.eml``.

``kept/ID.eml`` is a message that nobody could be given: it stays until the postmaster has looked.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from twisted.logger import Logger

from mailfw.interfaces import IContent
from mailfw.mail.content import Content
from mailfw.queue.disk import Disk, FileContent
from mailfw.queue.queued import Queued, Unreadable, decode, encode

log = Logger()

#: Octets copied at once.
_PIECE = 64 * 1024
#: An id that is a file name as it stands; of any other the digest is used.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class Spool:
    """Keeps queued messages on disk, and knows in memory when each is due."""

    def __init__(self, *, directory: Path, disk: Disk) -> None:
        """Make the directories; what they hold is read by `recover`."""
        self._queue = directory / "queue"
        self._kept = directory / "kept"
        self._disk = disk
        self._queued: dict[str, Queued] = {}
        disk.make_directories(self._queue, self._kept)

    def __len__(self) -> int:
        return len(self._queued)

    def due(self, now: float) -> Sequence[Queued]:
        """Return the messages with which something is to be done, the most urgent first."""
        return sorted((queued for queued in self._queued.values() if queued.wake <= now), key=lambda one: one.wake)

    async def put(self, queued: Queued, content: Content) -> None:
        """Bring a message to stable storage: from then on it is our responsibility.  Raises `NoSpace`, `OSError`."""
        message = self._path(queued, ".eml")
        try:
            await self._copy(content, message)
            await self._disk.run(self._write_state, queued)
        except BaseException:
            # A message that is refused must not be delivered after all; on a disk that fails even here, twice is
            # better than never.
            with contextlib.suppress(Exception):
                await self._disk.run(self._remove, queued)
            raise
        self._queued[queued.id] = queued

    async def record(self, queued: Queued) -> None:
        """Write down what has become of a message.  Raises `NoSpace`, `OSError`; then the old state holds."""
        await self._disk.run(self._write_state, queued)
        self._queued[queued.id] = queued

    async def remove(self, queued: Queued) -> None:
        """Forget a message with which nothing is left to do."""
        await self._disk.run(self._remove, queued)
        self._queued.pop(queued.id, None)

    async def open(self, queued: Queued) -> IContent:
        """Open a queued message; the caller closes it."""
        descriptor = await self._disk.run(self._disk.open, self._path(queued, ".eml"))
        return FileContent(self._disk, descriptor, self._disk.size(descriptor))

    async def keep(self, name: str, content: Content) -> None:
        """Put a message where only the postmaster finds it, durably."""
        path = self._kept / f"{_file_name(name)}.eml"
        await self._copy(content, path.with_suffix(".new"))
        await self._disk.run(self._disk.rename, path.with_suffix(".new"), path)
        await self._disk.run(self._disk.sync_directory, self._kept)

    async def recover(self) -> None:
        """Look at what exists; to be called once, before anything is due."""
        found = await self._disk.run(self._look)
        for queued in found:
            self._queued.setdefault(queued.id, queued)

    # ------------------------------------------------------------ in a thread

    def _look(self) -> list[Queued]:
        names = set(self._disk.names(self._queue))
        found: list[Queued] = []
        for name in sorted(names):
            path = self._queue / name
            if path.suffix == ".new" or (path.suffix == ".eml" and f"{path.stem}.json" not in names):
                self._disk.unlink(path)
            elif path.suffix == ".json":
                queued = self._read_state(path, f"{path.stem}.eml" in names)
                found += [queued] if queued else []
        return found

    def _read_state(self, path: Path, has_message: bool) -> Queued | None:
        try:
            if not has_message:
                raise Unreadable("the message itself is gone")
            return decode(self._disk.read_file(path))
        except (Unreadable, OSError) as reason:
            log.error("{path} cannot be used and is set aside: {reason}", path=str(path), reason=str(reason))
            for suffix in (".json", ".eml"):
                with contextlib.suppress(FileNotFoundError):
                    self._disk.rename(path.with_suffix(suffix), self._kept / f"{path.stem}{suffix}")
            return None

    def _write_state(self, queued: Queued) -> None:
        path = self._path(queued, ".json")
        fresh = path.with_suffix(".new")
        with self._disk.creating(fresh) as descriptor:
            self._disk.write(descriptor, encode(queued))
            self._disk.sync(descriptor)
        self._disk.rename(fresh, path)
        self._disk.sync_directory(self._queue)

    def _remove(self, queued: Queued) -> None:
        self._disk.unlink(self._path(queued, ".json"))
        self._disk.sync_directory(self._queue)
        self._disk.unlink(self._path(queued, ".eml"))

    async def _copy(self, content: Content, path: Path) -> None:
        descriptor = await self._disk.run(self._disk.create, path)
        try:
            for offset in range(0, content.size, _PIECE):
                piece = await content.read(offset, _PIECE)
                if len(piece) < min(_PIECE, content.size - offset):
                    raise OSError(errno.EIO, "The message ends too early")
                await self._disk.run(self._disk.write, descriptor, piece)
            await self._disk.run(self._disk.sync, descriptor)
        finally:
            self._disk.close(descriptor)

    def _path(self, queued: Queued, suffix: str) -> Path:
        return self._queue / (_file_name(queued.id) + suffix)


def _file_name(text: str) -> str:
    """Return a file name for an id: no id can name a file outside the directory, or one of another message."""
    if _PLAIN_ID.fullmatch(text):
        return text
    return "." + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
