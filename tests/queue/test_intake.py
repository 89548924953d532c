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
from mailfw.mail.envelope import Client, Notify, RecipientOptions, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.message import Header
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.queued import Queued
from mailfw.mail.reply import Reply
from mailfw.mail.route import Unroutable
from mailfw.mail.srs import reverse
from mailfw.mail.verdict import Defer, Discard, Hold, Modify, Quarantine, Refuse
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
OURS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
DATE = b"Mon, 12 Jan 1970 13:46:40 +0000\r\n"


class IntakeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.courier = PretendCourier()
        self.directory = PretendDirectory()
        self.house = self.make()

    def make(self, **options: Any) -> House:
        house = House(Path(self.mktemp()), courier=self.courier, directory=self.directory, **options)
        house.runner.startService()
        house.settle()
        self.addCleanup(house.runner.stopService)
        return house

    def send(self, *recipients: Address, **options: Any) -> list[Outcome]:
        outcomes: list[Outcome] = run_now(self, self.house.send(*recipients, **options))
        self.house.settle()
        return outcomes

    def sent(self) -> bytes:
        [(_, octets, _)] = self.courier.calls
        return octets

    def queued(self) -> dict[str, Queued]:
        found: dict[str, Queued] = run_now(self, self.house.queued())
        return found


class ContentTests(IntakeCase):
    def test_received(self) -> None:
        self.assertEqual(self.send(ANN), [Delivered()])
        self.assertEqual(
            self.sent(),
            b"Received: from client.example.net ([192.0.2.7])\r\n by mx.example.org (mailfw) with ESMTP\r\n id 1a2b\r\n"
            b" for <ann@example.org>;\r\n " + DATE + MESSAGE,
        )

    def test_two_recipients_do_not_see_each_other(self) -> None:
        self.send(ANN, BOB)
        self.assertNotIn(b" for <", self.sent())
        [(envelope, _, _)] = self.courier.calls
        self.assertEqual(envelope.recipients, (ANN, BOB))

    def test_mail_from_elsewhere_is_otherwise_unchanged(self) -> None:
        octets = b"Bcc: x\r\nSubject: y\r\n\r\nbody\r\n"
        self.send(ANN, octets=octets)
        self.assertTrue(self.sent().endswith(DATE + octets))

    def test_only_our_return_path(self) -> None:
        for body in (b"Return-Path: no\r\n", b"Return-Path: no\r\n" * 10_000):
            self.courier.calls.clear()
            self.send(ANN, octets=b"Return-Path: <x@y>\r\nSubject: y\r\n\r\n" + body, name=str(len(body)))
            self.assertTrue(self.sent().endswith(DATE + b"Subject: y\r\n\r\n" + body))

    def test_submission_completes_the_header(self) -> None:
        octets = b"Subject: y\r\nBcc: a,\r\n b\r\nResent-Bcc: c\r\nX: z\r\n\r\nBcc: no\r\n"
        self.send(ANN, octets=octets, client=SUBMITTER)
        head = self.sent()[: -len(b"Subject: y\r\nX: z\r\n\r\nBcc: no\r\n")]
        self.assertEqual(self.sent()[len(head) :], b"Subject: y\r\nX: z\r\n\r\nBcc: no\r\n")
        header = Header(head)
        self.assertEqual(header.values(b"date"), [DATE.strip()])
        self.assertEqual(header.values(b"message-id"), [b"<1000000.1a2b@mx.example.org>"])

    def test_submission_leaves_what_is_there(self) -> None:
        octets = b"Date: x\r\nmessage-id: y\r\n\r\n"
        self.send(ANN, octets=octets, client=SUBMITTER)
        self.assertTrue(self.sent().endswith(DATE + octets))

    def test_mail_of_this_machine_is_completed(self) -> None:
        self.send(ANN, octets=b"Bcc: secret\r\nSubject: y\r\n\r\n", client=Client(Service.LOCAL, "", helo="uid=7"))
        self.assertTrue(
            self.sent().startswith(b"Received: from localhost (uid=7)\r\n by mx.example.org (mailfw) with local")
        )
        self.assertNotIn(b"secret", self.sent())
        self.assertIn(b"\r\nMessage-ID: <", self.sent())

    def test_tls_is_not_needed(self) -> None:
        """RFC 8689 section 5, where nobody says REQUIRETLS."""
        for number, (field, require_tls, tls_optional) in enumerate(
            [
                (b"TLS-Required: No", False, True),
                (b"tls-required:\r\n\tNO ", False, True),
                (b"TLS-Required: No", True, False),
                (b"TLS-Required: Yes", False, False),
                (b"X: TLS-Required: No", False, False),
                (b"X: y\r\n\r\nTLS-Required: No", False, False),
            ]
        ):
            self.send(ANN, octets=field + b"\r\n\r\n", require_tls=require_tls, name=str(number))
            envelope = self.courier.calls[-1][0]
            self.assertEqual((envelope.require_tls, envelope.tls_optional), (require_tls, tls_optional), field)

    def test_a_header_too_long_to_look_for_bcc(self) -> None:
        octets = b"X: y\r\n" * 100_000 + b"Bcc: secret\r\n\r\n"
        self.assertEqual([type(each) for each in self.send(ANN, octets=octets, client=SUBMITTER)], [Failed])
        self.assertEqual(self.send(ANN, octets=octets), [Delivered()])
        self.assertTrue(self.sent().endswith(octets))

    @given(HOSTILE, HOSTILE, HOSTILE, OURS, HOSTILE, st.booleans())
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

    def test_every_sample_arrives(self) -> None:
        for number, octets in enumerate(SAMPLES.values()):
            self.assertEqual(self.send(ANN, octets=octets, name=f"{number}x"), [Delivered()])
        arrived = self.courier.messages(ANN)
        for octets, whole in zip(SAMPLES.values(), arrived, strict=True):
            self.assertTrue(whole.endswith(DATE + octets))


