"""
The service that delivers what the queue holds.

Each message in memory is `Active`: its due legs wait in the lanes of their destinations, are tried, and when none of
them is left there the message is settled: reports are put into the queue, and it is removed from the spool or given
back to it.  What an attempt has come to is written down before anything is done about it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailfw.interfaces import IContent, ICourier, ISpool
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed
from mailfw.mail.queued import Leg, Queued
from mailfw.queue.active import Active, Change, Entry, Gone
from mailfw.queue.alarm import Alarm
from mailfw.queue.attempt import Couriers, Outcomes, attempt, close
from mailfw.queue.bounds import Bounds
from mailfw.queue.chronicle import Chronicle
from mailfw.queue.feed import Feed
from mailfw.queue.lanes import Lanes
from mailfw.queue.notes import Notes
from mailfw.queue.pace import Pace
from mailfw.queue.planning import Planner
from mailfw.queue.rates import Limiter, Rates
from mailfw.queue.reports import Reports
from mailfw.queue.schedule import Schedule
from mailfw.queue.settlement import replace_leg, settle, warn
from mailfw.queue.statistics import Statistics
from mailfw.queue.steady import steady_clock
from mailfw.queue.waking import due_later, for_destination, for_domain, wake
from mailfw.queue.watch import Watch
from mailfw.site import Site

log = Logger()

#: Seconds until a message is looked at again after the disk, or we, have failed with it.
AFTER_FAULT = 60.0
#: Seconds that deliveries under way have to come to an end when the server stops.
STOP_WITHIN = 30.0
#: In one turn of the reactor: deliveries that begin, and messages that are put off since nobody can be reached.
_BEGUN_AT_ONCE, _AT_ONCE = 500, 100
#: How often, and after how many seconds, a message that is on its way into memory is looked for again.
_LOOKS, _LOOK = 100, 0.05


class QueueRunner(Service):
    """
    Works through what is due: in rotation between destinations, as many deliveries at a time as they bear.

    `couriers` are by name.  `history` hears of everything; `chance` is for pauses that must not be equal; `processor`
    tells the seconds that whoever takes mail in has worked.
    """

    name = "queue"

    def __init__(
        self,
        *,
        site: Site,
        spool: ISpool,
        planner: Planner,
        couriers: Mapping[str, ICourier],
        schedule: Schedule | None = None,
        bounds: Bounds | None = None,
        rates: Rates | None = None,
        history: Notes | None = None,
        chance: Callable[[], float] = random.random,
        processor: Callable[[], float] = time.thread_time,
    ) -> None:
        self._reactor = site.reactor
        #: The time the queue goes by, in seconds since the epoch.
        self.seconds = steady_clock(site.reactor)
        self.schedule = schedule or Schedule()
        self.couriers = Couriers(couriers)
        self._bounds = bounds or Bounds()
        self._spool = spool
        self._planner = planner
        self._chronicle = Chronicle(history)
        self._chance = chance
        self._reports = Reports(site=site, planner=planner, spool=spool, schedule=self.schedule)
        self._limiter = Limiter(rates or Rates(), self.seconds)
        self._active: dict[str, Active] = {}
        self._lanes = Lanes(self._bounds, self.schedule, self._limiter, chance, lambda: len(self._active))
        self._feed = Feed(
            reactor=site.reactor,
            clock=self.seconds,
            spool=spool,
            lanes=self._lanes,
            room=lambda: self._bounds.active - len(self._active),
            begin=self._begin,
        )
        self._octets = 0
        self._counts = {Delivered: 0, DeferredOutcome: 0, Failed: 0}
        self._pumping = Alarm(site.reactor, self._pump)
        self._limited = Alarm(site.reactor, self._pump_soon)
        self._resting = Alarm(site.reactor, self._pump_soon)
        self._pace = Pace(processor)
        self._watch = Watch(reactor=site.reactor, clock=self.seconds, timeout=self._bounds.delivery_timeout)
        self._putting_off: list[tuple[Entry, DeferredOutcome]] = []
        self._ended: Deferred[None] | None = None

    # ------------------------------------------------------------ the service

    def startService(self) -> None:
        """Begin with what the spool, which is open, has."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        self._feed.start()

    async def _stop(self) -> None:
        await self._feed.stop()
        for alarm in (self._pumping, self._limited, self._resting):
            alarm.stop()
        while self._putting_off:
            self._put_some_off(self.seconds())
        for active in list(self._active.values()):
            self._withdraw(active)
        if self._active:
            self._ended = Deferred()
            patience = self._reactor.callLater(STOP_WITHIN, self._stopped)
            await self._ended
            if patience.active():
                patience.cancel()
        self._watch.stop()
        if self._active:
            log.warn("{count} messages are still under way", count=len(self._active))  # noqa: G010  # Twisted's name

    def stopService(self) -> Deferred[None]:
        """Begin nothing new, wait for what is under way, and give the rest back."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        return Deferred.fromCoroutine(self._stop())

    def _stopped(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended.callback(None)

    def statistics(self) -> Statistics:
        """Return what is going on."""
        return Statistics(
            len(self._active),
            self._octets,
            self._lanes.in_flight,
            self._counts[Delivered],
            self._counts[DeferredOutcome],
            self._counts[Failed],
            self._lanes.states(self.seconds()),
        )

    # ------------------------------------------------------------ in

    def offer(self, queued: Queued, content: IContent | None) -> bool:
        """
        Take over a message that was put into the spool a moment ago; `content` is its, in memory, or None.

        False asks to be given less: its destination has enough of what can be done at once.
        """
        if queued.id in self._active:
            return True
        if content is not None and self._octets + content.size > self._bounds.memory:
            content = None
        active = self._admit(queued, content)
        now = self.seconds()
        self._pace.arrived(now)
        if not self.running or queued.held or len(self._active) > self._bounds.active:
            self._finish_soon(active)
            return not self.running or bool(queued.held)
        return self._enter(active, now, fresh=True)

    async def _begin(self, queued: Queued) -> None:
        """Take over a message from the spool: ways may be others now."""
        active = self._admit(queued, None)
        now = self.seconds()
        active.in_flight += 1  # so long as nobody knows the way it is not given back
        try:
            active.queued = await self._planner.plan_again(queued, now, self.schedule, self._chance())
        except Exception:
            log.failure("Nobody can tell where message {id} goes", id=queued.id)
            active.queued = due_later(queued, now + AFTER_FAULT)
        active.in_flight -= 1
        if self.running and not active.changes:
            self._enter(active, now, fresh=False)
        else:
            self._finish_soon(active)

    def _admit(self, queued: Queued, content: IContent | None) -> Active:
        active = self._active[queued.id] = Active(queued, content)
        if content is not None:
            self._octets += content.size
        return active

    def _enter(self, active: Active, now: float, fresh: bool) -> bool:
        """Give each leg that is due a place in its lane; False where there was none."""
        taken = True
        for leg in active.queued.legs:
            if leg.due > now or not leg.route.courier:
                continue
            lane = self._lanes.of(leg.route)
            if lane.blocked_until > now and lane.reason is not None:
                self._put_off(active, leg, lane.reason, now)
            elif fresh and self._lanes.is_crowded(lane):
                taken = False
            else:
                self._lanes.enter(Entry(active, leg, lane))
        if active.is_busy:
            self._pump_soon()
        else:
            self._finish_soon(active)
        if not taken:
            self._feed.has_more = True
        return taken

    # ------------------------------------------------------------ out

    def _pump_soon(self) -> None:
        if self.running:
            self._pumping.ring_in(0)

    def _pump(self) -> None:
        """Begin what may begin, in the turn of the reactor after that in which it could."""
        now = self.seconds()
        self._put_some_off(now)
        pause = self._pace.wait(now, self._lanes.local_in_flight)
        for _ in range(_BEGUN_AT_ONCE):
            entry = self._lanes.next(now, not pause and self._pace.has_room)
            if entry is None:
                break
            if entry.lane.is_local:
                self._pace.began(now, len(entry.leg.recipients), entry.active.queued.size)
            wait = 0.0 if self._limiter.is_idle else self._limiter.wait(entry.active.queued, entry.leg)
            if wait:
                self._lanes.unbegin(entry)
                self._postpone(entry, now + wait)
            else:
                self._watch.begin(entry, self._attempt(entry))
        else:
            self._pump_soon()
        if self._putting_off:
            self._pump_soon()
        if self._lanes.has_local:
            self._resting.ring_in(max(0.001, pause))
        token = self._lanes.next_token()
        if token is not None:
            self._limited.ring_in(max(0.001, token - now))

    def _put_some_off(self, now: float) -> None:
        """Let those wait that need not be tried now, so many in a turn that nobody else has to."""
        some = self._putting_off[-_AT_ONCE:]
        del self._putting_off[-_AT_ONCE:]
        for entry, reason in some:
            entry.active.in_flight -= 1
            self._put_off(entry.active, entry.leg, reason, now)
            if not entry.active.is_busy:
                self._finish_soon(entry.active)

    def _put_off(self, active: Active, leg: Leg, reason: DeferredOutcome, now: float) -> None:
        """Count an attempt with a leg that another has made for it."""
        outcomes: Outcomes = {one.address: reason for one in leg.recipients}
        active.queued = settle(active.queued, leg, outcomes, now, self.schedule, self._chance())
        self._chronicle.put_off(active.queued, leg, reason)

    def _postpone(self, entry: Entry, due: float) -> None:
        """Let a leg wait that was not tried."""
        active, leg = entry.active, entry.leg
        active.queued = replace_leg(active.queued, leg, (replace(leg, due=due),))
        if not active.is_busy:
            self._finish_soon(active)

    async def _attempt(self, entry: Entry) -> None:
        active, leg = entry.active, entry.leg
        outcomes = await attempt(self.couriers, self._spool, active, leg)
        self._watch.answered(entry)
        now = self.seconds()
        achieved = False
        unreachable: DeferredOutcome | None = None
        for outcome in outcomes.values():
            self._counts[type(outcome)] += 1
            achieved |= isinstance(outcome, Delivered)
            if isinstance(outcome, DeferredOutcome) and outcome.unreachable:
                unreachable = outcome
        drained = self._lanes.ended(entry, None if achieved else unreachable, achieved, now)
        active.queued = settle(active.queued, leg, outcomes, now, self.schedule, self._chance())
        self._chronicle.attempt(active.queued, leg, outcomes)
        if drained and unreachable is not None:
            self._wait_for(entry, drained, unreachable)
        if self._feed.has_more and self._has_room(entry):
            self._feed.at(0.0)
        self._pump_soon()
        if active.is_busy:
            await self._record(active)
        else:
            await self._finish(active)

    def _wait_for(self, entry: Entry, drained: Sequence[Entry], reason: DeferredOutcome) -> None:
        for each in drained:
            each.active.in_flight += 1  # so long as it is here it is not given back
        self._putting_off += [(each, reason) for each in drained]
        self._chronicle.unreachable(entry, len(drained), reason)

    def _has_room(self, entry: Entry) -> bool:
        if entry.lane.is_full:
            return self._lanes.has_drained(entry.lane)
        return len(self._active) <= self._bounds.active // 2

    async def _record(self, active: Active) -> None:
        try:
            await self._spool.record(active.queued)
        except Exception:
            log.failure("What became of message {id} could not be written down yet", id=active.queued.id)

    # ------------------------------------------------------------ the end

    def _finish_soon(self, active: Active) -> None:
        Deferred.fromCoroutine(self._finish(active))

    async def _finish(self, active: Active) -> None:
        """Do what is to be done with a message that is in no lane, and let go of it; never raises."""
        if active.finishing or self._active.get(active.queued.id) is not active:
            return
        active.finishing = True
        active.cancel()
        try:
            await self._settle(active)
            before = active.queued
            active.apply_changes()
            self._chronicle.changed(before, active.queued)
            if active.queued.is_done:
                await self._spool.remove(active.queued.id)
            else:
                await self._spool.give_back(active.queued)
        except Exception as fault:
            log.failure("What became of message {id} cannot be written down now", id=active.queued.id)
            active.finishing = False
            if self.running:
                active.timer = self._reactor.callLater(AFTER_FAULT, self._finish_soon, active)
                return
            active.fail_changes(fault)
        self._forget(active)

    async def _settle(self, active: Active) -> None:
        """Have done what is owed."""
        queued, now = active.queued, self.seconds()
        if queued.held:
            return
        if queued.legs and self.schedule.is_warning_due(queued, now):
            queued = active.queued = warn(queued, now)
        if not queued.owed:
            return
        await self._spool.record(queued)
        content = active.content or await self._spool.content(queued.id)
        if content is None:
            raise LookupError("The spool has no content for it")
        try:
            settled, put = await self._reports.report(queued, content, now)
        finally:
            if content is not active.content:
                await close(content)
        self._chronicle.reported(queued, settled)
        active.queued = settled
        for report, octets in put:
            self.offer(report, octets)

    def _forget(self, active: Active) -> None:
        queued = active.queued
        del self._active[queued.id]
        if active.content is not None:
            self._octets -= active.content.size
        if queued.due is not None:
            self._feed.at(queued.due)
        active.tell_changes()
        for change, done in active.changes:
            Deferred.fromCoroutine(self._alter_again(queued.id, change)).chainDeferred(done)
        if self._ended is not None and not self._active:
            self._stopped()

    # ------------------------------------------------------------ what people want

    async def alter(self, name: str, change: Change) -> Queued | None:
        """
        Change a message between two attempts, and return what it is then; None if there is no such message.

        What is made due is tried, even if its destination is being waited for.  A change that returns None removes
        the message: what is returned is done.  Raises whatever the change does, or the spool.
        """
        for _ in range(_LOOKS):
            active = self._active.get(name)
            if active is None:
                queued = await self._spool.seize(name)
                if queued is not None:
                    active = self._admit(queued, None)
                elif name not in self._active and await self._spool.get(name) is None:
                    return None
            if active is not None:
                done = active.change(change)
                self._withdraw(active)
                try:
                    altered = await done
                except Gone:
                    return None
                self._hurry(altered)
                return altered
            await deferLater(self._reactor, _LOOK)
        raise TimeoutError(f"Message {name} is held by somebody else")

    async def _alter_again(self, name: str, change: Change) -> Queued:
        """Make a change that came while the message was written down."""
        altered = await self.alter(name, change)
        if altered is None:
            raise Gone(name)
        return altered

    def _withdraw(self, active: Active) -> None:
        """Take a message out of the lanes, so far as it has not begun."""
        for entry in list(active.entries):
            self._lanes.withdraw(entry)
        if not active.is_busy and not active.finishing:
            self._finish_soon(active)

    def _hurry(self, queued: Queued) -> None:
        now = self.seconds()
        if queued.due is not None and queued.due <= now:
            for leg in queued.legs:
                if leg.due <= now:
                    self._lanes.unblock(str(leg.route))
            self._feed.at(0.0)

    async def etrn(self, domain: str) -> int:
        """Make all that waits for recipients of a domain due now (RFC 1985), and return how many messages that are."""
        return await wake(for_domain(domain), self._reactor, self._spool, self._active, self.alter)

    async def wake(self, destination: str) -> int:
        """Make all that waits for a destination of `Route` due now, and return how many messages that are."""
        return await wake(for_destination(destination), self._reactor, self._spool, self._active, self.alter)
