"""What a server of several processes lives through: other certificates, sockets with names, a worker that hangs."""

from __future__ import annotations

import hashlib
import imaplib
import os
import select
import signal
import smtplib
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from mailfw.commands.language import reachable
from mailfw.tls.self_signed import generate
from tests.cluster.test_service import ANN, MESSAGE, Case
from tests.running import PATIENCE, NotStarted, RunningServer, listen_anywhere, until


def insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class CertificateTests(Case):
    def renew(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        pair = generate(["localhost"])
        (self.folder / "pair.pem").write_bytes(pair.key + pair.certificate)
        (self.folder / "mailfw.toml").write_text(
            'domains = ["localhost"]\n[tls]\ncertificate = "pair.pem"\nkey = "pair.pem"\n'
        )

    def shown(self, server: RunningServer) -> str:
        """Return which certificate a new connection sees."""
        with (
            socket.create_connection(("127.0.0.1", server.ports["imaps"]), PATIENCE) as plain,
            insecure().wrap_socket(plain) as connection,
        ):
            return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()

    def test_sessions_live_through_a_renewal_in_the_middle_of_what_they_do(self) -> None:
        self.renew()
        server = self.start("--config", "mailfw.toml", services=("smtp", "imap", "imaps"))
        before, old = self.workers(server), self.shown(server)
        idle = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=insecure(), timeout=PATIENCE)
        idle.login(ANN, "secret")
        idle.select()
        idle.send(b"i IDLE\r\n")
        self.assertEqual(idle.readline()[:1], b"+")
        smtp = smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE)
        smtp.ehlo()
        smtp.mail("bob@example.org")
        smtp.rcpt(ANN)
        self.assertEqual(smtp.docmd("DATA")[0], 354)
        smtp.send(MESSAGE % 1)

        self.renew()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "has been read again" in server.said, "it is read again")
        self.assertEqual(len({self.shown(server) for _ in range(6)} | {old}), 2, "all new ones see the new one")

        smtp.send(b"the rest of it\r\n.\r\n")
        self.assertEqual(smtp.getreply()[0], 250)
        self.assertIn(b"EXISTS", idle.readline())
        idle.send(b"DONE\r\n")
        until(lambda: idle.readline().startswith(b"i OK"), "IDLE ends as it should")
        self.assertTrue(set(before) & set(self.workers(server)), "who serves them is still there")
        smtp.quit()
        idle.logout()
        until(lambda: not set(before) & set(self.workers(server)), "old workers end with their last session")


class NamedSocketTests(Case):
    def test_a_socket_with_a_name_is_shared_and_survives_reloads_and_restarts(self) -> None:
        path = Path("/tmp") / f"mailfw-test-{os.getpid()}.sock"  # the system allows 108 octets
        self.addCleanup(path.unlink, missing_ok=True)
        server = self.start(f'--set=listen.lmtp=["unix:{path}:mode=600"]', services=("imap",))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        before = self.workers(server)
        self.deliver(path, 1)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "has been read again" in server.said, "it is read again")
        until(lambda: not set(before) & set(self.workers(server)), "old workers have ended")
        self.deliver(path, 2)
        server.process.send_signal(signal.SIGUSR2)
        until(lambda: server.said.count(" serves mail for ") == 2, "it has started again")
        self.deliver(path, 3)
        self.assertEqual(self.subjects(self.imap(server)), [1, 2, 3])
        self.assertIn(server.stop(), (0, -signal.SIGTERM))
        self.assertFalse(path.exists())

    def deliver(self, path: Path, number: int) -> None:
        with smtplib.LMTP(str(path)) as lmtp:
            lmtp.sendmail("bob@example.org", [ANN], MESSAGE % number)

    def test_what_cannot_be_shared_is_refused_in_words(self) -> None:
        error: Any = self.assertRaises(
            NotStarted, self.start, '--set=listen.smtp=["haproxy:tcp:0:interface=127.0.0.1"]', services=()
        )
        self.assertIn("listen.smtp: such an endpoint cannot be shared by workers; use --workers 0", str(error))


#: Opens sockets as systemd does, in the place of the program that gets them.
SYSTEMD = """
import os, socket, sys
tcp, unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
unix.bind("lmtp.sock")
os.chmod("lmtp.sock", 0o600)
unix.listen()
for place, each in enumerate([os.dup(tcp.fileno()), os.dup(unix.fileno())], 3):
    os.dup2(each, place)
os.closerange(5, 100)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="smtp:lmtp")
twistd = os.path.join(os.path.dirname(sys.executable), "twistd")
os.execv(twistd, [twistd, "--nodaemon", "--pidfile=", *sys.argv[1:]])
"""


class SystemdTests(Case):
    def given_sockets(self, *workers: str) -> None:
        settings = {"smtp": "systemd:domain=INET:index=0", "lmtp": "systemd:domain=UNIX:name=lmtp"}
        server = RunningServer(
            self.folder,
            *workers,
            *listen_anywhere(),
            *(f'--set=listen.{service}=["{endpoint}"]' for service, endpoint in settings.items()),
            *("--auth", f"memory:{ANN}:secret"),
            program=("python", "-c", SYSTEMD),
        )
        self.addCleanup(server.stop)
        path = self.folder / "lmtp.sock"
        for starts in (1, 2):
            until(lambda starts=starts: server.said.count(" serves mail for ") == starts, "it starts")  # type: ignore[misc] # mypy cannot infer a lambda with a default
            self.send(server, starts)
            with reachable(path) as short, smtplib.LMTP(short) as lmtp:
                lmtp.sendmail("bob@example.org", [ANN], MESSAGE % starts)
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, "who may connect is not ours to say")
            if starts == 1:
                server.process.send_signal(signal.SIGHUP)
                server.process.send_signal(signal.SIGUSR2)
        server.stop()
        self.assertTrue(path.exists(), "the socket is not ours")

    def test_one_process(self) -> None:
        self.given_sockets("--workers", "0")

    def test_workers(self) -> None:
        self.given_sockets("--workers", "2")

    def test_a_socket_that_was_not_given(self) -> None:
        error: Any = self.assertRaises(
            NotStarted, self.start, '--set=listen.smtp=["systemd:domain=INET:index=0"]', services=()
        )
        self.assertIn("is no endpoint", str(error))


class HangingTests(Case):
    def test_a_worker_that_hangs_hurts_nobody_else(self) -> None:
        server = self.start()
        readers = [self.imap(server) for _ in range(4)]
        hung = self.workers(server)[0]
        os.kill(hung, signal.SIGSTOP)
        self.addCleanup(self.wake, hung)
        began = time.monotonic()
        for number in range(10):
            self.send(server, number)
        self.assertLess(time.monotonic() - began, 10.0, "new connections go to the other")
        for reader in readers:
            self.ask(reader)
        alive = [reader for reader in readers if self.answers(reader)]
        self.assertTrue(0 < len(alive) < 4, len(alive))
        until(lambda: self.has(alive[0], 10), "the other's sessions go on and hear of new mail")
        os.kill(hung, signal.SIGCONT)
        for reader in set(readers) - set(alive):
            self.assertTrue(self.answers(reader, PATIENCE), "the first goes on where it was")
            self.assertTrue(self.has(reader, 10))

    def ask(self, reader: imaplib.IMAP4) -> None:
        reader.sock.sendall(b"x NOOP\r\n")

    def answers(self, reader: imaplib.IMAP4, patience: float = 1.0) -> bool:
        if not select.select([reader.sock], [], [], patience)[0]:
            return False
        while not reader.readline().startswith(b"x "):
            pass
        return True

    def wake(self, pid: int) -> None:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGCONT)
