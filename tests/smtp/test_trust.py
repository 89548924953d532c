"""Whose word is taken for what: relaying, XCLIENT, VRFY, ETRN, and what an account may send as."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import Service
from mailfw.mail.verdict import Refuse
from mailfw.network import Networks
from mailfw.testing.dialogue import Dialogue
from mailfw.wire.limits import ConnectionLimits
from tests.smtp.house import NAME, PASSWORD, House

NEAR = Networks(["192.0.2.0/24", "2001:db8::/32"])
HELLO = b"EHLO client.example\r\n"
LOGIN = b"AUTH PLAIN " + b64encode(b"\0" + NAME + b"\0" + PASSWORD) + b"\r\n"
#: The classic set, RFC 5321 section 7.9: whatever these look like, they are for others.
FOREIGN = [
    b"<u@remote.example>",
    b'<"u@remote.example">',
    b'<"u@remote.example"@here.example>',
    b"<u%remote.example@here.example>",
    b"<@here.example:u@remote.example>",
    b"<remote.example!u@here.example>",
    b"<u@remote.example@here.example>",
    b"<u@[192.0.2.9]>",
    b"<ann@[198.51.100.1]>",
    b"<u@[IPv6:2001:db8::9]>",
    b"<u@REMOTE.example.>",
    b"<u@remote.example>@here.example",
    b"<@remote.example:@here.example:u@remote.example>",
    b"<u@here.example.remote.example>",
    b"<u\\@remote.example@here.example>",
    b'<"u"@remote.example>',
    b"u@remote.example",
    b"<u@remote.example",
    b"<>",
]


class TrustCase(SynchronousTestCase):
    def ask(self, dialogue: Dialogue, octets: bytes) -> list[str]:
        dialogue.say(octets)
        return [line[:9].decode() for line in dialogue.hear().split(b"\r\n")[:-1]]

    def begin(self, place: House, octets: bytes = HELLO, address: str = "192.0.2.7", **options: Any) -> Dialogue:
        dialogue = Dialogue(place.factory(**options), address)
        dialogue.say(octets)
        dialogue.hear()
        return dialogue


class RelayTests(TrustCase):
    def test_strangers(self) -> None:
        for sender in (b"<>", b"<ann@here.example>", b"<spoof@[192.0.2.1]>", b"<postmaster@[198.51.100.1]>"):
            place = House(relay=NEAR, hard_errors=99, soft_errors=99)
            dialogue = self.begin(place, HELLO + b"MAIL FROM:" + sender + b"\r\n", "198.51.100.7")
            for recipient in FOREIGN:
                [answer] = self.ask(dialogue, b"RCPT TO:" + recipient + b"\r\n")
                self.assertEqual(answer[0], "5", (sender, recipient))

    def test_by_network(self) -> None:
        for address, answer in [
            ("192.0.2.7", "250 2.1.5"),
            ("::ffff:192.0.2.7", "250 2.1.5"),
            ("2001:db8::1", "250 2.1.5"),
            ("198.51.100.7", "550 5.7.1"),
            ("2001:db9::1", "550 5.7.1"),
            ("", "550 5.7.1"),
        ]:
            dialogue = self.begin(House(relay=NEAR), HELLO + b"MAIL FROM:<a@b>\r\n", address)
            self.assertEqual(self.ask(dialogue, b"RCPT TO:<u@remote.example>\r\n"), [answer], address)

    def test_no_way(self) -> None:
        dialogue = self.begin(House(relay=NEAR), HELLO + b"MAIL FROM:<a@b>\r\n")
        dialogue.say(b"RCPT TO:<u@nowhere.example>\r\nRCPT TO:<u@later.example>\r\n")
        self.assertEqual(
            dialogue.hear(),
            b"550 5.4.4 No route to that domain\r\n451-4.4.4 Nobody can say\r\n451 4.4.4 how\r\n",
        )

    def test_lmtp_relays_for_nobody(self) -> None:
        dialogue = self.begin(House(Service.LMTP, relay=NEAR), b"LHLO a\r\nMAIL FROM:<a@b>\r\n")
        self.assertEqual(self.ask(dialogue, b"RCPT TO:<u@remote.example>\r\n"), ["550 5.7.1"])

    def test_a_proxy_nobody_trusts(self) -> None:
        dialogue = self.begin(House(relay=NEAR), b"", "198.51.100.7")
        self.assertEqual(self.ask(dialogue, b"PROXY TCP4 192.0.2.7 192.0.2.1 1 25\r\n"), ["421 4.7.0"])
        self.assertTrue(dialogue.closed)


class EnvelopeTests(TrustCase):
    def test_what_parameters_come_to(self) -> None:
        place = House(relay=NEAR)
        dialogue = self.begin(place)
        self.ask(
            dialogue,
            b"MAIL FROM:<a@b> RET=HDRS ENVID=x+20y MT-PRIORITY=5 BY=60;N SOLICIT=a.b AUTH=c@d\r\n"
            b"RCPT TO:<ann@here.example> NOTIFY=NEVER ORCPT=rfc822;e+40f\r\nRCPT TO:<bob@here.example>\r\n"
            b"DATA\r\n",
        )
        self.ask(dialogue, b"\r\n.\r\n")
        [(_, envelope, _)] = place.intake.taken
        ann, bob = envelope.recipients
        self.assertEqual((envelope.returns, envelope.envid, envelope.priority), ("HDRS", "x y", 5))
        self.assertEqual((envelope.solicitation, envelope.submitter), ("a.b", "c@d"))
        self.assertEqual(envelope.by.deadline if envelope.by else None, 60.0)
        self.assertEqual(envelope.of(ann).original, ("rfc822", "e@f"))
        self.assertEqual(list(envelope.options), [ann])
        self.assertIsNone(envelope.of(bob).notify)

    def test_require_tls(self) -> None:
        place = House(tls=object())
        dialogue = self.begin(place)
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<a@b> REQUIRETLS\r\n"), ["555 5.5.4"])
        self.ask(dialogue, b"STARTTLS\r\n")
        self.ask(dialogue, HELLO + b"MAIL FROM:<a@b> REQUIRETLS\r\nRCPT TO:<ann@here.example>\r\nBDAT 0 LAST\r\n")
        self.assertTrue(place.intake.taken[0][1].require_tls)

    def test_injection(self) -> None:
        """No octet of a parameter can end a line, whoever writes it down."""
        dialogue = self.begin(House(relay=NEAR, hard_errors=999, soft_errors=999))
        for bad in (
            b"+0D+0A",
            b"+0A",
            b"+0D",
            b"+00",
            b"+0B",
            b"+1B",
            b"+C2+85",
            b"+E2+80+A8",
            b"+FF",
            b"%0A",
            b"\x0b",
        ):
            for command in (
                b"MAIL FROM:<a@b> ENVID=x" + bad,
                b"MAIL FROM:<a@b> AUTH=x" + bad,
                b"EHLO a" + bad,
                b"RCPT TO:<ann@here.example> ORCPT=rfc822;x" + bad,
                b"MAIL FROM:<a" + bad + b"b@c>" if bad == b"\x0b" else b"MAIL FROM:<a b@c>",
            ):
                self.ask(dialogue, b"MAIL FROM:<a@b>\r\n" if command.startswith(b"RCPT") else b"RSET\r\n")
                [answer] = self.ask(dialogue, command + b"\r\n")
                if bad == b"%0A" and b"EHLO" not in command and b"<a b" not in command:
                    self.assertEqual(answer[0], "2", command)  # is what it is
                else:
                    self.assertIn(answer[:3], ("501", "500"), command)


class SendAsTests(TrustCase):
    def begin_as_ann(self, **settings: Any) -> tuple[House, Dialogue]:
        place = House(Service.SUBMISSION, allow_plaintext_auth=True, **settings)
        return place, self.begin(place, HELLO + LOGIN)

    def test_the_envelope(self) -> None:
        _, dialogue = self.begin_as_ann()
        for sender, answer in [
            (b"<ann@here.example>", "250 2.1.0"),
            (b"<ANN@here.example>", "250 2.1.0"),
            (b"<postmaster@here.example>", "250 2.1.0"),  # an alias that leads to her
            (b"<>", "250 2.1.0"),
            (b"<bob@here.example>", "550 5.7.1"),
            (b"<nobody@here.example>", "550 5.7.1"),
            (b"<ann@far.example>", "550 5.7.1"),
            (b"<ann@[192.0.2.1]>", "550 5.7.1"),
        ]:
            self.assertEqual(self.ask(dialogue, b"MAIL FROM:" + sender + b"\r\n"), [answer], sender)
            self.ask(dialogue, b"RSET\r\n")

    def test_off_and_exempt(self) -> None:
        for settings in ({"send_as": "off"}, {"send_as_any": frozenset({NAME.decode()})}):
            _, dialogue = self.begin_as_ann(**settings)
            self.assertEqual(self.ask(dialogue, b"MAIL FROM:<bob@here.example>\r\n"), ["250 2.1.0"])

    def test_a_directory_at_fault(self) -> None:
        place, dialogue = self.begin_as_ann()
        place.directory.fails = OSError("away")
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<bob@here.example>\r\n"), ["451 4.3.0"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_the_header(self) -> None:
        for header, answer in [
            (b"From: Ann <ann@here.example>", "250 2.0.0"),
            (b"From: ann@here.example, postmaster@here.example", "250 2.0.0"),
            (b"Subject: no From", "250 2.0.0"),
            (b"From: Bob <bob@here.example>", "550 5.7.1"),
            (b"From: ann@here.example, bob@here.example", "550 5.7.1"),
            (b"From: ann@here.example\r\nFrom: bob@here.example", "550 5.7.1"),
            (b"From: ann@here.example\r\nSender: bob@here.example", "550 5.7.1"),
            (b"From: bob@here.example\r\nSender: ann@here.example", "550 5.7.1"),
            (b'From: "ann@here.example" <bob@here.example>', "550 5.7.1"),
            (b"From: undisclosed", "550 5.7.1"),
            (b"From:", "550 5.7.1"),
            (b"From: <ann@\xff.example>", "550 5.7.1"),
            (b"F\x72om: Bob\r\n <bob@here.example>", "550 5.7.1"),
        ]:
            place, dialogue = self.begin_as_ann(send_as="header")
            self.ask(dialogue, b"MAIL FROM:<ann@here.example>\r\nRCPT TO:<u@remote.example>\r\nDATA\r\n")
            self.assertEqual(self.ask(dialogue, header + b"\r\n\r\nhello\r\n.\r\n"), [answer], header)
            self.assertEqual(len(place.intake.taken), answer[0] == "2")

    def test_the_header_is_not_looked_at_unasked(self) -> None:
        _, dialogue = self.begin_as_ann()
        self.ask(dialogue, b"MAIL FROM:<ann@here.example>\r\nRCPT TO:<u@remote.example>\r\nDATA\r\n")
        self.assertEqual(self.ask(dialogue, b"From: bob@here.example\r\n\r\n.\r\n"), ["250 2.0.0"])

    def test_other_servers_send_as_they_like(self) -> None:
        dialogue = self.begin(House(send_as="header"))
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<bob@here.example>\r\n"), ["250 2.1.0"])


class XclientTests(TrustCase):
    def test_who_may(self) -> None:
        for address, answer in [("192.0.2.7", "220 mail."), ("198.51.100.7", "550 5.7.0"), ("", "550 5.7.0")]:
            dialogue = self.begin(House(xclient=NEAR), HELLO, address)
            self.assertEqual(self.ask(dialogue, b"XCLIENT ADDR=203.0.113.9\r\n"), [answer])

    def test_all_begins_anew(self) -> None:
        place = House(xclient=NEAR, relay=NEAR)
        dialogue = self.begin(place, HELLO)
        told = b"XCLIENT ADDR=203.0.113.9 PORT=77 HELO=real.example PROTO=ESMTP NAME=real.example\r\n"
        self.assertEqual(self.ask(dialogue, told + b"MAIL FROM:<a@b>\r\n"), ["220 mail.", "503 5.5.1"])
        self.ask(dialogue, b"HELO front.example\r\nMAIL FROM:<a@b>\r\n")
        self.assertEqual(self.ask(dialogue, b"RCPT TO:<u@remote.example>\r\n"), ["550 5.7.1"])
        self.ask(dialogue, b"RCPT TO:<ann@here.example>\r\nDATA\r\n")
        self.ask(dialogue, b"\r\n.\r\n")
        [(client, _, _)] = place.intake.taken
        self.assertEqual((client.address, client.port, client.helo), ("203.0.113.9", 77, "real.example"))
        self.assertTrue(client.extended)
        self.assertEqual([each[1].address for each in place.policies.asked if each[0] == "connect"][-1], "203.0.113.9")
        self.assertEqual(dialogue.protocol.stream.peer, ("203.0.113.9", 77))

    def test_connections_count_for_whom_they_are(self) -> None:
        """What one client may have, it may not have twice by way of a server that we trust."""
        factory = House(xclient=NEAR).factory(limits=ConnectionLimits(per_address=2))
        told = b"XCLIENT ADDR=203.0.113.9\r\n"
        dialogues = []
        for answers in (["220 mail."], ["220 mail.", "220 mail."], ["421 4.3.2"]):
            dialogues.append(Dialogue(factory, "192.0.2.7"))
            dialogues[-1].hear()
            dialogues[-1].say(HELLO)
            dialogues[-1].hear()
            self.assertEqual(self.ask(dialogues[-1], told * len(answers)), answers)
        self.assertEqual([dialogue.closed for dialogue in dialogues], [False, False, True])
        other = Dialogue(factory, "203.0.113.9")
        self.assertTrue(other.hear().startswith(b"421"))
        for dialogue in (dialogues[2], other, dialogues[0]):
            dialogue.leave()
        again = Dialogue(factory, "203.0.113.9")
        self.assertTrue(again.hear().startswith(b"220"))
        again.leave()
        dialogues[1].leave()
        self.assertEqual(factory.connections, 0)

    def test_told_again(self) -> None:
        """The connection is still the trusted server's, whoever its client was before."""
        dialogue = self.begin(House(xclient=NEAR))
        for address in (b"203.0.113.9", b"IPV6:2001:db9::1", b"[UNAVAILABLE]"):
            self.assertEqual(self.ask(dialogue, b"XCLIENT ADDR=" + address + b"\r\n"), ["220 mail."])

    def test_logged_in_elsewhere(self) -> None:
        place = House(Service.SUBMISSION, xclient=NEAR)
        dialogue = self.begin(place)
        self.assertEqual(self.ask(dialogue, b"XCLIENT ADDR=203.0.113.9 LOGIN=ann@here.example\r\n"), ["220 mail."])
        self.ask(dialogue, HELLO)
        self.assertEqual(self.ask(dialogue, LOGIN + b"MAIL FROM:<ann@here.example>\r\n"), ["503 5.5.1", "250 2.1.0"])
        self.assertEqual(self.ask(dialogue, b"RSET\r\nMAIL FROM:<bob@here.example>\r\n"), ["250 2.0.0", "550 5.7.1"])
        self.assertEqual(self.ask(dialogue, b"XCLIENT ADDR=203.0.113.9\r\n" + HELLO)[0], "220 mail.")
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<ann@here.example>\r\n"), ["530 5.7.0"])

    def test_a_policy_that_refuses_the_client(self) -> None:
        place = House(xclient=NEAR)
        dialogue = self.begin(place)
        place.policies.connect = Refuse("No")
        self.assertEqual(
            self.ask(dialogue, b"XCLIENT ADDR=203.0.113.9\r\n" + HELLO + b"QUIT\r\n"),
            ["554 5.7.1", "503 5.5.1", "221 2.0.0"],
        )

    def test_order_and_nonsense(self) -> None:
        dialogue = self.begin(House(xclient=NEAR), HELLO + b"MAIL FROM:<a@b>\r\n")
        self.assertEqual(self.ask(dialogue, b"XCLIENT ADDR=203.0.113.9\r\n"), ["503 5.5.1"])
        self.assertEqual(self.ask(dialogue, b"RSET\r\nXCLIENT\r\nXCLIENT FOO=1\r\n")[1:], ["501 5.5.4"] * 2)


