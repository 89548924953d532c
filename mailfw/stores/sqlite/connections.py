"""Connections that read one file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Connections:
    """As many connections as threads want one at the same time; `connect` makes one more."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._guard = threading.Lock()
        self._idle: list[sqlite3.Connection] = []

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection."""
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        finally:
            with self._guard:
                self._idle.append(connection)

    def close(self) -> None:
        """Close those that are not lent."""
        with self._guard:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
