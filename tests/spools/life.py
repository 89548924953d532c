"""A spool's life on a disk that breaks, and what may be found after it."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailfw.mail.content import Prefixed
from mailfw.mail.failure import NoSpace
from mailfw.mail.queued import Queued
from mailfw.spools.log import LogSpool
from mailfw.testing.disk import Crashed, FaultyDisk
from mailfw.testing.spool import NOW, queued, read_all

T = TypeVar("T")

#: Every few messages there is another segment.
SEGMENT = 1200
LARGE = b"L" * 70_000
REFUSALS = (OSError, NoSpace)


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns at once."""
    got: list[T | Failure] = []
    Deferred.fromCoroutine(coroutine).addBoth(got.append)
    assert got, "it waits for something"
    if isinstance(got[0], Failure):
        got[0].raiseException()
    return got[0]


def make_spool(directory: Path, disk: FaultyDisk) -> LogSpool:
    """Return a spool that does everything at once."""
    return LogSpool(directory=directory, disk=disk, clock=Clock(), segment=SEGMENT, reserve=0)


@dataclass
class Fate:
    """
    What is known of one message: its octets, and every state that was written, oldest first.

    `sure` is the number of the oldest state that may be found, None while the message may be missing.  `gone`: it was
    removed, and must not be found; `going`: it may be missing.
    """

    octets: bytes
    states: list[Queued]
    sure: int | None = None
    last: int | None = None
    going: bool = False
    gone: bool = False
    refused: bool = False


