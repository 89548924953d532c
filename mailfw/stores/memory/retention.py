"""What was expunged from an account, for as long as it may come back."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from mailfw.mail.mailbox import Flags, Path
from mailfw.mail.retained import Retained
from mailfw.stores.memory.mailbox import Letter, Message


@dataclass(frozen=True, slots=True)
class Kept:
    """An expunged letter, and where it was."""

    letter: Letter
    path: Path
    flags: Flags
    expunged: float

    def described(self, id_: str) -> Retained:
        """Return what may be known of it."""
        return Retained(id_, self.path, self.expunged, self.letter.received, len(self.letter.octets), self.flags)


class Retention:
    """Letters by ids that ascend, so that the oldest are the first."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self._ids = itertools.count(1)

    def keep(self, path: Path, messages: Iterable[Message], now: float) -> None:
        """Keep messages that were taken out of a mailbox."""
        for message in messages:
            self.kept[str(next(self._ids))] = Kept(message.letter, path, message.flags, now)

    def forget(self, before: float, limit: int) -> int:
        """Forget up to `limit` letters that were expunged before a time; return how many."""
        oldest = itertools.takewhile(lambda item: item[1].expunged < before, self.kept.items())
        gone = [id_ for id_, _ in itertools.islice(oldest, limit)]
        for id_ in gone:
            del self.kept[id_]
        return len(gone)
