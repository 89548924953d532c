from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.interfaces import IIntake
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.failure import NoSpace, OverQuota
from mailfw.mail.message import Header
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.verdict import Defer, Discard, Modify, Quarantine, Refuse
from mailfw.testing.contents import SAMPLES
from mailfw.testing.dialogue import run_now
from mailfw.testing.intake import IntakeContract
from tests.policies.test_pipeline import saying
from tests.queue.fixture import ANN, BOB, CAROL, CLIENT, MESSAGE, NOBODY, House, PretendCourier, PretendDirectory

LATER = Deferred(Reply(451, "4.3.0", "Later"))
NEVER = Failed(Reply(550, "5.1.1", "Never"))
SUBMITTER = Client(Service.SUBMISSION, "192.0.2.7", 4000, "laptop", True, "TLSv1.3", "ann@example.org")
LMTP = Client(Service.LMTP, "", helo="localhost", extended=True)
HOSTILE = st.text(st.one_of(st.sampled_from("\r\n\0\x0b\x85\u2028 :;<>()"), st.characters()), max_size=60)


class IntakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.courier = PretendCourier()
        self.directory = PretendDirectory()
        self.house = self.make()

    def make(self, **options: Any) -> House:
        return House(Path(self.mktemp()), courier=self.courier, directory=self.directory, **options)

    def send(self, *recipients: Address, **options: Any) -> list[Outcome]:
        outcomes: list[Outcome] = run_now(self, self.house.send(*recipients, **options))
        return outcomes

    def sent(self) -> bytes:
        [(_, octets, _)] = self.courier.calls
        return octets

    # ------------------------------------------------------------ what is added

    def test_received(self) -> None:
        self.assertEqual(self.send(ANN), [Delivered()])
        self.assertEqual(
            self.sent(),
            b"Received: from client.example.net ([192.0.2.7])\r\n by mx.example.org (mailfw) with ESMTP\r\n id 1a2b\r\n"
            b" for <ann@example.org>;\r\n Thu, 01 Jan 1970 00:00:00 +0000\r\n" + MESSAGE,
        )

    def test_two_recipients_do_not_see_each_other(self) -> None:
        self.send(ANN, BOB)
        self.assertNotIn(b" for <", self.sent())
        [(envelope, _, _)] = self.courier.calls
        self.assertEqual(envelope.recipients, (ANN, BOB))

    def test_mail_from_elsewhere_is_otherwise_unchanged(self) -> None:
        octets = b"Bcc: x\r\nSubject: y\r\n\r\nbody\r\n"
        self.send(ANN, octets=octets)
        self.assertTrue(self.sent().endswith(b"+0000\r\n" + octets))

    def test_only_our_return_path(self) -> None:
        self.send(ANN, octets=b"Return-Path: <x@y>\r\nSubject: y\r\n\r\nReturn-Path: no\r\n")
        self.assertTrue(self.sent().endswith(b"+0000\r\nSubject: y\r\n\r\nReturn-Path: no\r\n"))

    def test_submission_completes_the_header(self) -> None:
        octets = b"Subject: y\r\nBcc: a,\r\n b\r\nResent-Bcc: c\r\nX: z\r\n\r\nBcc: no\r\n"
        self.send(ANN, octets=octets, client=SUBMITTER)
        head = self.sent()[: -len(b"Subject: y\r\nX: z\r\n\r\nBcc: no\r\n")]
        self.assertEqual(self.sent()[len(head) :], b"Subject: y\r\nX: z\r\n\r\nBcc: no\r\n")
        header = Header(head)
        self.assertEqual(header.values(b"date"), [b"Thu, 01 Jan 1970 00:00:00 +0000"])
        self.assertEqual(header.values(b"message-id"), [b"<0.1a2b@mx.example.org>"])

    def test_submission_leaves_what_is_there(self) -> None:
        octets = b"Date: x\r\nmessage-id: y\r\n\r\n"
        self.send(ANN, octets=octets, client=SUBMITTER)
        self.assertTrue(self.sent().endswith(b"+0000\r\n" + octets))

    def test_a_header_too_long_to_look_for_bcc(self) -> None:
        octets = b"X: y\r\n" * 100_000 + b"Bcc: secret\r\n\r\n"
        self.assertEqual([type(each) for each in self.send(ANN, octets=octets, client=SUBMITTER)], [Failed])
        self.assertEqual(self.send(ANN, octets=octets), [Delivered()])

    @given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.booleans())
    def test_no_envelope_makes_a_header_line(
        self, helo: str, address: str, local: str, name: str, account: str, utf8: bool
    ) -> None:
        self.courier.calls.clear()
        self.directory.accounts.add(f"{local.lower().partition('+')[0]}@example.org")
        client = replace(SUBMITTER, address=address, helo=helo, account=account)
        recipient, sender = Address(local, "example.org"), Address(local, helo)
        self.send(recipient, sender=sender, client=client, name=name, smtputf8=utf8, octets=b"A: b\r\n\r\n")
        names = []
        for line in self.sent().removesuffix(b"\r\n\r\n").decode().splitlines():
            self.assertTrue(line.strip())
            if not line.startswith(" "):
                names.append(line.split(":")[0])
        self.assertEqual(names, ["Received", "Date", "Message-ID", "A"])

    # ------------------------------------------------------------ refusals

    def test_loops(self) -> None:
        self.assertEqual(self.send(ANN, octets=b"received: x\r\n" * 50 + MESSAGE), [Delivered()])
        [outcome] = self.send(ANN, octets=b"received: x\r\n" * 51 + MESSAGE)
        assert isinstance(outcome, Failed)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (554, "5.4.6"))
        self.assertEqual(self.send(ANN, octets=MESSAGE + b"Received: x\r\n" * 99), [Delivered()])

    def test_verdicts(self) -> None:
        for verdict, outcome in (
            (Refuse("no", "5.7.0", 554), Failed(Reply(554, "5.7.0", "no"))),
            (Defer("later", "4.7.0", 450), Deferred(Reply(450, "4.7.0", "later"))),
            (Discard("spam"), Delivered()),
        ):
            self.house = self.make(policies=[saying(verdict)])
            self.assertEqual(self.send(ANN, BOB), [outcome, outcome])
        self.assertEqual(self.courier.calls, [])

    def test_modify(self) -> None:
        self.house = self.make(policies=[saying(Modify((("X-Spam", "no"),)))])
        self.send(ANN)
        self.assertTrue(self.sent().endswith(b"+0000\r\nX-Spam: no\r\n" + MESSAGE))

    def test_quarantine(self) -> None:
        self.house = self.make(policies=[saying(Quarantine("odd", (("X-Spam", "yes"),)))])
        self.send(ANN)
        self.assertTrue(self.sent().endswith(b"+0000\r\nX-Spam: yes\r\n" + MESSAGE))
        self.assertTrue(self.courier.calls[0][2])

    def test_quarantine_before_the_message(self) -> None:
        self.send(ANN, client=replace(CLIENT, findings={"smtp.quarantine": "odd"}))
        self.assertTrue(self.courier.calls[0][2])

    # ------------------------------------------------------------ who gets it

    def test_aliases(self) -> None:
        self.directory.aliases["all@example.org"] = (ANN, BOB)
        self.assertEqual(self.send(Address("all", "example.org")), [Delivered()])
        self.assertEqual(self.courier.calls[0][0].recipients, (ANN, BOB))

    def test_an_account_gets_it_once(self) -> None:
        self.directory.aliases["all@example.org"] = (BOB, Address("ANN", "example.org"), Address("ann", "example.org"))
        self.directory.aliases["bob@example.org"] = (BOB, ANN)
        recipients = (Address("all", "example.org"), ANN, Address("ann+lists", "example.org"), BOB)
        self.assertEqual(self.send(*recipients), [Delivered()] * 4)
        self.assertEqual(self.courier.calls[0][0].recipients, (BOB, Address("ANN", "example.org")))

    def test_an_alias_that_leads_elsewhere(self) -> None:
        self.directory.aliases["away@example.org"] = (CAROL,)
        [outcome] = self.send(Address("away", "example.org"))
        assert isinstance(outcome, Failed)
        self.assertEqual(outcome.reply.status, "5.4.4")

    # ------------------------------------------------------------ who is responsible

    def test_nobody_got_it_so_the_client_keeps_it(self) -> None:
        self.courier.outcomes = {ANN: LATER, BOB: LATER}
        self.assertEqual(self.send(ANN, BOB), [LATER, LATER])
        self.courier.outcomes = {ANN: NEVER, BOB: LATER}
        self.assertEqual(self.send(ANN, BOB), [LATER, LATER])
        self.courier.outcomes = {ANN: NEVER, BOB: NEVER}
        self.assertEqual(self.send(ANN, BOB), [NEVER, NEVER])
        self.assertEqual(len(self.house.spool), 0)

    def test_somebody_got_it_so_the_queue_takes_the_rest(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        self.assertEqual(self.send(ANN, BOB), [Delivered(), Delivered()])
        [queued] = self.house.spool.due(1e9)
        self.assertEqual(
            [(one.original, one.recipient, one.reply) for one in queued.waiting], [(BOB, BOB, LATER.reply)]
        )
        self.assertEqual(queued.failed, ())
        self.assertEqual(queued.due, 60.0)
        content = run_now(self, self.house.spool.open(queued))
        self.assertEqual(run_now(self, content.read(0, content.size)), self.sent())

    def test_who_failed_is_the_queues_to_report(self) -> None:
        self.courier.outcomes = {BOB: NEVER}
        self.assertEqual(self.send(ANN, BOB), [Delivered(), Delivered()])
        [queued] = self.house.spool.due(0.0)
        self.assertEqual([one.original for one in queued.failed], [BOB])

    def test_half_an_alias(self) -> None:
        everybody = Address("all", "example.org")
        self.directory.aliases[str(everybody)] = (ANN, BOB)
        self.courier.outcomes = {BOB: LATER}
        self.assertEqual(self.send(everybody), [Delivered()])
        [queued] = self.house.spool.due(1e9)
        self.assertEqual([(one.original, one.recipient) for one in queued.waiting], [(everybody, BOB)])

    def test_the_queue_cannot_take_the_rest(self) -> None:
        self.courier.outcomes = {BOB: LATER}
        spool: Any = self.house.spool
        for error, code, logged in ((NoSpace(), 452, 0), (OSError("broken"), 451, 1)):

            async def put(queued: Any, content: Any, error: Exception = error) -> None:
                raise error

            spool.put = put
            outcomes = self.send(ANN, BOB)
            self.assertEqual([type(outcome) for outcome in outcomes], [Deferred, Deferred])
            self.assertEqual({outcome.reply.code for outcome in outcomes}, {code})
            self.assertEqual(len(self.flushLoggedErrors(OSError)), logged)

    def test_lmtp_hears_of_each_and_nothing_is_queued(self) -> None:
        everybody = Address("all", "example.org")
        self.directory.aliases[str(everybody)] = (ANN, BOB)
        self.courier.outcomes = {BOB: LATER, NOBODY: NEVER}
        self.assertEqual(self.send(ANN, BOB, NOBODY, everybody, client=LMTP), [Delivered(), LATER, NEVER, LATER])
        self.assertEqual(len(self.house.spool), 0)

    # ------------------------------------------------------------ faults

    def test_faults_of_plug_ins_defer(self) -> None:
        self.courier.outcomes = {BOB: RuntimeError("a fault")}
        [outcome] = self.send(BOB)
        assert isinstance(outcome, Deferred)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (451, "4.3.0"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.directory.fault = RuntimeError("a fault")
        [outcome] = self.send(ANN)
        self.assertIsInstance(outcome, Deferred)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_courier_that_does_not_answer_for_all(self) -> None:
        async def deliver(*_: Any) -> list[Outcome]:
            return [Delivered()]

        courier: Any = self.courier
        courier.deliver = deliver
        self.assertEqual([type(outcome) for outcome in self.send(ANN, BOB)], [Deferred, Deferred])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_draft_that_cannot_be_read(self) -> None:
        async def read(offset: int, length: int) -> bytes:
            raise OSError("broken")

        class Broken:
            size = 100

        broken: Any = Broken()
        broken.read = read
        outcomes = run_now(self, self.house.intake.accept(CLIENT, Envelope("1a", CAROL, (ANN,)), broken))
        self.assertIsInstance(outcomes[0], Deferred)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class WithMailboxesTests(SynchronousTestCase):
    def test_quota(self) -> None:
        house = House(Path(self.mktemp()))
        store: Any = house.store
        keep = store.append

        async def append(account: str, mailbox: str, messages: Any) -> Any:
            if account == "bob@example.org":
                raise OverQuota
            return await keep(account, mailbox, messages)

        store.append = append
        [outcome] = run_now(self, house.send(BOB))
        self.assertEqual((outcome.reply.code, outcome.reply.status), (452, "4.2.2"))
        self.assertEqual(run_now(self, house.send(ANN, BOB)), [Delivered(), Delivered()])
        self.assertEqual(len(house.spool), 1)

    def test_every_sample_arrives(self) -> None:
        house = House(Path(self.mktemp()))
        for number, octets in enumerate(SAMPLES.values()):
            self.assertEqual(run_now(self, house.send(ANN, octets=octets, name=f"{number}x")), [Delivered()])
        arrived = run_now(self, house.mail("ann@example.org"))
        for octets, whole in zip(SAMPLES.values(), arrived, strict=True):
            self.assertTrue(whole.endswith(b"+0000\r\n" + octets))
            self.assertTrue(
                whole.startswith(b"Return-Path: <carol@example.net>\r\nDelivered-To: ann@example.org\r\nRec")
            )

    def test_a_large_one(self) -> None:
        house = House(Path(self.mktemp()))
        octets = MESSAGE + b"0123456789abcdef" * 200_000
        self.assertEqual(run_now(self, house.send(ANN, BOB, octets=octets)), [Delivered(), Delivered()])
        for account in ("ann@example.org", "bob@example.org"):
            [whole] = run_now(self, house.mail(account))
            self.assertTrue(whole.endswith(octets))


class IntakeContractTests(IntakeContract, TestCase):
    def make_intake(self) -> IIntake:
        return House(Path(self.mktemp())).intake


class RealThreadsTests(IntakeContract, TestCase):
    """The same with a real reactor and its threads."""

    def make_intake(self) -> IIntake:
        return self.make_house().intake

    def make_house(self, **options: Any) -> House:
        from twisted.internet import reactor

        return House(Path(self.mktemp()), reactor=reactor, **options)

    async def test_many_large_ones_at_once(self) -> None:
        courier = PretendCourier()
        courier.outcomes = {BOB: LATER}
        house = self.make_house(courier=courier)
        octets = MESSAGE + b"0123456789abcdef" * 20_000
        sending = [TwistedDeferred.fromCoroutine(house.send(ANN, BOB, octets=octets, name=f"{n}x")) for n in range(20)]
        for outcomes in await gatherResults(sending):
            self.assertEqual(outcomes, [Delivered(), Delivered()])
        found = House(house.site.data, reactor=house.reactor)
        await found.spool.recover()
        queued = found.spool.due(house.reactor.seconds() + 100)
        self.assertEqual(len(queued), 20)
        for one in queued:
            content = await found.spool.open(one)
            self.assertEqual(await content.read(content.size - len(octets), len(octets)), octets)
            await content.close()
