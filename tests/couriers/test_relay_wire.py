"""The couriers over real connections, to the peer that mailfw offers for tests."""

from __future__ import annotations

import smtplib
import ssl
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.couriers.lmtp import LMTPCourier
from mailfw.couriers.relay import RelayCourier
from mailfw.couriers.settings import DeliverySettings
from mailfw.interfaces import ICourier, IDraft
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.hop import Hop, Login, TLSDemand, TLSLevel
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.site import Site
from mailfw.smtp.client.stuffing import canonical
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.courier import CourierContract
from mailfw.testing.peer import DROP, EXTENSIONS, Peer
from mailfw.tls.self_signed import make_self_signed
from tests.couriers.hosts import ANN, BOB, IN_CLEAR, PretendHops


async def open_draft(size_hint: int) -> IDraft:
    return MemoryContent()


class WireCase(TestCase):
    """A courier on the real reactor."""

    timeout = 60

    def courier(self, *hops: Hop, make: Callable[..., ICourier] = RelayCourier, **settings: Any) -> ICourier:
        self.hops = PretendHops(hops)
        site = Site("mail.example.org", frozenset(), Path("var"), reactor)
        courier = make(site=site, hops=self.hops, open_draft=open_draft, delivery=DeliverySettings(**settings))
        self.addCleanup(lambda: Deferred.fromCoroutine(courier.close()))
        return courier

    def peer(self, **options: Any) -> Peer:
        peer = Peer(**options)
        peer.__enter__()
        self.addCleanup(peer.__exit__, None, None, None)
        return peer

    def hop(self, peer: Peer, tls: TLSDemand = IN_CLEAR, login: Login | None = None, host: str = "localhost") -> Hop:
        return Hop(host, "127.0.0.1", peer.port, "lmtp" if peer.lmtp else "smtp", tls, login)

    async def send(
        self, courier: ICourier, octets: bytes = PLAIN, recipients: Sequence[Address] = (BOB,), **more: Any
    ) -> list[Outcome]:
        envelope = Envelope("1a", ANN, tuple(recipients), **more)
        return await courier.deliver("example.net", envelope, MemoryContent(octets), False)

    def assert_clean(self, peer: Peer) -> None:
        self.assertEqual(peer.faults, [])


class RelayContractTests(WireCase, CourierContract):
    notices_repetition = False
    extensions: tuple[str, ...] = EXTENSIONS

    def setUp(self) -> None:
        self.server = self.peer(extensions=self.extensions)
        self.server.answer("RCPT TO:<nobody@", "550 5.1.1 No such user")

    def tearDown(self) -> None:
        self.assert_clean(self.server)

    def make_courier(self) -> ICourier:
        self.server.messages.clear()
        return self.courier(self.hop(self.server))

    async def delivered(self, courier: ICourier, recipient: Address) -> list[bytes]:
        return [each.content for each in self.server.messages if str(recipient) in each.recipients]

    def as_delivered(self, octets: bytes) -> bytes:
        return canonical(octets)


class ChunkingContractTests(RelayContractTests):
    extensions = (*EXTENSIONS, "CHUNKING")


class LockStepContractTests(RelayContractTests):
    extensions = ("8BITMIME",)


class LMTPContractTests(RelayContractTests):
    def setUp(self) -> None:
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = directory / "socket"
        self.server = self.peer(lmtp=True, path=self.path)
        self.server.answer("RCPT TO:<nobody@", "550 5.1.1 No such user")

    def make_courier(self) -> ICourier:
        self.server.messages.clear()
        return self.courier(Hop("mailboxes", str(self.path), 0, "lmtp", IN_CLEAR), make=LMTPCourier)


class LMTPTests(WireCase):
    async def test_a_reply_for_each_recipient(self) -> None:
        for extensions in (EXTENSIONS, (*EXTENSIONS, "CHUNKING"), ()):
            peer = self.peer(lmtp=True, extensions=extensions)
            peer.answer("RCPT TO:<nobody", "550 5.1.1 Who?")
            peer.answer(". full@", "452 4.2.2 Full")
            peer.answer(". never@", "550 5.2.1 Disabled")
            names = ("bob", "nobody", "full", "never", "carol")
            courier = self.courier(self.hop(peer))
            outcomes = await self.send(courier, recipients=[Address(name, "example.net") for name in names])
            kinds = [Delivered, Failed, DeferredOutcome, Failed, Delivered]
            self.assertEqual([type(each) for each in outcomes], kinds)
            self.assertFalse(isinstance(outcomes[0], Delivered) and outcomes[0].relayed)
            self.assertEqual([each.recipients for each in peer.messages], [("bob@example.net", "carol@example.net")])
            self.assert_clean(peer)


