"""The process dies at each await of a delivery; whoever comes after finds the spool, and nobody is forgotten."""

from __future__ import annotations

import email
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.interfaces import ISpool
from mailfw.mail.address import Address
from mailfw.mail.outcome import Deferred, Delivered, Failed
from mailfw.mail.queued import Queued
from mailfw.mail.reply import Reply
from mailfw.spools.memory import MemorySpool
from mailfw.testing.dialogue import run_now
from tests.accounts.pretend import PretendReactor
from tests.queue.fixture import ANN, BOB, CAROL, POSTMASTER, START, House, PretendCourier, PretendDirectory

LATER = Deferred(Reply(451, "4.3.0", "Later"))
NEVER = Failed(Reply(550, "5.1.1", "Never"))
AWAY = Deferred(Reply(451, "4.4.1", "Nobody answers"), unreachable=True)
DAN, EVE = Address("dan", "example.org"), Address("eve", "example.net")
FORWARDED = Address("away", "example.org")


class Life:
    """One process: it stops for good at the step `ends_at`, counted from 1, and nothing of it happens after that."""

    def __init__(self, ends_at: int | None = None) -> None:
        self.ends_at = ends_at
        self.steps = 0
        self.ended = False

    async def step(self) -> None:
        self.steps += 1
        if self.ended or self.steps == self.ends_at:
            self.ended = True
            await TwistedDeferred()


class Mortal:
    """A plug-in whose every call has a step before what it does, and one behind it."""

    def __init__(self, life: Life, part: Any) -> None:
        self._life = life
        self._part = part

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        async def call(*args: Any) -> Any:
            await self._life.step()
            result = await method(*args)
            await self._life.step()
            return result

        return call


class PowerFails(MemorySpool):
    """Loses, when the power fails, what was written after the last message was put; that is all it may lose."""

    def __init__(self) -> None:
        super().__init__()
        self._safe: tuple[Mapping[str, Queued], Mapping[str, bytes]] = ({}, {})

    async def put(self, queued: Queued, content: Any) -> None:
        await super().put(queued, content)
        self._safe = (dict(self._states), dict(self._contents))

    def fail(self) -> None:
        """Forget it."""
        self._states, self._contents = dict(self._safe[0]), dict(self._safe[1])


class CrashTests(SynchronousTestCase):
    def house(self, life: Life, spool: ISpool, courier: PretendCourier, reactor: PretendReactor) -> House:
        directory = PretendDirectory({str(FORWARDED): (EVE,)})
        directory.accounts.add(str(DAN))
        mortal = Mortal(life, courier)
        couriers: Any = {"mailbox": mortal, "relay": mortal}
        part: Any = Mortal(life, spool)
        house = House(
            Path(self.mktemp()), courier=courier, reactor=reactor, spool=part, directory=directory, couriers=couriers
        )
        house.rewriting._known = b"secret"
        known, router = house.known, house.router
        planner: Any = house.runner._planner
        planner._directory, planner._router = Mortal(life, known), Mortal(life, router)
        house.runner.startService()
        return house

    def live(self, ends_at: int | None, spool: PowerFails, courier: PretendCourier, power: bool) -> tuple[Life, bool]:
        """Take a message and deliver it, to the end or until the process dies; then start anew and wait."""
        reactor = PretendReactor()
        reactor.advance(START)
        life = Life(ends_at)
        house = self.house(life, spool, courier, reactor)
        house.settle()
        courier.outcomes = {BOB: LATER, DAN: NEVER, CAROL: AWAY}
        sending = TwistedDeferred.fromCoroutine(house.send(POSTMASTER, BOB, DAN, CAROL, FORWARDED, sender=ANN))
        house.settle()
        taken = sending.called and self.successResultOf(sending) == [Delivered()] * 5
        courier.outcomes = {DAN: NEVER}
        for _ in range(20):
            house.advance(10, 10)
        if life.ended and power:
            spool.fail()
        if life.ended:
            run_now(self, spool.open())
            after = self.house(Life(), spool, courier, reactor)
            after.advance(3600, 10)
            self.successResultOf(after.runner.stopService())
        else:
            self.successResultOf(house.runner.stopService())
        return life, taken

    def check(self, courier: PretendCourier, taken: bool, step: int) -> None:
        for address in (POSTMASTER, BOB, CAROL, EVE):
            count = len(courier.messages(address))
            self.assertIn(count, (1, 2) if taken else (0, 1, 2), f"{address}, step {step}")
        told = courier.messages(ANN)
        self.assertTrue(told or not taken, f"step {step}")
        names = {email.message_from_bytes(octets)["Message-ID"] for octets in told}
        self.assertLessEqual(len(names), 1, f"step {step}")
        self.assertLessEqual(len(told), 3, f"step {step}")  # the same one: a mailbox keeps one of them

    def _crash_everywhere(self, power: bool) -> None:
        last, courier = self._whole_life()
        self.assertEqual([len(courier.messages(one)) for one in (POSTMASTER, BOB, CAROL, EVE, ANN)], [1] * 5)
        self.assertGreater(last, 60)
        refused = 0
        for step in range(1, last + 1):
            spool, courier = PowerFails(), PretendCourier()
            life, taken = self.live(step, spool, courier, power)
            self.assertTrue(life.ended)
            self.check(courier, taken, step)
            self.assertEqual(run_now(self, spool.count()), 0, f"step {step}")
            refused += not taken
        self.assertTrue(0 < refused < last // 2)

    def _whole_life(self) -> tuple[int, PretendCourier]:
        courier = PretendCourier()
        life, taken = self.live(None, PowerFails(), courier, False)
        self.assertTrue(taken)
        return life.steps, courier

    def test_killed_at_every_step(self) -> None:
        self._crash_everywhere(power=False)

    def test_power_fails_at_every_step(self) -> None:
        self._crash_everywhere(power=True)
