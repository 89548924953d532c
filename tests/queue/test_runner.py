from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.envelope import DeliverBy, Notify, RecipientOptions
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.queued import Queued
from mailfw.mail.reply import Reply
from mailfw.mail.route import Route, Unroutable
from mailfw.queue.bounds import Bounds
from mailfw.queue.rates import read_rates
from mailfw.queue.schedule import Schedule
from mailfw.testing.dialogue import run_now
from tests.queue.fixture import (
    ANN,
    BOB,
    CAROL,
    DAY,
    MESSAGE,
    POSTMASTER,
    START,
    House,
    PretendCourier,
    PretendDirectory,
)

LATER = Deferred(Reply(451, "4.3.0", "Later"))
NEVER = Failed(Reply(550, "5.1.1", "Never"))
AWAY = Deferred(Reply(451, "4.4.1", "Nobody answers"), "mx.example.net", unreachable=True)
DAN = Address("dan", "example.org")


class RunnerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.courier = PretendCourier()
        self.directory = PretendDirectory()
        self.directory.accounts.add("dan@example.org")
        self.house = self.open()

    def open(self, **options: Any) -> House:
        house = House(Path(self.mktemp()), courier=self.courier, directory=self.directory, **options)
        house.runner.startService()
        house.settle()
        self.addCleanup(house.runner.stopService)
        return house

    def reopen(self, **options: Any) -> None:
        """Start anew on the same spool, as after a crash."""
        spool = self.house.spool
        run_now(self, spool.open())
        self.house = self.open(spool=spool, reactor=self.house.reactor, **options)

    def send(self, *recipients: Address, **options: Any) -> list[Outcome]:
        outcomes: list[Outcome] = run_now(self, self.house.send(*recipients, **options))
        self.house.settle()
        return outcomes

    def queued(self) -> dict[str, Queued]:
        found: dict[str, Queued] = run_now(self, self.house.queued())
        return found

    def advance(self, seconds: float, step: float = 1.0) -> None:
        self.house.advance(seconds, step)

    def reports_to(self, recipient: Address) -> list[Any]:
        return [
            email.message_from_bytes(octets, policy=email.policy.default)
            for octets in self.courier.messages(recipient)
            if b"multipart/report" in octets
        ]

    def actions(self, recipient: Address) -> list[list[tuple[str, str]]]:
        """Return what each report to somebody says: recipients and actions."""
        return [
            [
                (part["Final-Recipient"].partition("; ")[2], part["Action"])
                for part in next(
                    part for part in report.walk() if part.get_content_subtype() == "delivery-status"
                ).get_payload()[1:]
            ]
            for report in self.reports_to(recipient)
        ]


