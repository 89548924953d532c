"""How one tells, without reading them, that a folder or a control file has changed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from mailfw.stores.maildir.at_hand import look_at_hand

#: Two changes within one tick of a file system's clock look like one.  Whoever looked within a second of a
#: change has to look again (1 s is the tick of ext3 and of Dovecot's MAILDIR_SYNC_SECS).
TICK = 1.0

#: By how much the dates of a local file system may lag behind the clock: two ticks of the slowest kernel (100 Hz).
GRAIN = 0.02


@dataclass(frozen=True, slots=True)
class Signature:
    """
    When ``new/`` and ``cur/`` were modified, in nanoseconds, and when that was looked at, in seconds.

    Its text is a cursor of the index.
    """

    new: int
    cur: int
    looked: float

    @classmethod
    def of(cls, directory: str) -> Signature:
        """Look at a folder.  Blocks; raises `FileNotFoundError`."""
        looked = time.time()
        new, cur = os.stat(f"{directory}/new"), os.stat(f"{directory}/cur")  # noqa: PTH116 -- asked thousands of times
        return cls(new.st_mtime_ns, cur.st_mtime_ns, looked)

    @classmethod
    def at_hand(cls, directory: str) -> Signature | None:
        """Return what `of` does if it is in memory.  Does not block."""
        looked = time.time()
        new, cur = look_at_hand(f"{directory}/new"), look_at_hand(f"{directory}/cur")
        return cls(new.st_mtime_ns, cur.st_mtime_ns, looked) if new is not None and cur is not None else None

    @classmethod
    def parse(cls, text: str | None) -> Signature | None:
        """Read the text of one; None for any other text."""
        try:
            new, cur, looked = (text or "").split(" ")
            return cls(int(new), int(cur), float(looked))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.new} {self.cur} {self.looked:.3f}"

    def is_same(self, other: Signature) -> bool:
        """Whether the directories are as they were."""
        return self.new == other.new and self.cur == other.cur

    def may_hide_changes(self) -> bool:
        """Whether it was taken so soon after a change that another may have followed unseen, and that time is over."""
        changed = max(self.new, self.cur) / 1e9
        return self.looked < changed + TICK < time.time()

    def is_settled(self) -> bool:
        """Whether the last change was so long before the look that every one after it shows."""
        return self.looked > max(self.new, self.cur) / 1e9 + GRAIN


def is_stale_at(directory: str, cursor: str | None) -> bool:
    """Whether a folder may have changed since a cursor was taken.  Blocks; raises `FileNotFoundError`."""
    signature = Signature.parse(cursor)
    return signature is None or not signature.is_same(Signature.of(directory)) or signature.may_hide_changes()


#: Which file it is, its octets and its time of modification in nanoseconds.
Identity = tuple[int, int, int]


def identity(path: str) -> Identity | None:
    """Look at a control file; None if there is none.  Blocks."""
    try:
        return identity_of(os.stat(path))  # noqa: PTH116 -- asked for each message
    except FileNotFoundError:
        return None


def identity_of(status: os.stat_result) -> Identity:
    """Return what `identity` would, from a look that was taken."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def end_of_second(file: Identity | None) -> int:
    """Return the last nanosecond of the second in which a file was modified: Dovecot compares the dates in seconds."""
    return (file[2] // 1_000_000_000 + 1) * 1_000_000_000 - 1 if file is not None else 0