class VerdictTests(IntakeCase):
    def test_loops(self) -> None:
        self.assertEqual(self.send(ANN, octets=b"received: x\r\n" * 100 + MESSAGE), [Delivered()])
        [outcome] = self.send(ANN, octets=b"received: x\r\n" * 101 + MESSAGE)
        assert isinstance(outcome, Failed)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (554, "5.4.6"))
        self.assertEqual(self.send(ANN, octets=MESSAGE + b"Received: x\r\n" * 199), [Delivered()])

    def test_verdicts(self) -> None:
        for verdict, outcome in (
            (Refuse("no", "5.7.0", 554), Failed(Reply(554, "5.7.0", "no"))),
            (Defer("later", "4.7.0", 450), Deferred(Reply(450, "4.7.0", "later"))),
            (Discard("spam"), Delivered()),
        ):
            self.house = self.make(policies=[saying(verdict)])
            self.assertEqual(self.send(ANN, BOB), [outcome, outcome])
            self.assertEqual(self.queued(), {})
        self.assertEqual(self.courier.calls, [])

    def test_modify(self) -> None:
        self.house = self.make(policies=[saying(Modify((("X-Spam", "no"),)))])
        self.send(ANN)
        self.assertTrue(self.sent().endswith(DATE + b"X-Spam: no\r\n" + MESSAGE))

    def test_quarantine(self) -> None:
        self.house = self.make(policies=[saying(Quarantine("odd", (("X-Spam", "yes"),)))])
        self.send(ANN)
        self.assertTrue(self.sent().endswith(DATE + b"X-Spam: yes\r\n" + MESSAGE))
        self.assertTrue(self.courier.calls[0][2])

    def test_quarantine_before_the_message(self) -> None:
        self.send(ANN, client=replace(CLIENT, findings={"smtp.quarantine": "odd"}))
        self.assertTrue(self.courier.calls[0][2])

    def test_junk_does_not_leave_the_site(self) -> None:
        self.directory.aliases["away@example.org"] = (CAROL,)
        self.house = self.make(policies=[saying(Quarantine("odd"))])
        self.assertEqual(self.send(ANN, CAROL, Address("away", "example.org")), [Delivered()] * 3)
        self.assertEqual(self.courier.tried(), [(ANN,)])
        self.assertEqual(sorted(self.queued()), ["1a2b-f1-q", "1a2b-q"])
        for queued in self.queued().values():
            self.assertTrue(queued.held.startswith("quarantine: "), queued.held)

    def test_hold(self) -> None:
        self.house = self.make(policies=[saying(Hold("odd"))])
        for number, client in enumerate((CLIENT, LMTP)):
            self.assertEqual(self.send(ANN, CAROL, client=client, name=f"{number}h"), [Delivered()] * 2)
            self.assertEqual(self.queued()[f"{number}h"].held, "quarantine: odd")
        self.house.advance(86_400, 3600)
        self.assertEqual(self.courier.calls, [])


