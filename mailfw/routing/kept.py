"""A small JSON file that survives a restart, and whose loss costs nobody a message."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

log = Logger()


class Kept:
    """
    Writes what `describe` returns into `path`, some seconds after it was told of a change, and when it is closed.

    Nothing is written before `load`: who has not read what was kept must not replace it.  All file operations run in a
    thread; a disk that does not want to is logged.
    """

    def __init__(self, path: Path, reactor: Any, describe: Callable[[], object], delay: float = 10.0) -> None:
        self._path = path
        self._reactor = reactor
        self._describe = describe
        self._delay = delay
        self._is_loaded = False
        self._timer: Any = None
        self._writing: Deferred[None] | None = None

    async def load(self) -> Any:
        """Return what was written, None if nothing was or it cannot be read."""
        self._is_loaded = True
        try:
            return json.loads(await self._in_thread(self._path.read_bytes))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as reason:
            log.error("{path} cannot be read: {reason}", path=str(self._path), reason=str(reason))
            return None

    def changed(self) -> None:
        """Write soon."""
        if self._is_loaded and self._timer is None:
            self._timer = self._reactor.callLater(self._delay, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._writing is not None:
            self.changed()
            return
        self._writing = Deferred.fromCoroutine(self._write())

    async def close(self) -> None:
        """Write what has not been written."""
        is_late = self._timer is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        if is_late:
            await self._write()

    async def _write(self) -> None:
        try:
            octets = json.dumps(self._describe(), separators=(",", ":")).encode("utf-8")
            await self._in_thread(self._replace, octets)
        except OSError as reason:
            log.error("{path} cannot be written: {reason}", path=str(self._path), reason=str(reason))
        except Exception:
            log.failure("{path} cannot be written", path=str(self._path))
        finally:
            self._writing = None

    def _replace(self, octets: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(self._path.name + ".new")
        try:
            with draft.open("wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise

    def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *arguments)
