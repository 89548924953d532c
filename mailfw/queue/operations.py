"""What people do with the queue: look at it, hold, release, retry, give back and delete messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailfw.interfaces import IContent, ISpool
from mailfw.mail.queued import Action, Concluded, Queued
from mailfw.mail.reply import Reply
from mailfw.queue.history import History
from mailfw.queue.selection import QUARANTINE, Selection, description
from mailfw.queue.settlement import is_wanted
from mailfw.queue.statistics import Statistics
from mailfw.site import Site

log = Logger()

#: Messages that are looked at, or changed, at once; others have their turn in between.
_BATCH = 200
#: Seconds to wait for an attempt that is under way with a message; it is changed all the same, later.
_PATIENCE = 10.0
#: Destinations that are counted one by one; the rest together.
_DESTINATIONS = 10_000

GIVEN_UP = Reply(554, "5.0.0", "The administrator of this server has given up on the message")

Change = Callable[[Queued], Queued | None]


class Runner(Protocol):
    """What is asked of the queue's runner."""

    async def alter(self, name: str, change: Change) -> Queued | None:
        """Change a message between two attempts; a change that returns None removes it."""

    def statistics(self) -> Statistics:
        """Return what is going on."""

    def seconds(self) -> float:
        """Return the time."""


class Refused(Exception):
    """What was asked for cannot be done; the text is for whoever asked."""


class Operations:
    """
    Works on the spool beside the runner, which need not have been started.

    Each method that changes messages yields a line for each of them: its id, and what has become of it.
    """

    def __init__(self, *, site: Site, spool: ISpool, runner: Runner, history: History) -> None:
        self._reactor = site.reactor
        self._spool = spool
        self._runner = runner
        self._history = history

    # ------------------------------------------------------------ looking

    async def select(self, selection: Selection) -> AsyncIterator[Queued]:
        """Iterate over messages by ascending id; what comes in the meantime may be among them or not."""
        now = self._runner.seconds()
        if selection.ids:
            for name in sorted(set(selection.ids)):
                queued = await self._spool.get(name)
                if queued is not None and selection.takes(queued, now):
                    yield queued
            return
        after = ""
        while some := await self._spool.scan(after, _BATCH):
            after = some[-1].id
            for queued in some:
                if selection.takes(queued, now):
                    yield queued
            await deferLater(self._reactor, 0)

    async def describe(self, selection: Selection) -> AsyncIterator[dict[str, Any]]:
        """Describe messages."""
        async for queued in self.select(selection):
            yield description(queued)

    async def show(self, name: str) -> dict[str, Any]:
        """Describe one message.  Raises `Refused`."""
        queued = await self._spool.get(name)
        if queued is None:
            raise Refused(f"there is no message {name} in the queue")
        return description(queued)

    async def content(self, name: str) -> IContent:
        """Open one message; the caller closes it.  Raises `Refused`."""
        content = await self._spool.content(name)
        if content is None:
            raise Refused(f"there is no message {name} in the queue")
        return content

    async def trace(self, name: str) -> list[dict[str, Any]]:
        """Return what has happened to a message, which need not be there any more."""
        return await self._history.of(name)

    async def statistics(self) -> dict[str, Any]:
        """Count what is in the queue, by destination, and say what is going on."""
        counts: Counter[str] = Counter()
        destinations: dict[str, dict[str, Any]] = {}
        oldest: float | None = None
        async for queued in self.select(Selection()):
            counts.update(_kinds(queued))
            counts["octets"] += queued.size
            oldest = queued.arrived if oldest is None else min(oldest, queued.arrived)
            for leg in queued.legs:
                name = str(leg.route) if str(leg.route) in destinations or len(destinations) < _DESTINATIONS else ""
                entry = destinations.setdefault(name, {"messages": 0, "recipients": 0, "oldest": queued.arrived})
                entry["messages"] += 1
                entry["recipients"] += len(leg.recipients)
                entry["oldest"] = min(entry["oldest"], queued.arrived)
        now = self._runner.statistics()
        return {
            **{kind: counts[kind] for kind in ("messages", "held", "quarantined", "deferred", "octets")},
            "oldest": oldest,
            "in_memory": now.active,
            "in_flight": now.in_flight,
            "since_start": {"delivered": now.delivered, "deferred": now.deferred, "failed": now.failed},
            "destinations": destinations,
            "lanes": {
                lane.name: {
                    "waiting": lane.waiting,
                    "in_flight": lane.in_flight,
                    "window": lane.window,
                    "until": lane.until,
                    "reason": lane.reason,
                }
                for lane in now.lanes
            },
        }

    # ------------------------------------------------------------ changing

    def change(self, verb: str, selection: Selection, by: str, reason: str = "") -> AsyncIterator[dict[str, Any]]:
        """Do what `verb`, a key of `VERBS`, says to each message selected; `by` is who wants it, for its history."""
        make, done = VERBS[verb]
        return self._change(selection, make(reason, self._runner), done, {"verb": verb, "by": by, "reason": reason})

    async def _change(
        self, selection: Selection, change: Change, done: str, note: dict[str, str]
    ) -> AsyncIterator[dict[str, Any]]:
        missing = set(selection.ids)
        batch: list[str] = []
        async for queued in self.select(selection):
            missing.discard(queued.id)
            batch.append(queued.id)
            if len(batch) >= _BATCH:
                for line in await self._change_all(batch, change, done, note):
                    yield line
                batch.clear()
        for line in await self._change_all(batch, change, done, note):
            yield line
        for name in sorted(missing):
            yield {"id": name, "refused": "no such message is selected"}

    async def _change_all(
        self, names: list[str], change: Change, done: str, note: dict[str, str]
    ) -> list[dict[str, Any]]:
        begun = [Deferred.fromCoroutine(self._change_one(name, change, done, note)) for name in names]
        results = await DeferredList(begun, consumeErrors=True)
        return [
            line if success else {"id": name, "refused": "it could not be changed: see the log of the server"}
            for name, (success, line) in zip(names, results, strict=True)
        ]

    async def _change_one(self, name: str, change: Change, done: str, note: dict[str, str]) -> dict[str, Any]:
        self._history.note(name, "command", **note)
        altering = Deferred.fromCoroutine(self._runner.alter(name, change))
        altering.addErrback(_fault, name)
        first = await _within(altering, _PATIENCE, self._reactor)
        if isinstance(first, _Late):
            return {"id": name, "done": f"{done}, when the attempt under way has ended"}
        if isinstance(first, Exception):
            return {"id": name, "refused": str(first)}
        return {"id": name, "done": done} if first is not None else {"id": name, "refused": "it is gone"}