class TransportTests(WireCase):
    async def test_many_at_once_share_connections(self) -> None:
        peer = self.peer()
        courier = self.courier(self.hop(peer), host_connections=4)
        contents = [b"Subject: %d\r\n\r\n.%d\r\n" % (n, n) for n in range(200)]
        sent = [Deferred.fromCoroutine(self.send(courier, octets)) for octets in contents]
        outcomes = await gatherResults(sent)
        self.assertEqual({type(each) for [each] in outcomes}, {Delivered})
        self.assertEqual(sorted(each.content for each in peer.messages), sorted(contents))
        self.assertLessEqual(peer.connections, 4)
        self.assert_clean(peer)

    async def test_a_server_that_is_restarted(self) -> None:
        peer = self.peer()
        courier = self.courier(self.hop(peer))
        await self.send(courier)
        for _ in range(3):
            peer.disconnect()
            [outcome] = await self.send(courier)
            self.assertIsInstance(outcome, Delivered)
        self.assertEqual(len(peer.messages), 4)

    async def test_a_server_that_drops_and_refuses(self) -> None:
        peer = self.peer()
        courier = self.courier(self.hop(peer))
        await self.send(courier)
        for reply in (DROP, "421 4.3.2 Not now"):
            for command in ("MAIL", "RCPT", "DATA"):
                peer.answer(command, reply, times=1)
                [outcome] = await self.send(courier)
                self.assertIsInstance(outcome, Delivered, (reply, command))
        peer.answer(".", DROP, times=1)
        [outcome] = await self.send(courier)
        self.assertIsInstance(outcome, DeferredOutcome)
        self.assert_clean(peer)

    async def test_a_large_message_to_a_slow_server(self) -> None:
        peer = self.peer(extensions=("PIPELINING", "8BITMIME"))
        peer.delay("DATA", 0.2)
        octets = b"Subject: x\r\n\r\n" + b"\r\n".join(b"." * (n % 90) + b"\xff" for n in range(100_000)) + b"\r\n"
        [outcome] = await self.send(self.courier(self.hop(peer)), octets)
        self.assertIsInstance(outcome, Delivered)
        self.assertTrue(peer.messages[0].content == octets)
        self.assert_clean(peer)

    async def test_dots_around_what_is_read_at_once(self) -> None:
        """A dot at the borders of the pieces of 128 KiB, and of Twisted's 16 KiB, with all kinds of line ends."""
        peer = self.peer(extensions=("PIPELINING", "8BITMIME"))
        courier = self.courier(self.hop(peer))
        evil = b"\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<x@example.net>\r\nDATA\r\nevil\r\n.\r\n"
        for border in (16384, 131072):
            for shift in (-2, -1, 0, 1, 2):
                for before in (b"\r\n", b"\n", b"\r"):
                    peer.messages.clear()
                    octets = b"a" * (border + shift - len(before)) + before + b"." + evil + b"b" * 70_000
                    [outcome] = await self.send(courier, octets)
                    self.assertIsInstance(outcome, Delivered)
                    self.assertTrue([each.content for each in peer.messages] == [canonical(octets)])
        self.assertEqual(peer.said("MAIL FROM:<evil"), [])
        self.assertEqual(peer.connections, 1)
        self.assert_clean(peer)

    async def test_nobody_there(self) -> None:
        peer = self.peer()
        hop = self.hop(peer)
        peer.__exit__(None, None, None)
        [outcome] = await self.send(self.courier(hop))
        assert isinstance(outcome, DeferredOutcome)
        self.assertTrue(outcome.unreachable)
        self.assertIn("Connection refused", outcome.reply.text)
        [outcome] = await self.send(self.courier(Hop("x", "/no/such/socket", 0, "lmtp", IN_CLEAR)))
        assert isinstance(outcome, DeferredOutcome)
        self.assertIn("No such file", outcome.reply.text)

    async def test_a_server_of_the_last_century(self) -> None:
        peer = self.peer(knows_ehlo=False)
        [outcome] = await self.send(self.courier(self.hop(peer)))
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(peer.messages[0].content, PLAIN)


