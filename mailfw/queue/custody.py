"""Where the intake leaves a message: in the spool, and with the runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.internet.defer import DeferredList
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from mailfw.interfaces import IContent, IDraft, ISpool
from mailfw.mail.address import Address
from mailfw.mail.content import Octets
from mailfw.mail.envelope import Envelope
from mailfw.mail.outcome import Outcome
from mailfw.mail.queued import Pending, Queued
from mailfw.mail.route import Route
from mailfw.queue.notes import Notes
from mailfw.queue.runner import QueueRunner

#: Seconds that a client waits for its reply while the queue outruns delivery (Postfix's in_flow_delay is 1).
_BREATH = 0.1


class Custody(Protocol):
    """Keeps messages for good, in this process or in another."""

    async def open_draft(self, size_hint: int) -> IDraft:
        """Make room for a message of about so many octets.  Raises `NoSpace`."""

    async def take(self, messages: Sequence[tuple[Queued, IContent]]) -> None:
        """Keep all of these, or none and raise; when this returns they are on stable storage and will be delivered."""

    async def deliver(
        self, route: Route, envelope: Envelope, pendings: tuple[Pending, ...], content: IContent, junk: bool
    ) -> Mapping[Address, Outcome]:
        """Deliver now, and return an outcome for each final address; never raises."""


class SpoolCustody:
    """Puts messages into a spool and hands them to the runner; `history` hears of each."""

    def __init__(self, *, spool: ISpool, runner: QueueRunner, history: Notes | None, clock: Any) -> None:
        self._spool = spool
        self._runner = runner
        self._history = history
        self._clock = clock

    async def open_draft(self, size_hint: int) -> IDraft:
        """Make room for a message."""
        return await self._spool.open_draft(size_hint)

    async def take(self, messages: Sequence[tuple[Queued, IContent]]) -> None:
        """Put all into the spool, then let them be delivered."""
        if len(messages) == 1:
            await self._spool.put(*messages[0])
        elif messages:
            begun = [TwistedDeferred.fromCoroutine(self._spool.put(*each)) for each in messages]
            results = await DeferredList(begun, consumeErrors=True)
            await self._undo(messages, results)
        pressed = False
        for queued, content in messages:
            self._note(queued)
            small: Any = content if isinstance(content, Octets) else None
            pressed |= not self._runner.offer(queued, small)
        if pressed:
            await deferLater(self._clock, _BREATH)

    async def _undo(self, put: Sequence[tuple[Queued, IContent]], results: Sequence[tuple[bool, object]]) -> None:
        """Where one part could not be kept the client keeps all: forget the others, and raise why."""
        failures = [result for success, result in results if not success and isinstance(result, Failure)]
        if not failures:
            return
        for (queued, _), (success, _) in zip(put, results, strict=True):
            if success:
                await self._spool.remove(queued.id)
        failures[0].raiseException()

    def _note(self, queued: Queued) -> None:
        if self._history is not None:
            self._history.note(
                queued.id,
                "accepted",
                sender=str(queued.envelope.sender or ""),
                recipients=[str(each) for each in queued.envelope.recipients],
                size=queued.size,
                account=queued.account,
                client=queued.client,
                held=queued.held,
            )

    async def deliver(
        self, route: Route, envelope: Envelope, pendings: tuple[Pending, ...], content: IContent, junk: bool
    ) -> Mapping[Address, Outcome]:
        """Deliver now."""
        return await self._runner.couriers.deliver(route, envelope, pendings, content, junk)