class DeliveryTests(RunnerCase):
    def test_delivered_at_once(self) -> None:
        self.assertEqual(self.send(ANN, BOB), [Delivered(), Delivered()])
        [(envelope, octets, junk)] = self.courier.calls
        self.assertEqual((envelope.id, envelope.sender, envelope.recipients), ("1a2b", CAROL, (ANN, BOB)))
        self.assertTrue(octets.endswith(MESSAGE))
        self.assertFalse(junk)
        self.assertEqual(self.queued(), {})
        self.assertEqual(self.house.history.of("1a2b"), ["accepted", "attempt"])

    def test_each_destination_has_a_call(self) -> None:
        others = [Address("a", "example.com"), Address("b", "example.com"), CAROL]
        self.send(ANN, *others, sender=ANN)
        self.assertEqual(self.courier.tried(), [(ANN,), tuple(others[:2]), (CAROL,)])
        self.assertEqual(self.courier.destinations, ["", "example.com", "example.net"])
        self.assertEqual(self.queued(), {})

    def test_delivered_later(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(ANN, BOB)
        self.courier.outcomes = {}
        self.advance(59)
        self.assertEqual(len(self.courier.calls), 1)
        self.advance(2)
        self.assertEqual(self.courier.tried(), [(ANN, BOB), (BOB,)])
        self.assertEqual(self.courier.calls[0][1], self.courier.calls[1][1])
        self.assertEqual(self.queued(), {})
        self.advance(7200, 60)
        self.assertEqual(len(self.courier.calls), 2)

    def test_pauses_grow(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(BOB)
        self.advance(2000)
        tried = [when - START for when in self.courier.times]
        self.assertEqual(tried[0], 0)
        for when, wanted in zip(tried[1:], (60, 180, 420, 900, 1860), strict=True):
            self.assertAlmostEqual(when, wanted, delta=6)

    def test_a_restart_changes_nothing(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(ANN, BOB, octets=MESSAGE * 5000)
        self.courier.outcomes = {}
        self.successResultOf(self.house.runner.stopService())
        self.reopen()
        self.advance(61)
        [octets] = self.courier.messages(BOB)
        self.assertTrue(octets.endswith(MESSAGE * 5000))
        self.assertEqual(self.queued(), {})

    def test_the_way_may_change(self) -> None:
        self.courier.outcomes = {CAROL: LATER}
        self.send(CAROL, sender=ANN)
        self.house.router.ways[CAROL] = Route("relay", "smtp://mx.example.org:25")
        self.courier.outcomes = {}
        self.advance(61)
        self.assertEqual(self.courier.destinations, ["example.net", "smtp://mx.example.org:25"])

    def test_an_account_that_has_gone_or_become_an_alias(self) -> None:
        self.courier.outcomes = {ANN: LATER, BOB: LATER}
        self.send(ANN, BOB, sender=POSTMASTER)
        self.courier.outcomes = {}
        self.directory.aliases["ann@example.org"] = (DAN,)
        self.house.router.ways[BOB] = Unroutable(Reply(550, "5.1.1", "Gone"))
        self.advance(61)
        self.assertEqual(len(self.courier.messages(DAN)), 1)
        self.assertEqual(self.actions(POSTMASTER), [[("bob@example.org", "failed")]])
        self.assertEqual(self.queued(), {})

    def test_a_router_that_fails_is_asked_again(self) -> None:
        self.house.router.ways[CAROL] = RuntimeError("a fault")
        self.assertEqual(self.send(CAROL, sender=ANN), [Delivered()])
        self.advance(61)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertEqual(self.courier.calls, [])
        self.house.router.ways.clear()
        self.advance(125)
        self.assertEqual(self.courier.tried(), [(CAROL,)])
        self.assertEqual(self.queued(), {})

    def test_couriers_that_fail_or_talk_nonsense(self) -> None:
        for nonsense in (RuntimeError("a fault"), None, 17, "Delivered"):
            self.courier.outcomes = {BOB: nonsense}  # type: ignore[dict-item]
            self.send(BOB)
            self.advance(61)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError, TypeError)), 2)
            self.courier.outcomes = {}
            self.advance(130)
            self.assertEqual(len(self.courier.got.pop(BOB)), 1)
            self.assertEqual(self.queued(), {})

    def test_no_such_courier(self) -> None:
        self.house.router.ways[CAROL] = Route("pigeon", "example.net")
        self.send(CAROL, sender=ANN)
        self.assertEqual(self.queued()["1a2b"].legs[0].attempts, 1)
        self.house.router.ways.clear()
        self.advance(61)
        self.assertEqual(self.courier.tried(), [(CAROL,)])

    def test_thousands_of_recipients(self) -> None:
        many = [Address(f"u{n}", f"d{n % 10}.example") for n in range(5000)]
        self.courier.outcomes = dict.fromkeys(many[::2], NEVER)
        self.send(*many, sender=ANN)
        self.assertEqual(len(self.courier.calls), 11)
        self.assertEqual(sum(len(self.courier.messages(one)) for one in many), 2500)
        self.assertEqual(len(self.reports_to(ANN)), 1)
        self.assertEqual(self.queued(), {})

    def test_released_later(self) -> None:
        self.send(CAROL, ANN, sender=ANN, release=START + 7200)
        self.advance(7190, 10)
        self.assertEqual(self.courier.calls, [])
        self.advance(11)
        self.assertEqual(len(self.courier.calls), 2)

    def test_priorities(self) -> None:
        self.courier.outcomes = {"example.net": AWAY}
        self.send(Address("x", "example.net"), name="0")
        self.courier.outcomes = {}
        for n, priority in enumerate((0, -3, 5, 0, 5)):
            self.send(Address(f"u{n}", "example.net"), priority=priority, name=f"{n}p")
        self.advance(400)
        order = [envelope.recipients[0].local for envelope, _, _ in self.courier.calls]
        self.assertEqual(order[:1] + order[2:], ["x", "u4", "u0", "u3", "x", "u1"][:1] + order[2:])
        self.assertEqual(order[1], "u2")
        self.assertEqual(order[-1], "u1")


