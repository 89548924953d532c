"""The couriers and the programs of others: what they get is what was sent, octet for octet."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from mailfw.couriers.lmtp import LMTPCourier
from mailfw.couriers.relay import RelayCourier
from mailfw.interfaces import ICourier
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.hop import Hop, Login, TLSDemand, TLSLevel
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.smtp.client.stuffing import canonical
from mailfw.testing.contents import SAMPLES, MemoryContent
from mailfw.tls.self_signed import make_self_signed
from tests.couriers.hosts import ANN, IN_CLEAR
from tests.couriers.test_relay_wire import WireCase
from tests.interop.postfix import Postfix
from tests.interop.server import PASSWORD, RunningServer, shared
from tests.running import free_port, own_address

#: Of NUL everybody makes what he likes, and of nothing nobody can say whether it is there.
NAMES = [name for name in SAMPLES if name not in ("nul", "empty", "eight-bit")]
CORPUS = {name: SAMPLES[name] for name in NAMES}
CORPUS["large"] = (
    b"Subject: large\r\n\r\n" + b"\r\n".join(b"." * (n % 7) + b"x" * (n % 90) for n in range(20_000)) + b"\r\n"
)

NOBODY = 65534


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("It did not start")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class PeersCase(WireCase):
    timeout = 120

    def setUp(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mailfw-peer-"))
        self.home.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)

    def run_peer(self, *command: str, port: int) -> None:
        process = subprocess.Popen(command, cwd=self.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(stop, process)
        wait_for(port, process)

    async def arrived(self, read: Callable[[], list[bytes]], count: int) -> list[bytes]:
        """Return what has arrived, when there is enough of it."""
        for _ in range(400):
            found = read()
            if len(found) >= count:
                break
            await deferLater(reactor, 0.05)
        self.assertEqual(len(found), count)
        return found

    def assert_sent(self, arrived: list[bytes], line_end: bytes = b"\r\n") -> None:
        """Compare, whatever the order, what arrived behind the fields that the peer has put before it."""
        for name, octets in CORPUS.items():
            wanted = canonical(octets).replace(b"\r\n", line_end)
            self.assertTrue(any(each.endswith(wanted) for each in arrived), name)


class SinkTests(PeersCase):
    """Postfix's smtp-sink."""

    def sink(self, *options: str) -> int:
        program = shutil.which("smtp-sink") or "/usr/sbin/smtp-sink"
        if not Path(program).exists():
            raise SkipTest("smtp-sink is not installed")
        port = free_port()
        user = ("-u", "nobody") if os.geteuid() == 0 else ()
        shutil.chown(self.home, NOBODY) if user else None
        self.run_peer(program, *user, *options, f"127.0.0.1:{port}", "100", port=port)
        return port

    def written(self) -> list[bytes]:
        """Return what it wrote, without the empty line that it puts behind each message."""
        return [path.read_bytes().removesuffix(b"\n") for path in self.home.iterdir()]

    async def deliver_all(self, port: int, protocol: str = "smtp", **settings: int) -> None:
        make: Callable[..., ICourier] = LMTPCourier if protocol == "lmtp" else RelayCourier
        courier = self.courier(Hop("localhost", "127.0.0.1", port, protocol, IN_CLEAR), make=make, **settings)
        sent = [Deferred.fromCoroutine(self.send(courier, octets)) for octets in CORPUS.values()]
        for [outcome] in await gatherResults(sent):
            self.assertIsInstance(outcome, Delivered)
        await courier.close()

    async def test_the_corpus(self) -> None:
        port = self.sink("-d", "message.%H%M%S.")
        await self.deliver_all(port, host_connections=2)
        self.assert_sent(await self.arrived(self.written, len(CORPUS)), b"\n")

    async def test_lmtp(self) -> None:
        port = self.sink("-L", "-d", "message.%H%M%S.")
        await self.deliver_all(port, "lmtp", host_connections=2)
        self.assert_sent(await self.arrived(self.written, len(CORPUS)), b"\n")

    async def test_without_extensions(self) -> None:
        """Neither EHLO nor PIPELINING."""
        for options in (("-e",), ("-p",), ("-e", "-8")):
            await self.deliver_all(self.sink(*options))

    async def test_refusals(self) -> None:
        for options, kind in {("-r", "rcpt"): "Deferred", ("-f", "."): "Failed", ("-q", "rcpt"): "Deferred"}.items():
            courier = self.courier(Hop("localhost", "127.0.0.1", self.sink(*options), tls=IN_CLEAR))
            [outcome] = await self.send(courier)
            self.assertEqual(type(outcome).__name__, kind, options)