# ---------------------------------------------------------------- what can be done to one message

Maker = Callable[[str, Runner], Change]


def _hold(reason: str, runner: Runner) -> Change:
    return lambda queued: replace(queued, held=queued.held or reason or "held by the administrator")


def _release(reason: str, runner: Runner) -> Change:
    return lambda queued: _at_once(replace(queued, held=""), runner.seconds())


def _retry(reason: str, runner: Runner) -> Change:
    def change(queued: Queued) -> Queued:
        if queued.held:
            raise Refused("it is held; release it")
        return _at_once(queued, runner.seconds())

    return change


def _at_once(queued: Queued, now: float) -> Queued:
    return replace(queued, legs=tuple(replace(leg, due=min(leg.due, now)) for leg in queued.legs))


def _bounce(reason: str, runner: Runner) -> Change:
    reply = replace(GIVEN_UP, text=f"{GIVEN_UP.text}: {reason}") if reason else GIVEN_UP

    def change(queued: Queued) -> Queued:
        now = runner.seconds()
        owed = tuple(
            Concluded(one.original, one.address, Action.FAILED, reply, "", now)
            for leg in queued.legs
            for one in leg.recipients
            if is_wanted(queued.envelope, one.original, Action.FAILED)
        )
        return replace(queued, legs=(), owed=queued.owed + owed, held="")

    return change


def _delete(reason: str, runner: Runner) -> Change:
    return lambda queued: None


#: What makes the change, and what is said of a message to which it was made.
VERBS: dict[str, tuple[Maker, str]] = {
    "hold": (_hold, "held"),
    "release": (_release, "released"),
    "retry": (_retry, "tried now"),
    "bounce": (_bounce, "given back to its sender"),
    "delete": (_delete, "deleted"),
}


def _kinds(queued: Queued) -> list[str]:
    kinds = ["messages"]
    if queued.held:
        kinds.append("quarantined" if queued.held.startswith(QUARANTINE) else "held")
    elif any(leg.attempts for leg in queued.legs):
        kinds.append("deferred")
    return kinds


class _Late:
    """It takes longer."""


async def _within(waiting: Deferred[Any], seconds: float, clock: Any) -> Any:
    """Return what is awaited, or `_Late`; it goes on all the same."""
    either: Deferred[Any] = Deferred()

    def tell(result: Any) -> None:
        if not either.called:
            either.callback(result)

    waiting.addCallback(tell)
    timer = clock.callLater(seconds, tell, _Late())
    result = await either
    if timer.active():
        timer.cancel()
    return result


def _fault(failure: Any, name: str) -> Exception:
    """Turn a failure into what is told of it."""
    reason: Exception = failure.value
    if not isinstance(reason, Refused | TimeoutError):
        log.failure("Message {id} could not be changed", failure, id=name)
        return Refused(f"it could not be changed: {reason}")
    return reason
