"""A socket with a name in the data directory, for commands of the user whose server it is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError

from mailfw.commands.language import reachable
from mailfw.service.ports import CannotStart
from mailfw.wire.listening import Listening


class PrivateSocket:
    """Listens at `path`, where nobody else may connect."""

    def __init__(self, path: Path, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._port: Any = None
        self._listening: Listening
        self._held = contextlib.ExitStack()

    def listen(self, factory: Any) -> None:
        """Open the socket; one that a killed server has left is replaced.  Raises `CannotStart`."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        before = os.umask(0o077)  # nobody else may connect before the mode is right
        try:
            path = self._held.enter_context(reachable(self._path))
            self._port = self._reactor.listenUNIX(path, factory, mode=0o600, wantPID=False)
            self._listening = Listening(self._port, self._reactor)
        except (CannotListenError, OSError) as reason:
            raise CannotStart(f"{self._path}: {getattr(reason, 'socketError', reason)}")
        finally:
            os.umask(before)

    async def close(self) -> bool:
        """Take no more connections; whether any could come until now."""
        if self._port is None:
            return False
        port, self._port = self._port, None
        self._listening.end()
        with contextlib.suppress(FileNotFoundError):  # Twisted removes it, and somebody may have done so before
            await maybeDeferred(port.stopListening)
        self._held.close()
        return True
