"""A secret of the server's own that outlives it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailfw.accounts.textfile import rewrite

log = Logger()

_OCTETS = 32


class LastingSecret:
    """Random octets in a file for its owner alone, made when they are first asked for."""

    def __init__(self, path: Path, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._value: bytes | None = None

    async def value(self) -> bytes:
        """Return the octets; the same ones after a restart, unless the file cannot be kept."""
        if self._value is None:
            value: bytes = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._read_or_make)
            self._value = self._value or value
        return self._value

    def _read_or_make(self) -> bytes:
        try:
            if (text := self._read()) is None:
                rewrite(self._path, lambda text: text or os.urandom(_OCTETS).hex() + "\n")
                text = self._read()
            assert text is not None
            return bytes.fromhex(text)
        except (OSError, ValueError):
            log.failure("{path} cannot be kept; another secret serves until the next start", path=str(self._path))
            return os.urandom(_OCTETS)

    def _read(self) -> str | None:
        try:
            return self._path.read_text("ascii")
        except FileNotFoundError:
            return None