class ReportTests(RunnerCase):
    def test_failures_are_reported_once(self) -> None:
        self.courier.outcomes = {BOB: NEVER, DAN: NEVER}
        self.send(POSTMASTER, BOB, DAN, sender=ANN)
        self.assertEqual(self.actions(ANN), [[("bob@example.org", "failed"), ("dan@example.org", "failed")]])
        [envelope] = [call[0] for call in self.courier.calls if call[0].recipients == (ANN,)]
        self.assertIsNone(envelope.sender)
        [report] = self.reports_to(ANN)
        self.assertIn("Subject: Lunch", list(report.iter_parts())[2].get_payload())
        self.assertEqual(self.queued(), {})
        self.advance(7200, 60)
        self.assertEqual(len(self.courier.messages(ANN)), 1)

    def test_ten_thousand_failures_are_one_report(self) -> None:
        many = [Address(f"u{n}", f"d{n % 20}.example") for n in range(10_000)]
        self.courier.outcomes = dict.fromkeys(many, NEVER)
        self.send(*many, sender=ANN)
        self.assertEqual(len(self.reports_to(ANN)), 1)
        self.assertEqual(self.queued(), {})

    def test_warned_then_given_up(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(BOB, DAN, sender=ANN)
        self.advance(4 * 3600 - 60, 60)
        self.assertEqual(self.actions(ANN), [])
        self.advance(3700, 10)
        self.assertEqual(self.actions(ANN), [[("bob@example.org", "delayed")]])
        self.advance(5 * DAY - 5 * 3600 - 600, 60)
        self.assertEqual(len(self.actions(ANN)), 1)
        self.advance(4000, 10)
        self.assertEqual(self.actions(ANN)[1:], [[("bob@example.org", "failed")]])
        [_, report] = self.reports_to(ANN)
        status = list(report.iter_parts())[1].get_payload()[1]
        self.assertEqual(status["Status"], "5.4.7")
        self.assertIn("451 4.3.0 Later", status["Diagnostic-Code"])
        self.assertEqual(self.queued(), {})
        self.assertTrue(120 < len(self.courier.times) < 140)

    def test_no_warning_where_there_is_none(self) -> None:
        self.house = self.open(schedule=Schedule(warning=0))
        self.courier.outcomes = {BOB: LATER}
        self.send(BOB, sender=ANN)
        self.advance(4.9 * DAY, 600)
        self.assertEqual(self.actions(ANN), [])

    def test_notify(self) -> None:
        """RFC 3461 section 4.1: each keyword asks for one thing, and NEVER for nothing."""
        cases: tuple[tuple[Notify | None, Outcome, list[str]], ...] = (
            (Notify.NEVER, NEVER, []),
            (Notify.SUCCESS, NEVER, []),
            (Notify.FAILURE, NEVER, ["failed"]),
            (Notify.SUCCESS, Delivered(), ["delivered"]),
            (Notify.SUCCESS, Delivered(host="mx", relayed=True), ["relayed"]),
            (Notify.SUCCESS, Delivered(host="mx", relayed=True, reports=True), []),
            (Notify.FAILURE | Notify.DELAY, Delivered(host="mx", relayed=True), []),
            (None, Delivered(), []),
            (None, NEVER, ["failed"]),
        )
        for number, (notify, outcome, expected) in enumerate(cases):
            self.courier.got.clear()
            self.courier.outcomes = {BOB: outcome}
            self.send(BOB, sender=ANN, name=f"{number}n", options={BOB: RecipientOptions(notify)})
            found = [action for report in self.actions(ANN) for _, action in report]
            self.assertEqual(found, expected, (notify, outcome))
            self.assertEqual(self.queued(), {})

    def test_notify_delay(self) -> None:
        self.courier.outcomes = {BOB: LATER, DAN: LATER}
        self.send(BOB, DAN, sender=ANN, options={BOB: RecipientOptions(Notify.FAILURE)})
        self.advance(5 * 3600, 60)
        self.assertEqual(self.actions(ANN), [[("dan@example.org", "delayed")]])

    def test_success_of_aliases(self) -> None:
        """RFC 3461 section 5.2.7: one stands in for another silently, a list says that it has many."""
        wanted = RecipientOptions(Notify.SUCCESS | Notify.FAILURE)
        one, many = Address("one", "example.org"), Address("many", "example.org")
        self.directory.aliases = {str(one): (BOB,), str(many): (BOB, DAN)}
        self.send(one, sender=ANN, options={one: wanted}, name="1")
        self.assertEqual(self.actions(ANN), [[("one@example.org", "delivered")]])
        self.courier.got.clear()
        self.send(many, sender=ANN, options={many: wanted}, name="2")
        self.assertEqual(self.actions(ANN), [[("many@example.org", "expanded")]])
        self.courier.got.clear()
        self.courier.outcomes = {BOB: NEVER}
        self.send(many, sender=ANN, options={many: wanted}, name="3")
        self.assertEqual(self.actions(ANN), [[("many@example.org", "expanded"), ("many@example.org", "failed")]])

    def test_an_alias_is_reported_as_the_sender_wrote_it(self) -> None:
        self.directory.aliases["all@example.org"] = (POSTMASTER, BOB, DAN)
        self.courier.outcomes = {BOB: NEVER, DAN: LATER}
        self.send(Address("all", "example.org"), sender=ANN)
        self.courier.outcomes = {DAN: NEVER}
        self.assertEqual(self.actions(ANN), [[("all@example.org", "failed")]])
        self.advance(61)
        self.assertEqual(len(self.actions(ANN)), 2)
        self.assertEqual(self.queued(), {})

    def test_a_report_that_has_to_wait(self) -> None:
        self.courier.outcomes = {BOB: NEVER, ANN: LATER}
        self.send(BOB, sender=ANN)
        [name] = self.queued()
        self.assertTrue(name.startswith("1a2b-r"))
        self.reopen()
        self.courier.outcomes = {}
        self.advance(61)
        self.assertEqual(len(self.reports_to(ANN)), 1)
        self.assertEqual(self.queued(), {})

    def test_returned_whole(self) -> None:
        self.courier.outcomes = {BOB: NEVER}
        self.send(BOB, sender=ANN, returns="FULL")
        self.assertIn(b"Shall we?", self.courier.messages(ANN)[0])
        self.courier.got.clear()
        self.send(BOB, sender=ANN, returns="HDRS", name="2")
        self.assertNotIn(b"Shall we?", self.courier.messages(ANN)[0])
        self.courier.got.clear()
        self.send(BOB, sender=ANN, returns="FULL", require_tls=True, name="3")
        self.assertNotIn(b"Shall we?", self.courier.messages(ANN)[0], "RFC 8689 section 5")

    def test_deliver_by(self) -> None:
        """RFC 2852 section 4: at the deadline the message is given back, or its sender told that it waits."""
        self.courier.outcomes = {BOB: LATER, DAN: LATER}
        self.send(BOB, sender=ANN, by=DeliverBy(START + 1000, returns=True), name="1")
        self.send(DAN, sender=ANN, by=DeliverBy(START + 1000, returns=False), name="2")
        self.advance(999)
        self.assertEqual(self.actions(ANN), [])
        self.advance(2)
        self.assertEqual(sorted(self.actions(ANN)), [[("bob@example.org", "failed")], [("dan@example.org", "delayed")]])
        self.assertEqual(list(self.queued()), ["2"])

    def test_relays_are_traced(self) -> None:
        self.courier.outcomes = {CAROL: Delivered(host="mx", relayed=True)}
        self.send(CAROL, sender=ANN, by=DeliverBy(START + 1000, returns=False, trace=True))
        self.assertEqual(self.actions(ANN), [[("carol@example.net", "relayed")]])

    # ------------------------------------------------------------ when nobody can be told

    def test_a_sender_that_does_not_want_it_either(self) -> None:
        self.courier.outcomes = {BOB: NEVER, CAROL: NEVER}
        self.send(BOB, sender=CAROL)
        [report] = self.reports_to(POSTMASTER)
        self.assertEqual(report["To"], "carol@example.net")
        self.assertIn("carol@example.net: 550", report["X-Undelivered"])
        self.assertEqual(self.queued(), {})

    def test_a_failed_notification_goes_to_the_postmaster_whole(self) -> None:
        self.courier.outcomes = {BOB: NEVER}
        self.send(BOB, sender=None, octets=MESSAGE * 3000)
        [octets] = self.courier.messages(POSTMASTER)
        self.assertTrue(octets.startswith(b"X-Undelivered: bob@example.org: 550 5.1.1 Never\r\nReceived: "))
        self.assertTrue(octets.endswith(MESSAGE))
        self.assertEqual([call[0].sender for call in self.courier.calls], [None, None])
        self.assertEqual(self.queued(), {})

    def test_no_postmaster_either(self) -> None:
        self.courier.outcomes = {BOB: NEVER, POSTMASTER: NEVER}
        self.send(BOB, sender=None)
        calls = len(self.courier.calls)
        self.advance(6 * DAY, 3600)
        self.assertEqual(len(self.courier.calls), calls)
        [queued] = self.queued().values()
        self.assertTrue(queued.held.startswith("undeliverable: "))
        self.courier.outcomes = {}
        run_now_later(self, self.house, self.house.runner.alter(queued.id, released))
        [octets] = self.courier.messages(POSTMASTER)
        self.assertTrue(octets.endswith(MESSAGE))
        self.assertEqual(self.queued(), {})

    def test_an_address_no_report_can_be_written_to(self) -> None:
        odd = Address("a\r\nBcc: b", "example.org")
        self.courier.outcomes = {BOB: NEVER}
        self.send(BOB, sender=odd)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        [octets] = self.courier.messages(POSTMASTER)
        self.assertNotIn(b"\r\nBcc:", octets)

    def test_senders_that_stand_for_others(self) -> None:
        self.directory.aliases["sales@example.org"] = (ANN, CAROL)
        self.courier.outcomes = {BOB: NEVER}
        self.send(BOB, sender=Address("sales", "example.org"))
        self.assertEqual(len(self.reports_to(ANN)), 1)
        self.assertEqual(len(self.reports_to(CAROL)), 1)

    def test_a_directory_that_fails_when_a_report_is_due(self) -> None:
        self.courier.outcomes = {BOB: NEVER}
        draft = self.house.send(BOB, sender=ANN)
        run_now(self, draft)
        self.directory.fault = RuntimeError("a fault")
        self.house.settle()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.directory.fault = None
        self.advance(61)
        self.assertEqual(len(self.reports_to(ANN)), 1)
        self.assertEqual(self.queued(), {})


def released(queued: Queued) -> Queued:
    return replace(queued, held="", legs=tuple(replace(leg, due=0.0) for leg in queued.legs))


def held(queued: Queued) -> Queued:
    return replace(queued, held="because")


def run_now_later(case: SynchronousTestCase, house: House, coroutine: Any) -> Any:
    """Return the result of a coroutine that needs some turns of the reactor."""
    begun = TwistedDeferred.fromCoroutine(coroutine)
    house.settle()
    return case.successResultOf(begun)


class LaneTests(RunnerCase):
    def dead(self, count: int, domain: str = "dead.example", begin: int = 0) -> None:
        for n in range(begin, begin + count):
            self.send(Address(f"u{n}", domain), sender=ANN, name=f"{n:06}{domain}")

    def test_a_destination_that_cannot_be_reached_is_not_tried_for_each(self) -> None:
        self.courier.outcomes = {"dead.example": AWAY}
        self.dead(200)
        self.assertEqual(len(self.courier.calls), 1)
        for queued in self.queued().values():
            self.assertEqual(queued.legs[0].recipients[0].reply, AWAY.reply)
        self.advance(3600, 5)
        self.assertLess(len(self.courier.calls), 10)

    def test_one_probe_reopens_it(self) -> None:
        self.courier.outcomes = {"dead.example": AWAY}
        self.dead(50)
        self.advance(600)
        gate: TwistedDeferred[Outcome] = TwistedDeferred()
        self.courier.outcomes = {"dead.example": gate}
        tried = len(self.courier.calls)
        self.advance(700)
        self.assertEqual(len(self.courier.calls), tried + 1)
        gate.callback(Delivered())
        self.courier.outcomes = {}
        self.advance(2000)
        self.assertEqual(self.queued(), {})

    def test_they_are_warned_and_given_up_all_the_same(self) -> None:
        self.courier.outcomes = {"dead.example": AWAY}
        self.dead(30)
        self.advance(6 * 3600, 30)
        self.assertEqual([each[0][1] for each in self.actions(ANN)], ["delayed"] * 30)
        self.courier.got.clear()
        self.advance(5 * DAY, 120)
        self.assertEqual([each[0][1] for each in self.actions(ANN)], ["failed"] * 30)
        self.assertEqual(self.queued(), {})

    def test_a_dead_destination_delays_nobody(self) -> None:
        count = 3000
        self.courier.outcomes = {"dead.example": AWAY}
        for n in range(count):
            run_now(self, self.house.send(Address(f"u{n}", "dead.example"), sender=ANN, name=f"{n:06}"))
        run_now(self, self.house.send(CAROL, sender=ANN, name="live"))
        sent = self.house.reactor.seconds()
        self.house.settle()
        self.assertEqual(len(self.courier.messages(CAROL)), 1)
        for minute in range(30):
            run_now(self, self.house.send(CAROL, sender=ANN, name=f"live{minute}"))
            sent = self.house.reactor.seconds()
            self.advance(1)
            self.assertLessEqual(self.courier.times[-1] - sent, 1.0)
            self.assertEqual(len(self.courier.messages(CAROL)), minute + 2)
            self.advance(59, 59)

    def test_a_slow_destination_delays_nobody(self) -> None:
        self.house = self.open(bounds=Bounds(active=200, concurrency=5, concurrency_initial=5))
        never: TwistedDeferred[Outcome] = TwistedDeferred()
        self.courier.outcomes = {"slow.example": never, "slow2.example": never}
        pressed = 0
        for n in range(300):
            for domain in ("slow.example", "slow2.example"):
                begun = TwistedDeferred.fromCoroutine(
                    self.house.send(Address(f"u{n}", domain), sender=ANN, name=f"{n}{domain}")
                )
                self.house.settle()
                if not begun.called:
                    pressed += 1
                    self.advance(1, 0.5)
                self.assertEqual(self.successResultOf(begun), [Delivered()])
        self.assertLessEqual(self.house.runner.statistics().active, 150)
        self.assertGreater(pressed, 100)
        self.send(CAROL, sender=ANN, name="live")
        self.assertEqual(len(self.courier.messages(CAROL)), 1)
        self.assertEqual(len(self.courier.calls), 11)
        never.callback(Delivered())
        self.courier.outcomes = {}
        self.advance(10)
        self.assertEqual(self.queued(), {})
        self.assertEqual(len(self.courier.calls), 601)

    def test_concurrency_grows_and_shrinks(self) -> None:
        gates: list[TwistedDeferred[Outcome]] = []

        def step(outcome: Outcome) -> int:
            gate: TwistedDeferred[Outcome] = TwistedDeferred()
            done, self.courier.outcomes = gates[-1:], {"example.net": gate}
            gates.append(gate)
            before = len(self.courier.calls)
            for each in done:
                each.callback(outcome)
            self.house.settle()
            return len(self.courier.calls) - before

        step(Delivered())
        self.dead(300, "example.net")
        first = len(self.courier.calls)
        self.assertEqual(first, 5)
        found = [step(Delivered()) for _ in range(17)]
        self.assertEqual(found, [*range(6, 21), 20, 20])
        state = {lane.name: lane for lane in self.house.runner.statistics().lanes}["relay:example.net"]
        self.assertEqual(state.in_flight, found[-1])

    def test_one_connection_too_many_does_not_block(self) -> None:
        outcomes: list[Outcome] = [Delivered(), AWAY, AWAY, Delivered(), Delivered()]
        gates: list[TwistedDeferred[Outcome]] = [TwistedDeferred() for _ in outcomes]
        self.courier.outcomes = {Address(f"u{n}", "example.net"): gate for n, gate in enumerate(gates)}
        self.dead(5, "example.net")
        for gate, outcome in zip(gates, outcomes, strict=True):
            gate.callback(outcome)
        self.house.settle()
        self.assertEqual(len(self.queued()), 2)
        [lane] = [lane for lane in self.house.runner.statistics().lanes if lane.name == "relay:example.net"]
        self.assertEqual(lane.until, 0.0)

    def test_rotation(self) -> None:
        self.house = self.open(bounds=Bounds(deliveries=1, concurrency=1, concurrency_initial=1))
        gate: TwistedDeferred[Outcome] = TwistedDeferred()
        self.courier.outcomes = {Address("u0", "a.example"): gate}
        for domain in ("a.example", "b.example", "c.example"):
            self.dead(3, domain)
        gate.callback(Delivered())
        self.house.settle()
        order = "".join(destination[0] for destination in self.courier.destinations)
        self.assertEqual(order, "aabcabcbc")

    def test_rates(self) -> None:
        self.house = self.open(rates=read_rates(["example.net=2/m"]))
        self.dead(6, "example.net")
        self.dead(6, "example.com")
        self.assertEqual(self.courier.destinations.count("example.com"), 6)
        self.assertEqual(self.courier.destinations.count("example.net"), 2)
        self.advance(59)
        self.assertEqual(self.courier.destinations.count("example.net"), 3)
        self.advance(62)
        self.assertEqual(self.courier.destinations.count("example.net"), 6)
        self.assertEqual(self.queued(), {})

    def test_rates_of_senders(self) -> None:
        self.house = self.open(rates=read_rates(sender="3/m"))
        self.dead(30, "example.net")
        self.send(Address("x", "example.net"), sender=BOB, name="bob")
        self.send(BOB, sender=ANN, name="local")
        self.assertEqual(self.courier.destinations.count("example.net"), 4)
        self.advance(300)
        self.assertIn(self.courier.destinations.count("example.net"), range(15, 21))
        self.advance(400)
        self.assertEqual(self.queued(), {})


class ChangeTests(RunnerCase):
    def alter(self, name: str, change: Any) -> Any:
        return run_now_later(self, self.house, self.house.runner.alter(name, change))

    def test_held_and_released(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(BOB)
        self.assertEqual(self.alter("1a2b", held).held, "because")
        self.courier.outcomes = {}
        self.advance(6 * DAY, 3600)
        self.assertEqual(len(self.courier.calls), 1)
        self.alter("1a2b", released)
        self.assertEqual(len(self.courier.messages(BOB)), 1)
        self.assertEqual(self.queued(), {})
        self.assertEqual(self.house.history.of("1a2b"), ["accepted", "attempt", "held", "released", "attempt"])

    def test_removed(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(BOB)
        self.assertTrue(self.alter("1a2b", lambda queued: None).is_done)
        self.assertEqual(self.queued(), {})
        self.assertIsNone(self.alter("1a2b", lambda queued: None))
        self.assertEqual(self.house.history.of("1a2b"), ["accepted", "attempt", "removed"])

    def test_a_message_in_delivery_is_changed_when_it_ends(self) -> None:
        gate: TwistedDeferred[Outcome] = TwistedDeferred()
        self.courier.outcomes = {BOB: gate}
        self.send(BOB)
        altered = TwistedDeferred.fromCoroutine(self.house.runner.alter("1a2b", held))
        self.house.settle()
        self.assertNoResult(altered)
        gate.callback(LATER)
        self.house.settle()
        self.assertEqual(self.successResultOf(altered), self.queued()["1a2b"])
        self.assertEqual(self.queued()["1a2b"].held, "because")

    def test_a_message_that_waits_its_turn_is_changed_at_once(self) -> None:
        self.house = self.open(bounds=Bounds(concurrency=1, concurrency_initial=1))
        gate: TwistedDeferred[Outcome] = TwistedDeferred()
        self.courier.outcomes = {"example.net": gate}
        for n in range(3):
            self.send(Address(f"u{n}", "example.net"), name=str(n))
        self.assertEqual(self.alter("1", held).held, "because")
        self.courier.outcomes = {}
        gate.callback(Delivered())
        self.house.settle()
        self.assertEqual(list(self.queued()), ["1"])

    def test_a_change_that_fails(self) -> None:
        def broken(queued: Queued) -> Queued:
            raise KeyError("x")

        self.courier.outcomes = {BOB: LATER}
        self.send(BOB)
        altered = TwistedDeferred.fromCoroutine(self.house.runner.alter("1a2b", broken))
        self.house.settle()
        self.failureResultOf(altered, KeyError)
        self.courier.outcomes = {}
        self.advance(61)
        self.assertEqual(self.queued(), {})

    def test_trying_now_though_the_destination_is_waited_for(self) -> None:
        self.courier.outcomes = {"example.net": AWAY}
        self.send(CAROL, sender=ANN)
        self.courier.outcomes = {}
        self.alter("1a2b", released)
        self.assertEqual(len(self.courier.messages(CAROL)), 1)

    def test_waking(self) -> None:
        self.courier.outcomes = {"example.net": AWAY, "example.com": AWAY}
        for n in range(20):
            self.send(Address(f"u{n}", "example.net"), sender=ANN, name=f"{n}n")
            self.send(Address(f"u{n}", "sub.example.com"), sender=ANN, name=f"{n}c")
        self.courier.outcomes = {"sub.example.com": LATER}
        self.assertEqual(run_now_later(self, self.house, self.house.runner.etrn("example.net")), 20)
        self.house.settle()
        self.assertEqual(len(self.queued()), 0)

    def test_waking_what_is_below(self) -> None:
        self.courier.outcomes = {"sub.example.com": LATER}
        self.send(Address("u", "sub.example.com"), sender=ANN)
        for domain, count in (("example.com", 0), ("@example.com", 1), ("sub.example.com", 1)):
            self.assertEqual(run_now_later(self, self.house, self.house.runner.etrn(domain)), count)
        self.assertEqual(run_now_later(self, self.house, self.house.runner.wake("relay:sub.example.com")), 1)
        self.assertEqual(run_now_later(self, self.house, self.house.runner.wake("other")), 0)


class ServiceTests(RunnerCase):
    def test_stopping_waits_for_what_is_under_way(self) -> None:
        gate: TwistedDeferred[Outcome] = TwistedDeferred()
        self.courier.outcomes = {"example.net": gate}
        for n in range(30):
            self.send(Address(f"u{n}", "example.net"), sender=ANN, name=f"{n}x")
        stopped = self.house.runner.stopService()
        self.house.settle()
        self.assertNoResult(stopped)
        gate.callback(Delivered())
        self.house.settle()
        self.successResultOf(stopped)
        self.assertEqual(len(self.queued()), 25)
        self.assertEqual(self.house.reactor.getDelayedCalls(), [])
        self.courier.outcomes = {}
        self.house.runner.startService()
        self.house.settle()
        self.assertEqual(self.queued(), {})

    def test_stopping_does_not_wait_for_ever(self) -> None:
        self.courier.outcomes = {BOB: TwistedDeferred()}
        self.send(BOB)
        stopped = self.house.runner.stopService()
        self.advance(31)
        self.successResultOf(stopped)
        self.assertEqual(list(self.queued()), ["1a2b"])

    def test_nothing_to_do_is_no_timer(self) -> None:
        self.send(ANN)
        self.assertEqual(self.house.reactor.getDelayedCalls(), [])

    def test_a_spool_that_fails_is_tried_again(self) -> None:
        failures = [OSError("broken")]
        spool = self.house.spool
        give_back = spool.give_back

        async def failing(queued: Queued) -> None:
            if failures:
                raise failures.pop()
            await give_back(queued)

        spool.give_back = failing
        self.courier.outcomes = {BOB: LATER}
        self.send(BOB)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.courier.outcomes = {}
        self.advance(125)
        self.assertEqual(len(self.courier.messages(BOB)), 1)
        self.assertEqual(self.queued(), {})

    def test_a_spool_that_cannot_be_read_is_asked_again(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(BOB)
        take = self.house.spool.take

        async def failing(*_: Any) -> list[Queued]:
            self.house.spool.take = take
            raise OSError("broken")

        self.house.spool.take = failing
        self.courier.outcomes = {}
        self.advance(61)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.advance(31)
        self.assertEqual(self.queued(), {})