class ResponsibilityTests(IntakeCase):
    def test_it_is_kept_before_anybody_gets_it(self) -> None:
        self.assertEqual(run_now(self, self.house.send(ANN, CAROL, client=SUBMITTER, sender=ANN)), [Delivered()] * 2)
        self.assertEqual(self.courier.calls, [])
        [queued] = self.queued().values()
        self.assertEqual([str(leg.route) for leg in queued.legs], ["mailbox", "relay:example.net"])
        self.assertEqual((queued.account, queued.client), ("ann@example.org", "192.0.2.7"))
        content = run_now(self, self.house.spool.content("1a2b"))
        self.assertTrue(run_now(self, content.read(0, 10_000)).endswith(MESSAGE))
        self.assertEqual(queued.size, content.size)

    def test_a_spool_that_fails(self) -> None:
        self.directory.aliases["away@example.org"] = (CAROL,)
        put = self.house.spool.put
        for error, code, logged in ((NoSpace(), 452, 0), (OSError("broken"), 451, 1)):
            for recipients in ((ANN,), (ANN, Address("away", "example.org"))):

                async def failing(queued: Queued, content: Any, error: Exception = error) -> None:
                    if "-f" in queued.id or len(recipients) == 1:  # noqa: B023  # used at once
                        raise error
                    await put(queued, content)

                self.house.spool.put = failing
                outcomes = self.send(*recipients)
                self.assertEqual({type(outcome) for outcome in outcomes}, {Deferred})
                self.assertEqual({outcome.reply.code for outcome in outcomes}, {code})
                self.assertEqual(len(self.flushLoggedErrors(OSError)), logged)
                self.assertEqual(self.queued(), {})
        self.assertEqual(self.courier.calls, [])

    def test_nobody_can_get_it(self) -> None:
        self.house.router.ways[CAROL] = Unroutable(Reply(550, "5.4.4", "No way"))
        self.assertEqual(
            self.send(NOBODY, CAROL),
            [Failed(Reply(550, "5.1.1", "No such user here")), Failed(Reply(550, "5.4.4", "No way"))],
        )
        self.assertEqual(self.queued(), {})

    def test_somebody_cannot(self) -> None:
        self.house.router.ways[CAROL] = Unroutable(Reply(550, "5.4.4", "No way"))
        self.assertEqual(self.send(BOB, CAROL, sender=ANN), [Delivered(), Delivered()])
        [report] = self.courier.messages(ANN)
        self.assertIn(b"carol@example.net", report)
        self.assertEqual(self.queued(), {})

    def test_somebody_has_to_wait(self) -> None:
        self.house.router.ways[CAROL] = Unroutable(Reply(450, "4.4.4", "No way yet"))
        self.assertEqual(self.send(CAROL, sender=ANN), [Delivered()])
        self.assertEqual(self.queued()["1a2b"].legs[0].recipients[0].reply, Reply(450, "4.4.4", "No way yet"))
        self.house.router.ways.clear()
        self.house.advance(61)
        self.assertEqual(self.courier.tried(), [(CAROL,)])

    def test_a_directory_that_fails_defers(self) -> None:
        self.directory.fault = RuntimeError("a fault")
        [outcome] = self.send(ANN)
        self.assertIsInstance(outcome, Deferred)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.queued(), {})

    def test_a_draft_that_cannot_be_read(self) -> None:
        async def read(offset: int, length: int) -> bytes:
            raise OSError("broken")

        class Broken:
            size = 100

        broken: Any = Broken()
        broken.read = read
        envelope = self.envelope()
        outcomes = run_now(self, self.house.intake.accept(CLIENT, envelope, broken))
        self.assertIsInstance(outcomes[0], Deferred)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def envelope(self) -> Any:
        from mailfw.mail.envelope import Envelope

        return Envelope("1a", CAROL, (ANN,))