class VerifyTests(TrustCase):
    def test_nobody_is_told(self) -> None:
        dialogue = self.begin(House(relay=NEAR))
        self.assertEqual(self.ask(dialogue, b"VRFY nobody@here.example\r\nVRFY ann\r\n"), ["252 2.5.0"] * 2)
        self.assertEqual(self.ask(dialogue, b"EXPN staff\r\n"), ["502 5.5.1"])

    def test_users_are_told(self) -> None:
        words = b"VRFY <ann@here.example>\r\nVRFY nobody@here.example\r\nVRFY u@far.example\r\nVRFY ann\r\n"
        answers = ["250 2.1.5", "550 5.1.1", "252 2.5.0", "252 2.5.0"]
        self.assertEqual(self.ask(self.begin(House(relay=NEAR, vrfy="users")), words), answers)
        stranger = self.begin(House(relay=NEAR, vrfy="users"), HELLO, "198.51.100.7")
        self.assertEqual(self.ask(stranger, words), ["252 2.5.0"] * 4)
        user = self.begin(House(Service.SUBMISSION, allow_plaintext_auth=True, vrfy="users"), HELLO + LOGIN)
        self.assertEqual(self.ask(user, words), answers)


class EtrnTests(TrustCase):
    async def start(self, domain: str) -> bool:
        if domain == "broken.example":
            raise OSError("broken")
        return domain == "far.example"

    def test_answers(self) -> None:
        dialogue = self.begin(House(), b"", etrn=self.start)
        self.assertEqual(self.ask(dialogue, b"ETRN far.example\r\n"), ["503 5.5.1"])
        dialogue.say(HELLO)
        self.assertIn(b"250-ETRN\r\n", dialogue.hear().replace(b"250 ETRN", b"250-ETRN"))
        self.assertEqual(
            self.ask(dialogue, b"ETRN Far.Example\r\nETRN near.example\r\nETRN broken.example\r\nETRN\r\nETRN @x\r\n"),
            ["250 2.0.0", "459 4.7.1", "458 4.3.0", "501 5.5.4", "501 5.5.4"],
        )
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<>\r\nETRN far.example\r\n"), ["250 2.1.0", "503 5.5.1"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_slowly(self) -> None:
        waits: Deferred[bool] = Deferred()

        async def start(domain: str) -> bool:
            return await waits

        dialogue = self.begin(House(), etrn=start)
        self.assertEqual(self.ask(dialogue, b"ETRN far.example\r\nNOOP\r\n"), [])
        waits.callback(True)
        self.assertEqual(self.ask(dialogue, b""), ["250 2.0.0", "250 2.0.0"])