#: Where Postfix listens, on port 25.
ADDRESS = own_address(45)


class PostfixTests(PeersCase):
    """Debian's Postfix, with its TLS; delivering to a maildir."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            raise SkipTest("Postfix is started by root only")
        make_self_signed(self.home / "certificate.pem", self.home / "key.pem", ["localhost"])
        self.postfix = Postfix(
            "postfix.example", ADDRESS, "127.0.0.1", tls=(self.home / "certificate.pem", self.home / "key.pem"),
            more="smtpd_tls_loglevel = 1\nsmtpd_forbid_bare_newline = no\n",
        )  # fmt: skip
        self.addCleanup(self.postfix.remove)

    async def test_the_corpus(self) -> None:
        paul = Address("paul", "postfix.example")
        for demand in (IN_CLEAR, TLSDemand(TLSLevel.MAY), TLSDemand(TLSLevel.VERIFY, names=("localhost",))):
            hop = Hop("localhost", ADDRESS, 25, tls=demand)
            courier = self.courier(hop, host_connections=2, authorities=self.home / "certificate.pem")
            before = len(self.postfix.messages())
            sent = [
                Deferred.fromCoroutine(self.send(courier, octets, [paul], body="8BITMIME"))
                for octets in CORPUS.values()
            ]
            for [outcome] in await gatherResults(sent):
                self.assertIsInstance(outcome, Delivered, outcome)
            await courier.close()
            arrived = await self.arrived(self.postfix.messages, before + len(CORPUS))
            self.check(arrived[before:] if demand is IN_CLEAR else arrived)

    def check(self, arrived: list[bytes]) -> None:
        """Postfix folds long lines, and puts a header where there is none."""
        for name, octets in CORPUS.items():
            if name in ("long-line", "one-octet", "only-line-end", "no-header", "header-without-end"):
                continue
            wanted = canonical(octets).replace(b"\r\n", b"\n").rstrip(b"\n")
            self.assertTrue(any(wanted.partition(b"\n\n")[2] in each for each in arrived), name)

    async def test_who_is_not_there(self) -> None:
        hop = Hop("localhost", ADDRESS, 25, tls=TLSDemand(TLSLevel.MAY))
        names = [Address("paul", "postfix.example"), Address("nobody", "postfix.example")]
        outcomes = await self.send(self.courier(hop), recipients=names)
        self.assertEqual([type(each) for each in outcomes], [Delivered, Failed])


DOVECOT = """\
protocols = lmtp
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
listen = 127.0.0.1
ssl = no
mail_location = maildir:{home}/mail/%n
mail_uid = {uid}
mail_gid = {uid}
first_valid_uid = 1
first_valid_gid = 1
auth_username_format = %n
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
passdb {{
  driver = static
  args = password=x
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={home}/mail/%n allow_all_users=yes
}}
service lmtp {{
  inet_listener lmtp {{
    port = {port}
  }}
  unix_listener lmtp {{
    path = {home}/lmtp
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


class DovecotTests(PeersCase):
    """Debian's Dovecot, by LMTP."""

    def setUp(self) -> None:
        super().setUp()
        program = shutil.which("dovecot") or "/usr/sbin/dovecot"
        if not Path(program).exists() or not Path("/usr/lib/dovecot/lmtp").exists() or os.geteuid() != 0:
            raise SkipTest("Dovecot's LMTP is not installed, or we are not root")
        for name in ("mail", "run", "state"):
            (self.home / name).mkdir()
        shutil.chown(self.home / "mail", NOBODY, NOBODY)
        self.port = free_port()
        text = DOVECOT.format(home=self.home, uid=NOBODY, port=self.port)
        (self.home / "dovecot.conf").write_text(text)
        try:
            self.run_peer(program, "-F", "-c", str(self.home / "dovecot.conf"), port=self.port)
        except AssertionError:
            log = self.home / "log"
            raise AssertionError(log.read_text() if log.exists() else "Dovecot did not start")

    def messages(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.home / "mail").glob("*/new/*")]

    async def test_the_corpus(self) -> None:
        courier = self.courier(Hop("localhost", "127.0.0.1", self.port, "lmtp", IN_CLEAR), make=LMTPCourier)
        recipients = (Address("ann", "example.net"), Address("bob", "example.net"))
        for octets in CORPUS.values():
            envelope = Envelope("1a", ANN, recipients, body="8BITMIME")
            outcomes: list[Outcome] = await courier.deliver("", envelope, MemoryContent(octets), False)
            self.assertEqual([type(each) for each in outcomes], [Delivered] * 2, outcomes)
        await courier.close()
        arrived = self.messages()
        self.assertEqual(len(arrived), 2 * len(CORPUS))
        self.assert_sent([each.replace(b"\r\n", b"\n") for each in arrived], b"\n")


class OurselvesTests(PeersCase):
    """Another mailfw, with every extension that it has."""

    def setUp(self) -> None:
        super().setUp()
        self.server = shared(type(self), lambda: RunningServer("ann", plaintext=False))
        self.before = len(self.messages())

    def messages(self) -> list[bytes]:
        folder = self.server.home / "data" / "mail" / self.server.domain / "ann"
        return [path.read_bytes() for name in ("new", "cur") for path in folder.glob(f"{name}/*")]

    async def deliver_all(self, hop: Hop, make: Callable[..., ICourier] = RelayCourier) -> list[Outcome]:
        """Send what a strict server takes."""
        courier = self.courier(hop, make=make, host_connections=2)
        me = Address("ann", self.server.domain)
        envelope = Envelope("1a", me, (me,), body="8BITMIME", returns="HDRS", envid="x=1")
        sent = [
            Deferred.fromCoroutine(courier.deliver("", envelope, MemoryContent(octets), False))
            for octets in CORPUS.values()
        ]
        outcomes = [outcome for [outcome] in await gatherResults(sent)]
        await courier.close()
        return outcomes

    async def test_submission(self) -> None:
        """STARTTLS, then a login that is bound to it."""
        login = Login(f"ann@{self.server.domain}", PASSWORD)
        port = self.server.ports["submission"]
        outcomes = await self.deliver_all(
            Hop("localhost", "127.0.0.1", port, tls=TLSDemand(TLSLevel.ENCRYPT), login=login)
        )
        self.assertEqual({type(each) for each in outcomes}, {Delivered}, outcomes)
        self.assertTrue(all(isinstance(each, Delivered) and each.relayed and each.reports for each in outcomes))
        await self.arrived(self.messages, self.before + len(CORPUS))

    async def test_implicit_tls(self) -> None:
        for password, kind in {PASSWORD: Delivered, "wrong": DeferredOutcome}.items():
            login = Login(f"ann@{self.server.domain}", password)
            port = self.server.ports["submissions"]
            demand = TLSDemand(TLSLevel.ENCRYPT, implicit=True)
            outcomes = await self.deliver_all(Hop("localhost", "127.0.0.1", port, tls=demand, login=login))
            self.assertEqual({type(each) for each in outcomes}, {kind}, outcomes)
        await self.arrived(self.messages, self.before + len(CORPUS))

    async def test_lmtp(self) -> None:
        hop = Hop("localhost", "127.0.0.1", self.server.ports["lmtp"], "lmtp", IN_CLEAR)
        outcomes = await self.deliver_all(hop, LMTPCourier)
        self.assertEqual({type(each) for each in outcomes}, {Delivered}, outcomes)
        self.assert_sent(self.messages())

    async def test_from_server_to_server(self) -> None:
        hop = Hop("localhost", "127.0.0.1", self.server.ports["smtp"], tls=TLSDemand(TLSLevel.MAY))
        outcomes = await self.deliver_all(hop)
        self.assertEqual({type(each) for each in outcomes}, {Delivered}, outcomes)
        self.assert_sent(await self.arrived(self.messages, self.before + len(CORPUS)))