class SecureTests(WireCase):
    def setUp(self) -> None:
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.certificate = directory / "certificate.pem"
        make_self_signed(self.certificate, directory / "key.pem", ["mx.example.net"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, directory / "key.pem")

    async def result(self, courier: ICourier) -> str:
        [outcome] = await self.send(courier)
        return f"{type(outcome).__name__} {self.hops.tls[-1][2]}".strip()

    async def test_starttls(self) -> None:
        peer = self.peer(tls=self.context)
        for level in (TLSLevel.MAY, TLSLevel.ENCRYPT):
            courier = self.courier(self.hop(peer, TLSDemand(level)))
            self.assertEqual(await self.result(courier), "Delivered")
            await self.send(courier)
        self.assertEqual([each.tls for each in peer.messages], ["TLSv1.3"] * 4)
        self.assertEqual(peer.connections, 2)

    async def test_implicit(self) -> None:
        peer = self.peer(tls=self.context, implicit_tls=True)
        demand = TLSDemand(TLSLevel.ENCRYPT, implicit=True)
        self.assertEqual(await self.result(self.courier(self.hop(peer, demand))), "Delivered")
        self.assertEqual(peer.messages[0].tls, "TLSv1.3")

    async def test_verify(self) -> None:
        peer = self.peer(tls=self.context)
        right = TLSDemand(TLSLevel.VERIFY, names=("mx.example.net",))
        wrong = TLSDemand(TLSLevel.VERIFY, names=("mx.example.com",))
        trusting: dict[str, Any] = {"authorities": self.certificate}
        self.assertEqual(await self.result(self.courier(self.hop(peer, right), **trusting)), "Delivered")
        self.assertEqual(
            await self.result(self.courier(self.hop(peer, wrong), **trusting)), "Deferred certificate-host-mismatch"
        )
        self.assertEqual(await self.result(self.courier(self.hop(peer, right))), "Deferred certificate-not-trusted")
        self.assertEqual(len(peer.messages), 1)
        self.assertEqual(len(peer.said("MAIL")), 1, "nothing is said to whom we do not trust")

    async def test_a_policy_that_is_tested(self) -> None:
        """RFC 8461 section 5: what it would have kept back is counted, and delivered."""
        peer = self.peer(tls=self.context)
        trusting: dict[str, Any] = {"authorities": self.certificate}
        for names, settings, result in (
            (("mx.example.net",), trusting, ""),
            (("mx.example.com",), trusting, "certificate-host-mismatch"),
            (("mx.example.net",), {}, "certificate-not-trusted"),
            ((), trusting, "validation-failure"),
        ):
            demand = TLSDemand(TLSLevel.MAY, names=names, policy="sts")
            courier = self.courier(self.hop(peer, demand), **settings)
            self.assertEqual(await self.result(courier), f"Delivered {result}".strip())
            self.assertEqual(peer.messages[-1].tls, "TLSv1.3")
        plain = self.peer()
        demand = TLSDemand(TLSLevel.MAY, names=("mx.example.net",), policy="sts")
        self.assertEqual(await self.result(self.courier(self.hop(plain, demand))), "Delivered starttls-not-supported")

    async def test_a_sender_to_whom_tls_does_not_matter(self) -> None:
        courier = self.courier(self.hop(self.peer()))
        await self.send(courier, tls_optional=True)
        await self.send(courier)
        self.assertEqual(self.hops.optional, [True, False])

    async def test_a_handshake_that_fails(self) -> None:
        """Where TLS is optional the message goes without, where it is not it stays."""
        peer = self.peer(tls=self.context)
        peer.answer("STARTTLS", b"220 Go ahead\r\n")  # and no handshake: the ClientHello is taken for commands
        self.assertEqual(
            await self.result(self.courier(self.hop(peer, TLSDemand(TLSLevel.ENCRYPT)), command_timeout=2)),
            "Deferred validation-failure",
        )
        self.assertEqual(
            await self.result(self.courier(self.hop(peer, TLSDemand(TLSLevel.MAY)), command_timeout=2)),
            "Delivered validation-failure",
        )
        self.assertEqual([each.tls for each in peer.messages], [None])

    async def test_login(self) -> None:
        peer = self.peer(tls=self.context, accounts={"me": "secret"})
        demand = TLSDemand(TLSLevel.ENCRYPT)
        self.assertEqual(await self.result(self.courier(self.hop(peer, demand, Login("me", "secret")))), "Delivered")
        [outcome] = await self.send(self.courier(self.hop(peer, demand, Login("me", "wrong"))))
        self.assertIsInstance(outcome, DeferredOutcome)
        self.assertEqual([each.user for each in peer.messages], ["me"])


class PeerTests(SynchronousTestCase):
    """The peer serves any sender: here the standard library's."""

    def test_a_sender_that_blocks(self) -> None:
        with Peer(accounts={"me": "secret"}) as peer:
            peer.answer("RCPT TO:<bob@", "550 5.1.1 No such user")
            with smtplib.SMTP("127.0.0.1", peer.port) as sender:
                sender.login("me", "secret")
                refused = sender.sendmail("ann@example.org", ["bob@example.net", "carol@example.net"], PLAIN)
            self.assertEqual(list(refused), ["bob@example.net"])
            [message] = peer.messages
            self.assertEqual((message.sender, message.recipients), ("ann@example.org", ("carol@example.net",)))
            self.assertEqual((message.content, message.user), (PLAIN, "me"))
            self.assertEqual(peer.said("RCPT"), [f"rcpt TO:<{name}@example.net>" for name in ("bob", "carol")])

    def test_lmtp(self) -> None:
        with Peer(lmtp=True) as peer, smtplib.LMTP("127.0.0.1", peer.port) as sender:
            self.assertEqual(sender.sendmail("ann@example.org", ["bob@example.net"], PLAIN), {})
        self.assertEqual(peer.messages[0].content, PLAIN)

    def test_rules_wear_out(self) -> None:
        with Peer() as peer, smtplib.SMTP("127.0.0.1", peer.port) as sender:
            peer.answer("MAIL", "451 4.3.0 Later\n451 4.3.0 please", times=1)
            self.assertRaises(smtplib.SMTPSenderRefused, sender.sendmail, "a@b.example", ["c@d.example"], PLAIN)
            self.assertEqual(sender.sendmail("a@b.example", ["c@d.example"], PLAIN), {})