class AliasTests(IntakeCase):
    def test_aliases(self) -> None:
        self.directory.aliases["all@example.org"] = (ANN, BOB)
        self.assertEqual(self.send(Address("all", "example.org")), [Delivered()])
        self.assertEqual(self.courier.tried(), [(ANN, BOB)])

    def test_an_account_gets_it_once(self) -> None:
        self.directory.aliases["all@example.org"] = (BOB, Address("ANN", "example.org"), Address("ann", "example.org"))
        self.directory.aliases["bob@example.org"] = (BOB, ANN)
        recipients = (Address("all", "example.org"), ANN, Address("ann+lists", "example.org"), BOB)
        self.assertEqual(self.send(*recipients), [Delivered()] * 4)
        self.assertEqual(self.courier.tried(), [(BOB, Address("ANN", "example.org"))])

    def test_each_address_hears_of_it(self) -> None:
        self.courier.outcomes = {ANN: NEVER}
        also = Address("also", "example.org")
        self.directory.aliases[str(also)] = (ANN,)
        self.send(ANN, also, sender=BOB)
        [report] = self.courier.messages(BOB)
        self.assertIn(b"Final-Recipient: rfc822; ann@example.org", report)
        self.assertIn(b"Final-Recipient: rfc822; also@example.org", report)

    def test_forwarded_in_our_name(self) -> None:
        away = Address("away", "example.org")
        self.directory.aliases[str(away)] = (CAROL, ANN)
        dan = Address("dan", "example.com")
        self.assertEqual(self.send(away, BOB, sender=dan), [Delivered(), Delivered()])
        calls = {envelope.recipients: (envelope, octets) for envelope, octets, _ in self.courier.calls}
        here, _ = calls[(ANN, BOB)]
        there, octets = calls[(CAROL,)]
        self.assertEqual((here.id, here.sender), ("1a2b", dan))
        self.assertEqual(there.id, "1a2b-f1")
        assert there.sender is not None
        self.assertEqual(there.sender.domain, "example.org")
        secret = bytes.fromhex((self.house.site.data / "srs.secret").read_text())
        self.assertEqual(reverse(there.sender, secret, self.house.reactor.seconds()), dan)
        self.assertTrue(octets.startswith(b"Delivered-To: away@example.org\r\nReceived: "))
        self.assertEqual(there.options, {CAROL: RecipientOptions(None, ("rfc822", "away@example.org"))})
        self.assertEqual(self.queued(), {})

    def test_our_own_senders_stay(self) -> None:
        self.directory.aliases["away@example.org"] = (CAROL,)
        for sender in (BOB, None):
            self.courier.calls.clear()
            self.send(Address("away", "example.org"), sender=sender)
            self.assertEqual(self.courier.calls[0][0].sender, sender)

    def test_what_comes_back_goes_to_the_first_sender(self) -> None:
        self.directory.aliases["away@example.org"] = (CAROL,)
        dan = Address("dan", "example.com")
        self.courier.outcomes = {CAROL: NEVER}
        self.send(Address("away", "example.org"), sender=dan)
        [report] = self.courier.messages(dan)
        self.assertIn(b"To: <dan@example.com>", report)
        self.assertIn(b"Final-Recipient: rfc822; away@example.org", report)
        rewritten = self.courier.calls[0][0].sender
        assert rewritten is not None
        self.courier.calls.clear()
        self.assertEqual(self.send(rewritten, sender=None), [Delivered()])
        self.assertEqual(self.courier.tried(), [(dan,)])
        for forged in (
            replace(rewritten, local=rewritten.local.replace("dan", "eve")),
            replace(rewritten, local="SRS0=AAAAAA=AA=example.com=dan"),
            replace(rewritten, local="srs0=x"),
        ):
            self.assertEqual([type(each) for each in self.send(forged, sender=None)], [Failed])
        self.house.reactor.advance(30 * 86_400)
        self.assertEqual([type(each) for each in self.send(rewritten, sender=None)], [Failed])

    def test_the_secret_is_kept(self) -> None:
        self.directory.aliases["away@example.org"] = (CAROL,)
        self.send(Address("away", "example.org"), sender=Address("dan", "example.com"))
        path = self.house.site.data / "srs.secret"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([each.name for each in path.parent.iterdir()], ["srs.secret"])
        first = self.courier.calls[0][0].sender
        house = House(self.house.site.data, courier=self.courier, directory=self.directory)
        self.assertEqual(house.rewriting.rewrite(Address("dan", "example.com"), ANN), first)

    def test_forwarding_loops(self) -> None:
        away = Address("Away", "example.org")
        self.directory.aliases[str(away)] = (CAROL,)
        [outcome] = self.send(away, octets=b"Subject: x\r\nDelivered-To: away@example.org\r\n\r\n")
        assert isinstance(outcome, Failed)
        self.assertEqual(outcome.reply.status, "5.4.6")
        self.assertEqual(self.send(away, octets=b"Delivered-To: ann@example.org\r\n\r\n"), [Delivered()])
        self.assertEqual(self.send(ANN, octets=b"Delivered-To: ann@example.org\r\n\r\n"), [Delivered()])

    def test_two_sites_that_forward_to_each_other(self) -> None:
        """The message stops after one round, and its sender is told once."""
        dan = Address("dan", "example.com")
        self.directory.aliases["away@example.org"] = (CAROL,)
        self.send(Address("away", "example.org"), sender=dan)
        octets = b"Received: from there\r\n" + self.courier.messages(CAROL)[0]
        sender = self.courier.calls[0][0].sender
        [outcome] = self.send(Address("away", "example.org"), sender=sender, octets=octets)
        self.assertIsInstance(outcome, Failed)

    def test_an_alias_with_an_address_that_cannot_be_written(self) -> None:
        odd = Address("a\nb", "example.org")
        self.directory.aliases[str(odd)] = (CAROL,)
        self.assertEqual([type(each) for each in self.send(odd)], [Failed])

    def test_options_go_with_the_message(self) -> None:
        """RFC 3461 section 5.2.7.2: what was said of an alias is said of whom it stands for."""
        away = Address("away", "example.org")
        self.directory.aliases[str(away)] = (CAROL,)
        said = RecipientOptions(Notify.FAILURE, ("rfc822", "first@example.com"))
        self.send(away, options={away: said}, envid="e1", returns="HDRS")
        [(envelope, _, _)] = self.courier.calls
        self.assertEqual((envelope.options, envelope.envid, envelope.returns), ({CAROL: said}, "e1", "HDRS"))


