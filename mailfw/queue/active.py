"""A message of the queue while it is in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from mailfw.interfaces import IContent
from mailfw.mail.queued import Leg, Queued

if TYPE_CHECKING:  # a lane has entries, and an entry a lane
    from mailfw.queue.lanes import Lane

#: A change to a message; None removes it.
Change = Callable[[Queued], Queued | None]


class Gone(Exception):
    """The message has been removed before it could be changed."""


class Active:
    """
    A message that is out of the spool: `queued` is how it is now, `content` is there while it is small and has room.

    `entries` wait in lanes, `in_flight` are under way; with neither the message is finished.
    """

    __slots__ = ("_applied", "changes", "content", "entries", "finishing", "in_flight", "queued", "timer")

    def __init__(self, queued: Queued, content: IContent | None = None) -> None:
        self.queued = queued
        self.content = content
        self.entries: list[Entry] = []
        self.in_flight = 0
        self.finishing = False
        self.timer: Any = None
        self.changes: list[tuple[Change, Deferred[Queued]]] = []
        self._applied: list[tuple[Deferred[Queued], Queued]] = []

    @property
    def is_busy(self) -> bool:
        """Whether one of its legs is in a lane."""
        return bool(self.entries) or self.in_flight > 0

    def cancel(self) -> None:
        """Finish it no more: the spool has it as it was last written."""
        if self.timer is not None and self.timer.active():
            self.timer.cancel()

    # ------------------------------------------------------------ changes

    def change(self, change: Change) -> Deferred[Queued]:
        """Ask for a change; it is made, and the result told, when the message is finished."""
        done: Deferred[Queued] = Deferred()
        self.changes.append((change, done))
        return done

    def apply_changes(self) -> None:
        """Change the message as it was asked for; a change that raises is left out, and told so."""
        changes, self.changes = self.changes, []
        for change, done in changes:
            try:
                self.queued = _changed(self.queued, change)
            except Exception as reason:
                done.errback(reason)
            else:
                self._applied.append((done, self.queued))

    def tell_changes(self) -> None:
        """Tell what was changed, since it is written down."""
        applied, self._applied = self._applied, []
        for done, queued in applied:
            done.callback(queued)

    def fail_changes(self, fault: Exception) -> None:
        """Say that nothing was changed, since it could not be written down."""
        applied, self._applied = self._applied, []
        for done, _ in applied:
            done.errback(fault)


class Entry:
    """One leg of a message in a lane."""

    __slots__ = ("active", "begun", "lane", "leg")

    def __init__(self, active: Active, leg: Leg, lane: Lane) -> None:
        self.active = active
        self.leg = leg
        self.lane = lane
        self.begun = 0.0


def _changed(queued: Queued, change: Change) -> Queued:
    altered = change(queued)
    if altered is None:
        return replace(queued, legs=(), owed=(), held="")
    return altered
