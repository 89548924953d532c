"""Whether the selected mailbox may have changed: what the store told, and what it says when it is asked."""

from __future__ import annotations

from collections.abc import Callable

from mailfw.interfaces import IMailStore
from mailfw.optional import IGenerations


class News:
    """
    Notices of one mailbox, by modification sequence, and the generation at which it was looked at last.

    Notices may come late; with a store that has no generations they alone count.
    """

    __slots__ = ("_account", "_generation", "_generation_of", "_heard")

    def __init__(self) -> None:
        self._account = ""
        self._generation_of: Callable[[str, str], int] | None = None
        self._generation = 0
        self._heard = 0

    def begin(self, account: str, store: IMailStore) -> None:
        """Follow the mailboxes of an account."""
        self._account = account
        self._generation_of = IGenerations(store).generation if IGenerations.providedBy(store) else None

    def hear(self, modseq: int) -> None:
        """Note that something has changed."""
        self._heard = max(self._heard, modseq)

    def have_come(self, mailbox: str, since: int) -> bool:
        """Whether a mailbox may have changed after a modification sequence."""
        return self._heard > since or self._now(mailbox) != self._generation

    def _now(self, mailbox: str) -> int:
        return self._generation_of(self._account, mailbox) if self._generation_of is not None else 0

    def mark(self, mailbox: str) -> tuple[int, int]:
        """Return what to say to `taken` when the mailbox has been looked at."""
        return self._heard, self._now(mailbox)

    def taken(self, mark: tuple[int, int]) -> None:
        """Forget what was heard before a mark, unless more has come since."""
        heard, self._generation = mark
        if self._heard == heard:
            self._heard = 0

    def forget(self) -> None:
        """Forget what was heard."""
        self._heard = 0