class LMTPTests(IntakeCase):
    def test_each_recipient_hears_and_nothing_is_queued(self) -> None:
        everybody = Address("all", "example.org")
        self.directory.aliases[str(everybody)] = (ANN, BOB)
        self.courier.outcomes = {BOB: LATER}
        outcomes = run_now(self, self.house.send(ANN, BOB, NOBODY, everybody, client=LMTP))
        self.assertEqual([type(each) for each in outcomes], [Delivered, Deferred, Failed, Deferred])
        self.assertEqual(self.queued(), {})

    def test_what_leaves_is_queued(self) -> None:
        self.directory.aliases["away@example.org"] = (CAROL, ANN)
        self.directory.aliases["wait@example.org"] = (CAROL, BOB)
        self.courier.outcomes = {BOB: LATER, CAROL: LATER}
        outcomes = self.send(Address("away", "example.org"), Address("wait", "example.org"), client=LMTP)
        self.assertEqual([type(each) for each in outcomes], [Delivered, Deferred])
        self.assertEqual(list(self.queued()), ["1a2b-f1"])

    def test_success_is_reported(self) -> None:
        self.send(BOB, client=LMTP, sender=ANN, options={BOB: RecipientOptions(Notify.SUCCESS)})
        [report] = self.courier.messages(ANN)
        self.assertIn(b"Action: delivered", report)

    def test_faults(self) -> None:
        self.courier.outcomes = {BOB: RuntimeError("a fault")}
        self.assertEqual([type(each) for each in self.send(BOB, client=LMTP)], [Deferred])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class IntakeContractTests(IntakeContract, TestCase):
    def make_intake(self) -> IIntake:
        return House(Path(self.mktemp())).intake


class RealThreadsTests(IntakeContract, TestCase):
    """The same with a real reactor."""

    def make_house(self, **options: Any) -> House:
        from twisted.internet import reactor

        house = House(Path(self.mktemp()), reactor=reactor, **options)
        house.runner.startService()
        self.addCleanup(house.runner.stopService)
        return house

    def make_intake(self) -> IIntake:
        return self.make_house().intake

    async def test_many_large_ones_at_once(self) -> None:
        courier = PretendCourier()
        courier.outcomes = {BOB: LATER}
        house = self.make_house(courier=courier)
        octets = MESSAGE + b"0123456789abcdef" * 20_000
        sending = [TwistedDeferred.fromCoroutine(house.send(ANN, BOB, octets=octets, name=f"{n}x")) for n in range(20)]
        for outcomes in await gatherResults(sending):
            self.assertEqual(outcomes, [Delivered(), Delivered()])
        await house.runner.stopService()
        self.assertEqual(len(await house.queued()), 20)
        for name in await house.queued():
            content = await house.spool.content(name)
            self.assertEqual(await content.read(content.size - len(octets), len(octets)), octets)
            await content.close()
