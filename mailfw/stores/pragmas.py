"""How every connection to a SQLite file of a store begins."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def with_pragmas(connection: sqlite3.Connection, pragmas: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """Set pragmas, and let what else a connection needs be done; where any of that fails, the connection is closed."""
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        yield connection
    except BaseException:
        connection.close()
        raise
