from __future__ import annotations

import email
import email.policy
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.queue.runner import AT_ONCE
from mailfw.testing.dialogue import run_now
from tests.accounts.pretend import PretendReactor
from tests.queue.fixture import ANN, BOB, CAROL, MESSAGE, Crash, FaultyDisk, House, PretendCourier, PretendDirectory

LATER = DeferredOutcome(Reply(451, "4.3.0", "Later"))
NEVER = Failed(Reply(550, "5.1.1", "Never"))
POSTMASTER = Address("postmaster", "example.org")
DAN = Address("dan", "example.org")
DAY = 86400.0


class RunnerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = PretendReactor()
        self.reactor.advance(1_000_000)
        self.courier = PretendCourier()
        self.directory = PretendDirectory()
        self.directory.accounts.add("dan@example.org")
        self.data = Path(self.mktemp())
        self.house = self.open()

    def open(self, disk: FaultyDisk | None = None) -> House:
        house = House(self.data, courier=self.courier, directory=self.directory, reactor=self.reactor, disk=disk)
        house.runner.startService()
        self.addCleanup(house.runner.stopService)
        return house

    def reopen(self, disk: FaultyDisk | None = None) -> None:
        self.house.runner.stopService()
        self.house = self.open(disk)

    def send(self, *recipients: Address, **options: Any) -> list[Outcome]:
        outcomes: list[Outcome] = run_now(self, self.house.send(*recipients, **options))
        return outcomes

    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.data / "kept").iterdir())

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.data / "queue").iterdir())

    def advance(self, seconds: float) -> None:
        """Let time pass, a second at a time as far as the runner is concerned."""
        self.reactor.pump([1.0] * int(seconds))

    # ------------------------------------------------------------ trying again

    def test_delivered_later(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(ANN, BOB)
        first = self.courier.calls[0]
        self.courier.outcomes = {}
        self.advance(59)
        self.assertEqual(len(self.courier.calls), 1)
        self.advance(2)
        [_, (envelope, octets, junk)] = self.courier.calls
        self.assertEqual((envelope.id, envelope.sender, envelope.recipients), ("1a2b", CAROL, (BOB,)))
        self.assertEqual((octets, junk), (first[1], False))
        self.assertEqual(self.files(), [])
        self.advance(7200)
        self.assertEqual(len(self.courier.calls), 2)

    def test_pauses_grow(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(ANN, BOB)
        tried: list[float] = []
        for _ in range(2000):
            self.advance(1)
            if len(self.courier.calls) > len(tried) + 1:
                tried.append(round(self.reactor.seconds() - 1_000_000))
        for when, wanted in zip(tried, (60, 180, 420, 900, 1860), strict=True):
            self.assertAlmostEqual(when, wanted, delta=6)

    def test_a_restart_changes_nothing(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(ANN, BOB, octets=MESSAGE * 5000)
        self.courier.outcomes = {}
        self.reopen()
        self.advance(61)
        self.assertEqual(len(self.courier.messages(BOB)), 1)
        self.assertTrue(self.courier.messages(BOB)[0].endswith(MESSAGE * 5000))
        self.assertEqual(self.files(), [])

    def test_only_who_waits_is_tried(self) -> None:
        self.courier.outcomes = {BOB: LATER, DAN: LATER}
        self.send(ANN, BOB, DAN)
        self.courier.outcomes = {BOB: LATER}
        self.advance(61)
        self.courier.outcomes = {}
        self.advance(130)
        self.assertEqual([call[0].recipients for call in self.courier.calls], [(ANN, BOB, DAN), (BOB, DAN), (BOB,)])

    def test_a_fault_of_the_courier_is_tried_again(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(ANN, BOB)
        self.courier.outcomes = {BOB: RuntimeError("a fault")}
        self.advance(61)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.courier.outcomes = {}
        self.advance(130)
        self.assertEqual(len(self.courier.messages(BOB)), 1)

    # ------------------------------------------------------------ telling the sender

    def report_to(self, recipient: Address) -> Any:
        [octets] = [octets for octets in self.courier.messages(recipient) if b"multipart/report" in octets]
        return email.message_from_bytes(octets, policy=email.policy.default)

    def test_failures_are_reported_once(self) -> None:
        self.courier.outcomes = {BOB: NEVER, DAN: NEVER}
        self.assertEqual(self.send(POSTMASTER, BOB, DAN, sender=ANN), [Delivered()] * 3)
        self.advance(2)
        report = self.report_to(ANN)
        _, status, header = report.iter_parts()
        self.assertEqual(
            [part["Final-Recipient"] for part in status.get_payload()[1:]],
            ["rfc822; bob@example.org", "rfc822; dan@example.org"],
        )
        self.assertIn("Subject: Lunch", header.get_payload())
        [envelope] = [call[0] for call in self.courier.calls if call[0].recipients == (ANN,)]
        self.assertIsNone(envelope.sender)
        self.assertEqual(self.files(), [])
        self.advance(7200)
        self.assertEqual(len(self.courier.messages(ANN)), 1)

    def test_expired_ones_are_reported(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.send(POSTMASTER, BOB, sender=ANN)
        self.reactor.advance(5 * DAY)
        self.advance(2)
        [_, status, _] = self.report_to(ANN).iter_parts()
        self.assertEqual(status.get_payload()[1]["Status"], "5.4.7")
        self.assertIn("451 4.3.0 Later", status.get_payload()[1]["Diagnostic-Code"])
        self.assertEqual(self.files(), [])

    def test_an_alias_is_reported_as_the_sender_wrote_it(self) -> None:
        self.directory.aliases["all@example.org"] = (POSTMASTER, BOB, DAN)
        self.courier.outcomes = {BOB: NEVER, DAN: LATER}
        self.send(Address("all", "example.org"), sender=ANN)
        self.courier.outcomes = {DAN: NEVER}
        self.advance(1)
        [_, status, _] = self.report_to(ANN).iter_parts()
        self.assertEqual([part["Final-Recipient"] for part in status.get_payload()[1:]], ["rfc822; all@example.org"])
        self.advance(61)
        self.assertEqual(len(self.courier.messages(ANN)), 2)
        self.assertEqual(self.files(), [])

    def test_a_report_that_has_to_wait(self) -> None:
        self.courier.outcomes = {BOB: NEVER, ANN: LATER}
        self.send(POSTMASTER, BOB, sender=ANN)
        self.advance(2)
        self.assertEqual(self.files(), ["1a2b-r1.eml", "1a2b-r1.json"])
        self.reopen()
        self.courier.outcomes = {}
        self.advance(61)
        self.report_to(ANN)
        self.assertEqual(self.files(), [])

    # ------------------------------------------------------------ when nobody can be told

    def test_a_sender_elsewhere(self) -> None:
        self.courier.outcomes = {BOB: NEVER}
        self.send(ANN, BOB, sender=CAROL)
        self.advance(2)
        report = self.report_to(POSTMASTER)
        self.assertEqual(report["To"], "carol@example.net")
        self.assertIn("carol@example.net: 550", report["X-Undelivered"])
        self.assertEqual((self.files(), self.kept()), ([], []))

    def test_a_failed_notification_goes_to_the_postmaster_whole(self) -> None:
        self.courier.outcomes = {BOB: NEVER}
        self.send(ANN, BOB, sender=None)
        self.advance(2)
        [octets] = self.courier.messages(POSTMASTER)
        self.assertTrue(octets.startswith(b"X-Undelivered: bob@example.org: 550 Never\r\nReceived: "))
        self.assertTrue(octets.endswith(MESSAGE))
        self.assertEqual([call[0].sender for call in self.courier.calls], [None, None])

    def test_no_postmaster_either(self) -> None:
        self.courier.outcomes = {BOB: NEVER, POSTMASTER: NEVER}
        self.send(ANN, BOB, sender=CAROL)
        self.send(ANN, BOB, sender=None, name="3c4d")
        self.advance(2)
        self.assertEqual(self.kept(), ["1a2b-r1.eml", "3c4d.eml"])
        self.assertTrue((self.data / "kept" / "3c4d.eml").read_bytes().endswith(MESSAGE))
        self.assertEqual(self.files(), [])
        calls = len(self.courier.calls)
        self.advance(7200)
        self.assertEqual(len(self.courier.calls), calls)

    def test_an_address_no_report_can_be_written_to(self) -> None:
        odd = Address("a\r\nBcc: b", "example.org")
        self.courier.outcomes = {BOB: NEVER}
        self.send(ANN, BOB, sender=odd)
        self.advance(2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        [octets] = self.courier.messages(POSTMASTER)
        self.assertNotIn(b"\r\nBcc:", octets)

    # ------------------------------------------------------------ faults

    def test_a_disk_that_fails_is_tried_again(self) -> None:
        disk = FaultyDisk(self.reactor)
        self.reopen(disk)
        self.courier.outcomes = {BOB: LATER}
        self.send(ANN, BOB, sender=ANN)
        disk.breaks_at = len(disk.steps)
        self.advance(61)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.courier.outcomes = {BOB: NEVER}
        self.advance(61)
        self.report_to(ANN)
        self.assertEqual(self.files(), [])

    def test_crashes_lose_nothing(self) -> None:
        """Stop at every step of what follows a partial delivery: after a restart everybody is served or told."""
        steps = 1000
        step = 0
        while step < steps:
            self.data = Path(self.mktemp())
            self.courier.got.clear()
            self.courier.outcomes = {BOB: LATER, DAN: NEVER}
            disk = self.courier.disk = FaultyDisk(self.reactor)
            self.reopen(disk)
            self.send(POSTMASTER, BOB, DAN, sender=ANN)
            taken = len(disk.steps)
            disk.breaks_at, disk.with_error = taken + step, Crash()
            self.courier.outcomes = {DAN: NEVER}
            try:
                self.advance(130)
            except Crash:
                self.fail("a crash has to be the machine's only")
            steps = min(steps, len(disk.steps) - taken + 1) if not disk.crashed else steps
            disk.lose_unsynced(names=bool(step % 2))
            self.courier.disk = None
            self.reopen()
            self.advance(130)
            self.assertIn(len(self.courier.messages(BOB)), (1, 2), f"step {step}")
            self.assertIn(len(self.courier.messages(ANN)), (1, 2), f"step {step}")
            self.assertEqual((self.files(), self.kept()), ([], []))
            self.flushLoggedErrors(Crash)
            step += 1
        self.assertGreater(step, 8)

    # ------------------------------------------------------------ the service

    def test_bounded_at_once(self) -> None:
        gate: Deferred[None] = Deferred()
        calls = 0

        async def deliver(envelope: Any, content: Any, junk: bool) -> list[Outcome]:
            nonlocal calls
            calls += 1
            passed: Deferred[None] = Deferred()
            gate.addCallback(lambda _: passed.callback(None))
            await passed
            return [Delivered()] * len(envelope.recipients)

        self.courier.outcomes = {BOB: LATER}
        for n in range(AT_ONCE + 5):
            self.send(ANN, BOB, name=f"{n}x")
        courier: Any = self.courier
        courier.deliver = deliver
        self.advance(100)
        self.assertEqual(calls, AT_ONCE)
        stopped = self.house.runner.stopService()
        self.assertNoResult(stopped)
        gate.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(len(self.files()), 5 * 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopped_and_started(self) -> None:
        self.successResultOf(self.house.runner.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.house.runner.startService()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