@dataclass
class Life:
    """Does what a queue does, and notes what was promised."""

    directory: Path
    disk: FaultyDisk
    fates: dict[str, Fate] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)

    def live(self) -> None:
        """Live through all that can happen to a message.  Raises `Crashed`, and what opening the spool does."""
        self.spool = make_spool(self.directory, self.disk)
        run_now(self.spool.open())
        self.first_day()
        run_now(self.spool.close())
        self.spool = make_spool(self.directory, self.disk)
        run_now(self.spool.open())
        self.second_day()

    def first_day(self) -> None:
        self.put("a0", "a1", "a2")
        self.put_large("L0")
        self.record("a0")
        self.remove("a1")
        self.put_large("L1", prefix=b"X: y\r\n")
        self.put("b0")
        self.give_back("a2")
        self.give_back("L0")
        self.remove("L1")
        self.put("b1", "b2", "b3", "b4")
        self.take()
        self.give_back("a2")
        self.remove("L0")
        for n in range(8):  # until a0 keeps the oldest of many segments alive, and is moved
            self.put(f"c{n}")
            self.remove(f"c{n}")
        self.record("a0")
        self.remove("b1")
        self.put_large("L2")
        self.give_back("b2")
        self.put("b2")
        self.both_sides()

    def both_sides(self) -> None:
        """What is written to the log first is there first, wherever the next is written."""
        self.put("f0", "f1")
        self.record("f0")
        self.give_back("b2")
        self.give_back("f1")
        self.take()
        self.remove("f1")
        self.give_back("b2")

    def second_day(self) -> None:
        self.take()
        self.record("b0")
        self.remove("a0")
        self.put("d0", "d1")
        self.put_large("L3")
        self.give_back("b0")
        self.remove("a2")
        self.remove("L2")
        self.give_back("L3")
        self.put("a0")
        self.record("d0")
        self.remove("d1")
        for n in range(5):  # the next segment begins before one of them, at most
            self.put(f"e{n}")
            self.record(f"e{n}")

    # ------------------------------------------------------------ one thing after the other

    def put(self, *names: str) -> None:
        """Put messages that come together."""
        outcomes: list[tuple[str, list[Any]]] = []
        self.disk.hold()
        for name in names:
            octets = f"Subject: {name}\r\n\r\n{name * 30}\r\n".encode()
            outcomes.append((name, self._start_put(name, octets, b"")))
        self.disk.let_go()
        for name, outcome in outcomes:
            self._end_put(name, outcome)

    def put_large(self, name: str, prefix: bytes = b"") -> None:
        """Put a message that has a file."""
        octets = LARGE + name.encode()
        self._end_put(name, self._start_put(name, octets, prefix))

    def _start_put(self, name: str, octets: bytes, prefix: bytes) -> list[Any]:
        state = queued(name, (f"{name[0]}.example", NOW), size=len(octets))
        fate = self.fates.get(name)
        if fate is None or fate.gone or fate.refused:
            self.fates[name] = Fate(prefix + octets, [state])
        outcome: list[Any] = []
        Deferred.fromCoroutine(self._put(state, octets, prefix)).addBoth(outcome.append)
        return outcome

    async def _put(self, state: Queued, octets: bytes, prefix: bytes) -> None:
        draft = await self.spool.open_draft(len(octets))
        try:
            await draft.write(octets)
            content: Any = Prefixed(prefix, draft)  # which knows no interfaces
            await self.spool.put(state, content)
        finally:
            await draft.close()

    def _end_put(self, name: str, outcome: list[Any]) -> None:
        fate = self.fates[name]
        with self.noting_errors() as went_well:
            assert outcome, "it waits for something"
            if isinstance(outcome[0], Failure):
                if fate.last is None:
                    fate.refused = outcome[0].check(*REFUSALS) is not None
                outcome[0].raiseException()
        if went_well:
            fate.last = fate.last or 0
            self.all_is_sure()

    def record(self, name: str) -> None:
        """Write a state."""
        self._write(name, self.spool.record, False)

    def give_back(self, name: str) -> None:
        """Write a state, and let the message wait."""
        self._write(name, self.spool.give_back, True)

    def _write(self, name: str, method: Any, is_sync: bool) -> None:
        fate = self.fates[name]
        if fate.last is None or fate.gone:
            return
        fate.states.append(replace(fate.states[0], account=str(len(fate.states))))
        with self.noting_errors() as went_well:
            run_now(method(fate.states[-1]))
        if went_well:
            fate.last = len(fate.states) - 1
            if is_sync:
                self.all_is_sure()

    def remove(self, name: str) -> None:
        """Remove a message."""
        fate = self.fates[name]
        if fate.last is None or fate.gone:
            return
        fate.going = True
        with self.noting_errors() as went_well:
            run_now(self.spool.remove(name))
        fate.gone = bool(went_well)

    def take(self) -> None:
        """Take everything out that is due."""
        with self.noting_errors():
            run_now(self.spool.take(NOW, 100, 100, ()))

    @contextmanager
    def noting_errors(self) -> Iterator[list[bool]]:
        """Go on where the disk refuses; yields a list that is true in the end if it did not."""
        went_well: list[bool] = []
        try:
            yield went_well
            went_well.append(True)
        except REFUSALS as error:
            self.errors.append(error)

    def all_is_sure(self) -> None:
        """Note that what was promised so far survives a power failure too."""
        for fate in self.fates.values():
            fate.sure = fate.last
            if fate.gone:
                fate.states = []

    # ------------------------------------------------------------ what is left of it

    def look(self, lost_power: bool) -> dict[str, str]:
        """Open what there is, on a good disk, and say of each message what is wrong with it."""
        disk = FaultyDisk(self.directory.parent / "attic")
        spool = make_spool(self.directory, disk)
        run_now(spool.open())
        found = {one.id: one for one in run_now(spool.scan("", 1000))}
        wrong = {name: self.verdict(name, found.get(name), spool, lost_power) for name in self.fates}
        wrong |= {name: "nobody knows it" for name in found if name not in self.fates}
        taken = [one.id for one in run_now(spool.take(NOW, 1000, 1000, ()))]
        if sorted(taken) != sorted(found) or run_now(spool.count()) != len(found):
            wrong["?"] = f"{sorted(found)} is there, {taken} is given"
        run_now(spool.close())
        disk.bury()
        return {name: what for name, what in wrong.items() if what}

    def verdict(self, name: str, found: Queued | None, spool: LogSpool, lost_power: bool) -> str:
        """Say what is wrong with what was found of a message."""
        fate = self.fates[name]
        sure = fate.sure if lost_power else fate.last
        if found is None:
            return "" if sure is None or fate.going else "it is lost"
        if fate.refused:
            return "it was refused, and is there"
        if fate.gone and (not lost_power or not fate.states):
            return "it was removed, and is there"
        if found not in fate.states[sure or 0 :]:
            return f"its state is old: {found}"
        octets = run_now(read_all_of(spool, name))
        return "" if octets == fate.octets else f"its octets are wrong: {octets!r:.100}"


async def read_all_of(spool: LogSpool, name: str) -> bytes | None:
    """Return a message's octets."""
    return await read_all(await spool.content(name))


def live_until(directory: Path, disk: FaultyDisk) -> Life:
    """Live until the disk ends it, and bury what it had open."""
    life = Life(directory, disk)
    try:
        life.live()
    except Crashed:
        pass
    except REFUSALS as error:
        life.errors.append(error)
    finally:
        disk.bury()
    return life
