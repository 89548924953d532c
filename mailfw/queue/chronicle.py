"""What is said of deliveries: one event of the log for each attempt, and the notes of a message's life."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

from mailfw.mail.address import Address
from mailfw.mail.message import printable
from mailfw.mail.outcome import Deferred, Delivered, Outcome
from mailfw.mail.queued import Leg, Queued
from mailfw.mail.reply import Reply
from mailfw.queue.active import Entry
from mailfw.queue.notes import Notes

log = Logger()

#: Recipients of one attempt whose reasons are logged.
_SHOWN = 20


class Chronicle:
    """Logs, and takes notes for whoever wants them."""

    def __init__(self, history: Notes | None) -> None:
        self._history = history

    def attempt(self, queued: Queued, leg: Leg, outcomes: Mapping[Address, Outcome]) -> None:
        """Say what an attempt has come to, whatever the number of recipients in one event."""
        reasons = [
            printable(f"{address}: {say(one.reply)}")
            for address, one in outcomes.items()
            if not isinstance(one, Delivered)
        ]
        log.info(
            "Message {id} by {route}, attempt {attempt}: {delivered} delivered, {others} not {reasons}",
            id=queued.id,
            route=str(leg.route),
            attempt=leg.attempts + 1,
            delivered=len(outcomes) - len(reasons),
            others=len(reasons),
            reasons=reasons[:_SHOWN],
        )
        if self._history is not None:
            results = [
                (str(address), type(one).__name__.lower(), say(one.reply), one.host)
                for address, one in outcomes.items()
            ]
            self._history.note(queued.id, "attempt", route=str(leg.route), attempt=leg.attempts + 1, results=results)

    def put_off(self, queued: Queued, leg: Leg, reason: Deferred) -> None:
        """Say that a leg was not tried, since its destination cannot be reached; the lane has said so in the log."""
        if self._history is not None:
            self._history.note(
                queued.id, "deferred", route=str(leg.route), attempt=leg.attempts + 1, reason=say(reason.reply)
            )

    def unreachable(self, entry: Entry, count: int, reason: Deferred) -> None:
        """Say that a destination is not tried for a while."""
        log.info(
            "{destination} cannot be reached, and {count} more messages wait for it: {reason}",
            destination=entry.lane.name,
            count=count,
            reason=say(reason.reply),
            until=entry.lane.blocked_until,
        )

    def changed(self, before: Queued, after: Queued) -> None:
        """Say what somebody has done to a message."""
        if self._history is None or before is after:
            return
        if after.is_done and not before.is_done:
            self._history.note(after.id, "removed")
        elif before.held != after.held:
            self._history.note(after.id, "held" if after.held else "released", reason=after.held)

    def reported(self, before: Queued, after: Queued) -> None:
        """Say that what was owed is done, or that nobody could be told."""
        if self._history is None:
            return
        self._history.note(
            after.id, "held" if after.held else "reported", reason=after.held, recipients=len(before.owed)
        )


def say(reply: Reply) -> str:
    """Return a reply on one line, whatever another server has written into it."""
    return printable(" ".join(part for part in (str(reply.code), reply.status, *reply.text.split("\n")) if part))
