"""
Which thread a message belongs to, in an account's index.

The table of threads has each id that a message of the account has or refers to, together with the message's subject,
and the thread it was first seen in.  Keys and threads begin with the account's number.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable

from mailfw.mail.conversation import WIDTH, join, lonely_thread, split, thread_id
from mailfw.mail.summary import Summary

#: Octets of the account's number.
_PREFIX = 4

#: Ids of threads that are gone are looked for, and forgotten, about as often as all messages that are there, and so
#: many more, have been removed: for each of these that costs the same, however many there are.
SELDOM = 5000


class Conversations:
    """Finds threads for messages that are added together; `known` is what `find_threads` found for all of them."""

    def __init__(self, number: int, known: dict[bytes, bytes]) -> None:
        self._number = number
        self._known = known
        #: What is to be added to the table.
        self.new: list[tuple[bytes, bytes]] = []

    def join(self, summary: Summary, email_id: str) -> bytes:
        """Return the thread of one more message."""
        lonely = prefix_of(self._number) + lonely_thread(email_id)
        thread, new = join(self._known, keys_of(self._number, summary), lonely)
        self.new += [(key, thread) for key in new]
        return thread


def prefix_of(number: int) -> bytes:
    """Return how the keys of an account begin."""
    return number.to_bytes(_PREFIX, "big")


def keys_of(number: int, summary: Summary) -> list[bytes]:
    """Return what the thread of a message is found by in an account."""
    prefix = prefix_of(number)
    return [prefix + key for key in split(summary.keys)]


def find_threads(connection: sqlite3.Connection, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the threads of those keys that are known."""
    asked = list(keys)
    found: dict[bytes, bytes] = {}
    for start in range(0, len(asked), _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        marks = ",".join("?" * len(part))
        found.update(connection.execute(f"SELECT key, thread FROM thread WHERE key IN ({marks})", part).fetchall())  # noqa: S608 -- question marks
    return found


#: SQLite takes 999 parameters where it was built long ago.
_AT_ONCE = 500


def load_all(connection: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
    """Return the whole table."""
    return connection.execute("SELECT key, thread FROM thread").fetchall()


def shown(thread: bytes) -> str:
    """Return what clients are told of a thread."""
    return thread_id(thread[_PREFIX:])


def is_time_to_prune(removed: int, kept: int) -> bool:
    """Whether it is time to forget threads that are gone; left to chance, so that nothing has to be remembered."""
    return int.from_bytes(os.urandom(4), "big") * (kept + SELDOM) < removed << 32


def whole_range(number: int) -> tuple[bytes, bytes]:
    """Return the lowest and the highest key of an account."""
    return prefix_of(number), prefix_of(number) + b"\xff" * WIDTH
