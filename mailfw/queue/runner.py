"""The service that tries again what the spool holds, and has the failures reported."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailfw.interfaces import IContent
from mailfw.mail.address import Address
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Failed
from mailfw.mail.reply import Reply
from mailfw.queue.bounces import Bounces
from mailfw.queue.delivery import Attempt, Delivery
from mailfw.queue.intake import undelivered
from mailfw.queue.queued import Queued, Undelivered
from mailfw.queue.schedule import Schedule
from mailfw.queue.spool import Spool
from mailfw.site import Site

log = Logger()

#: Seconds between two looks at what is due.
INTERVAL = 1.0
#: Messages that are tried at the same time.
AT_ONCE = 20
#: Seconds until a message is looked at again after the disk, or we, have failed with it.
AFTER_FAULT = 60.0


class QueueRunner(Service):
    """
    Works through what is due, a bounded number of messages at a time, each by one coroutine.

    An outcome is written down before it is acted on; whatever fails in between is done again.
    """

    name = "queue"

    def __init__(
        self,
        *,
        site: Site,
        spool: Spool,
        delivery: Delivery,
        schedule: Schedule | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = site.reactor
        self._spool = spool
        self._delivery = delivery
        self._schedule = schedule or Schedule()
        self._bounces = Bounces(site=site, delivery=delivery, spool=spool, schedule=self._schedule)
        self._chance = chance
        self._working: dict[str, Deferred[None]] = {}
        self._not_before: dict[str, float] = {}
        self._looking = LoopingCall(self._look)
        self._looking.clock = self._clock

    def startService(self) -> None:
        """Find out what the last process left, then look after it."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        Deferred.fromCoroutine(self._recover())

    async def _recover(self) -> None:
        try:
            await self._spool.recover()
        except Exception:
            log.failure("The spool cannot be read: what it holds is not delivered")
        if self.running and not self._looking.running:
            self._looking.start(INTERVAL)

    def stopService(self) -> Deferred[None]:
        """Begin nothing new, and wait for what is under way."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        if self._looking.running:
            self._looking.stop()
        return DeferredList(list(self._working.values())).addCallback(lambda _: None)

    def _look(self) -> None:
        now = self._clock.seconds()
        for queued in self._spool.due(now):
            if len(self._working) >= AT_ONCE:
                return
            if queued.id not in self._working and self._not_before.get(queued.id, now) <= now:
                self._begin(queued)

    def _begin(self, queued: Queued) -> None:
        ended: Deferred[None] = Deferred()
        self._working[queued.id] = ended

        def end(_: object) -> None:
            del self._working[queued.id]
            ended.callback(None)

        Deferred.fromCoroutine(self._work(queued)).addBoth(end)

    async def _work(self, queued: Queued) -> None:
        """Do what is due with one message; never raises."""
        self._not_before.pop(queued.id, None)
        try:
            content = await self._spool.open(queued)
            try:
                queued = await self._report(queued, content)
                if queued.waiting and queued.due <= self._clock.seconds():
                    queued = await self._try(queued, content)
                    queued = await self._report(queued, content)
            finally:
                await content.close()
            if queued.is_done:
                await self._spool.remove(queued)
        except Exception:
            log.failure("Message {id} stays in the queue", id=queued.id)
            self._not_before[queued.id] = self._clock.seconds() + AFTER_FAULT

    async def _report(self, queued: Queued, content: IContent) -> Queued:
        """Have the failures reported, then forget them."""
        if not queued.failed:
            return queued
        await self._bounces.report(queued, content)
        queued = replace(queued, failed=())
        if not queued.is_done:
            await self._spool.record(queued)
        return queued

    async def _try(self, queued: Queued, content: IContent) -> Queued:
        """Make one attempt, and write down what came of it."""
        attempts = await self._delivery.deliver(queued.next_envelope(), content, queued.junk)
        now = self._clock.seconds()
        made = queued.attempts + 1
        due = self._schedule.next_attempt(queued.arrived, made, now, self._chance())
        waiting, failed = _sort(queued, attempts)
        if due is None:
            failed += tuple(_expired(one) for one in waiting)
            waiting = ()
        queued = replace(queued, attempts=made, due=now if due is None else due, waiting=waiting, failed=failed)
        log.info(
            "Message {id}, attempt {attempts}: {delivered} delivered, {waiting} wait, {failed} failed",
            id=queued.id,
            attempts=made,
            delivered=len(attempts) - len(waiting) - len(failed),
            waiting=[f"{one.recipient}: {one.reply.text}" for one in waiting],
            failed=[f"{one.recipient}: {one.reply.text}" for one in failed],
            due=queued.due,
        )
        if not queued.is_done:
            await self._spool.record(queued)
        return queued


def _sort(queued: Queued, attempts: list[Attempt]) -> tuple[tuple[Undelivered, ...], tuple[Undelivered, ...]]:
    """Return who has to wait and who failed, each under the addresses the sender wrote."""
    originals: dict[Address, list[Undelivered]] = {}
    for known in queued.waiting:
        originals.setdefault(known.recipient, []).append(known)

    def written(found: tuple[Undelivered, ...]) -> tuple[Undelivered, ...]:
        return tuple(
            Undelivered(known.original, one.recipient, one.reply) for one in found for known in originals[one.original]
        )

    return written(undelivered(attempts, DeferredOutcome)), written(undelivered(attempts, Failed))


def _expired(one: Undelivered) -> Undelivered:
    """Return a recipient that has waited for too long (RFC 3463 section 3.5: X.4.7)."""
    last = f"{one.reply.code} {one.reply.status} {one.reply.text}"
    return replace(one, reply=Reply(550, "5.4.7", f"Given up after trying for days; the last answer was: {last}"))
