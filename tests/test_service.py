"""The server as a process: started by twistd and twist, spoken to by the standard library's clients."""

from __future__ import annotations

import imaplib
import os
import poplib
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailfw import __version__
from mailfw.tls.self_signed import make_self_signed
from tests.running import BIN, PATIENCE, SERVICES, NotStarted, RunningServer, listen_anywhere, run, until

MESSAGE = "From: bob@example.org\r\nSubject: 안녕 👋\r\n\r\n.Hello\r\n"
ME = "postmaster@localhost"
#: How Twisted ends when it has stopped in order: newer versions die of the signal that stopped them.
STOPPED = (0, -signal.SIGTERM)
#: Argon2id is slow on purpose; a checker that is not makes most of these tests faster.
ANN = ["--auth", "memory:ann@localhost:secret"]


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    def start(self, *arguments: str, **options: Any) -> RunningServer:
        server = RunningServer(self.folder, *arguments, **options)
        self.addCleanup(server.stop)
        return server

    def refusal(self, *arguments: str, **options: Any) -> str:
        return str(self.assertRaises(NotStarted, RunningServer, self.folder, *arguments, **options))

    def deliver(self, server: RunningServer, to: str = ME, message: str = MESSAGE) -> None:
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"]) as smtp:
            smtp.sendmail("bob@example.org", [to], message.encode(), ["BODY=8BITMIME"])

    def trust(self, data: str = "var") -> ssl.SSLContext:
        """Return a context that trusts the server's own certificate, and checks the name."""
        return ssl.create_default_context(cafile=str(self.folder / data / "tls" / "certificate.pem"))

    def inbox(self, server: RunningServer, name: str, password: str, count: int = 1) -> list[bytes]:
        """Return the messages once there are so many: what was taken is delivered a moment later."""
        imap = imaplib.IMAP4("localhost", server.ports["imap"])
        imap.starttls(self.trust())
        imap.login(name, password)
        deadline = time.monotonic() + PATIENCE
        while int(imap.select()[1][0] or b"0") < count and time.monotonic() < deadline:
            time.sleep(0.05)
        found = imap.fetch("1:*", "BODY.PEEK[]")[1]
        imap.logout()
        return [each[1] for each in found if isinstance(each, tuple)]


class FirstStartTests(Case):
    def test_every_service_works_and_all_is_found_again(self) -> None:
        server = self.start(*listen_anywhere(*SERVICES))
        password = server.password
        assert password is not None
        self.assertEqual(
            set(server.ports), {"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http"}
        )

        self.deliver(server)
        self.inbox(server, ME, password)  # the first to be there
        with smtplib.SMTP("localhost", server.ports["submission"]) as smtp:
            smtp.starttls(context=self.trust())
            smtp.login(ME, password)
            smtp.sendmail(ME, [ME], "Subject: submitted\r\n\r\nA\r\n")
        with smtplib.SMTP_SSL("localhost", server.ports["submissions"], context=self.trust()) as smtp:
            smtp.login(ME, password)
            smtp.sendmail(ME, [ME], "Subject: under TLS\r\n\r\nB\r\n")

        messages = self.inbox(server, ME, password, 3)
        self.assertEqual(len(messages), 3)
        self.assertTrue(messages[0].endswith(MESSAGE.encode()), messages[0])
        with imaplib.IMAP4_SSL("localhost", server.ports["imaps"], ssl_context=self.trust()) as imap:
            imap.login(ME, password)
            self.assertEqual(imap.select("INBOX", readonly=True)[1], [b"3"])

        pop3 = poplib.POP3("localhost", server.ports["pop3"])
        pop3.stls(self.trust())
        pop3.user(ME)
        pop3.pass_(password)
        self.assertEqual(pop3.stat()[0], 3)
        pop3.quit()
        pop3s = poplib.POP3_SSL("localhost", server.ports["pop3s"], context=self.trust())
        pop3s.utf8()  # to who has not said so comes a surrogate
        pop3s.user(ME)
        pop3s.pass_(password)
        self.assertEqual(b"\r\n".join(pop3s.retr(1)[1]) + b"\r\n", messages[0])
        pop3s.quit()

        http = f"http://127.0.0.1:{server.ports['http']}"
        with urllib.request.urlopen(f"{http}/health") as answer:
            self.assertEqual(answer.read(), b"ok\n")
        with urllib.request.urlopen(f"{http}/mail/config-v1.1.xml") as answer:
            self.assertIn(f"<port>{server.ports['imaps']}</port>".encode(), answer.read())

        certificate = (self.folder / "var" / "tls" / "certificate.pem").read_bytes()
        self.assertIn(server.stop(), STOPPED)
        self.assertNotIn("Traceback", server.said)
        again = self.start(*listen_anywhere("smtp", "imap"))
        self.assertIsNone(again.password)
        self.assertNotIn(password, again.said)
        self.assertEqual((self.folder / "var" / "tls" / "certificate.pem").read_bytes(), certificate)
        self.assertEqual(self.inbox(again, ME, password, 3), messages)

    def test_the_commands_it_prints_work_as_printed(self) -> None:
        server = self.start(*listen_anywhere("smtp", "imaps"))
        send, read = re.findall(r"^\t?\s+(python3 -c .*)$", server.said, re.MULTILINE)
        for command in (send, read):
            done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("Subject: Hello", done.stdout)
        self.assertIn("It works.", done.stdout)

    def test_nothing_that_it_makes_is_for_others(self) -> None:
        server = self.start(*listen_anywhere("smtp"))
        self.deliver(server)
        server.stop()
        self.assertEqual((self.folder / "var").stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.folder / "var" / "passwords").stat().st_mode & 0o077, 0)

    def test_with_a_file_no_account_is_made_and_nothing_else_listens(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "site.toml").write_text(
            '[listen]\nsmtp = ["tcp:0:interface=127.0.0.1"]\nimap = ["tcp:0:interface=127.0.0.1"]\n'
        )
        server = self.start("--config", "site.toml")
        self.assertEqual(set(server.ports), {"smtp", "imap"})
        self.assertIsNone(server.password)
        added = run("mailfw", "-c", "site.toml", "user", "add", "ann", cwd=self.folder, input="secret\n")
        self.assertEqual((added.returncode, added.stdout, added.stderr), (0, "ann@localhost added\n", ""))
        self.deliver(server, "ann@localhost")
        self.assertEqual(len(self.inbox(server, "ann@localhost", "secret")), 1)


class SettingTests(Case):
    def test_a_listener_set_on_the_command_line_is_there(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.start(*ANN, *listen_anywhere(), "--set", f'listen.smtp=["tcp:{port}:interface=127.0.0.1"]')
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            self.assertEqual(smtp.noop()[0], 250)

    def test_auth_takes_any_strcred_checker(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "users").write_text("bob@localhost:terces\n")
        auth = [*ANN, "--auth", f"file:{self.folder}/users"]
        server = self.start(*auth, "--set=store.plugin=memory", *listen_anywhere("smtp", "imap"))
        self.assertIsNone(server.password)
        for name, password in (("ann@localhost", "secret"), ("bob@localhost", "terces")):
            self.deliver(server, name)
            self.assertEqual(len(self.inbox(server, name, password)), 1)
        self.assertFalse((self.folder / "var" / "passwords").exists())
        with self.assertRaises(imaplib.IMAP4.error):
            self.inbox(server, "ann@localhost", "terces")

    def test_policies_are_asked(self) -> None:
        policy = '--set=policy=[{plugin="recipients", refuse=["ann@localhost"], reason="Not her"}]'
        server = self.start(*ANN, policy, "--set=store.plugin=memory", *listen_anywhere("smtp"))
        refused = self.assertRaises(smtplib.SMTPRecipientsRefused, self.deliver, server, "ann@localhost")
        self.assertIn(b"Not her", refused.recipients["ann@localhost"][1])

    def test_lmtp_over_a_unix_socket(self) -> None:
        short = tempfile.mkdtemp()  # the path of a UNIX socket has 107 octets at most
        self.addCleanup(shutil.rmtree, short)
        server = self.start(*ANN, *listen_anywhere("imap"), f'--set=listen.lmtp=["unix:{short}/lmtp:mode=600"]')
        with smtplib.LMTP(f"{short}/lmtp") as lmtp:
            lmtp.sendmail("bob@example.org", ["ann@localhost"], MESSAGE.encode())
        self.assertEqual(len(self.inbox(server, "ann@localhost", "secret")), 1)

    def test_sni_shows_the_certificate_of_the_name(self) -> None:
        live = self.folder / "live"
        for name in ("a.example", "b.example"):
            make_self_signed(live / name / "fullchain.pem", live / name / "privkey.pem", [name])
        settings = ("--set=tls.directory=live", "--set=hostname=a.example")
        server = self.start(*ANN, *listen_anywhere("imap", "imaps"), *settings)
        for name in ("a.example", "b.example"):
            context = ssl.create_default_context(cafile=str(live / name / "fullchain.pem"))
            with (
                socket.create_connection(("127.0.0.1", server.ports["imaps"])) as plain,
                context.wrap_socket(plain, server_hostname=name) as secure,
            ):
                self.assertIn(b"* OK", secure.recv(1000))
            with socket.create_connection(("127.0.0.1", server.ports["imap"])) as plain:
                plain.recv(1000)
                plain.sendall(b"a STARTTLS\r\n")
                self.assertIn(b"a OK", plain.recv(1000))
                with context.wrap_socket(plain, server_hostname=name) as secure:
                    secure.sendall(b"b NOOP\r\n")
                    self.assertIn(b"b OK", secure.recv(1000))


class RunnerTests(Case):
    def test_twist(self) -> None:
        server = self.start(*ANN, *listen_anywhere("smtp", "imap"), program=("twist", "--log-format", "text"))
        self.deliver(server, "ann@localhost")
        self.assertEqual(len(self.inbox(server, "ann@localhost", "secret")), 1)
        self.assertIn(server.stop(), STOPPED)

    def test_the_asyncio_reactor(self) -> None:
        program = ("twistd", "--nodaemon", "--pidfile=", "--reactor", "asyncio")
        server = self.start(*ANN, *listen_anywhere("smtp", "imap"), program=program)
        self.assertIn("AsyncioSelectorReactor", server.said)
        self.deliver(server, "ann@localhost")
        self.assertEqual(len(self.inbox(server, "ann@localhost", "secret")), 1)
        self.assertIn(server.stop(), STOPPED)

    def test_another_user(self) -> None:
        if os.getuid() != 0:
            raise SkipTest("only root can become another user")
        nobody = pwd.getpwnam("nobody")
        program = ("twistd", "--nodaemon", "--pidfile=", "--uid", "nobody", "--gid", str(nobody.pw_gid))
        self.folder.parent.chmod(0o755)  # trial makes it for itself alone
        server = self.start(*listen_anywhere("smtp", "imap"), program=program)
        assert server.password is not None
        self.deliver(server)
        self.assertEqual(len(self.inbox(server, ME, server.password)), 1)
        owners = {path.stat().st_uid for path in (self.folder / "var", *(self.folder / "var").rglob("*"))}
        self.assertEqual(owners, {nobody.pw_uid})
        self.assertEqual(Path(f"/proc/{server.process.pid}").stat().st_uid, nobody.pw_uid)

    def test_another_user_gets_the_accounts_that_root_has_made(self) -> None:
        if os.getuid() != 0:
            raise SkipTest("only root can become another user")
        data = self.folder / "var"
        settings = [f"--set=data={data}", "--set=domains=['example.org']"]
        added = run("mailfw", *settings, "user", "add", "ann", input="secret\n")
        self.assertEqual((added.returncode, added.stderr), (0, ""))
        self.folder.parent.chmod(0o755)
        self.folder.chmod(0o755)
        server = self.start(
            *settings, *listen_anywhere("smtp"), program=("twistd", "-n", "--pidfile=", "--uid", "nobody")
        )
        self.deliver(server, "ann@example.org")
        nobody = pwd.getpwnam("nobody").pw_uid
        self.assertEqual({path.stat().st_uid for path in (data, *data.rglob("*"))}, {nobody})

    def test_as_a_daemon(self) -> None:
        self.folder.mkdir(parents=True)
        arguments = ["--pidfile=pid", "--logfile=log", "mailfw", *ANN, *listen_anywhere("smtp")]
        started = run("twistd", *arguments, cwd=self.folder)
        self.assertEqual((started.returncode, started.stdout, started.stderr), (0, "", ""))
        pid = int((self.folder / "pid").read_text())
        os.kill(pid, 15)
        deadline = time.monotonic() + 60
        while (self.folder / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertIn("mailfw has stopped", (self.folder / "log").read_text())


class StopTests(Case):
    def connect(self, server: RunningServer, service: str, say: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", server.ports[service]), timeout=30)
        self.addCleanup(connection.close)
        connection.recv(1000)
        if say:
            connection.sendall(say)
            connection.recv(4000)
        return connection

    def hear_all(self, connection: socket.socket) -> bytes:
        heard = b""
        while piece := connection.recv(4000):
            heard += piece
        return heard

    def test_idle_sessions_hear_of_it_and_a_message_is_finished(self) -> None:
        server = self.start(*ANN, "--set=allow_plaintext_auth=true", *listen_anywhere("smtp", "imap", "imaps", "pop3"))
        smtp = self.connect(server, "smtp", b"EHLO x\r\n")
        imap = self.connect(server, "imap")
        idling = self.connect(server, "imap", b"a LOGIN ann@localhost secret\r\n")
        for line in (b"b SELECT INBOX\r\n", b"c IDLE\r\n"):
            idling.sendall(line)
            idling.recv(4000)
        pop3 = self.connect(server, "pop3")
        busy = self.connect(server, "smtp", b"EHLO x\r\n")
        for line in (b"MAIL FROM:<b@example.org>\r\n", b"RCPT TO:<ann@localhost>\r\n", b"DATA\r\n"):
            busy.sendall(line)
            busy.recv(1000)
        busy.sendall(b"Subject: half\r\n\r\nfirst\r\n")

        server.terminate()
        self.assertEqual(self.hear_all(smtp)[:3], b"421")
        self.assertIn(b"* BYE", self.hear_all(imap))
        self.assertIn(b"* BYE", self.hear_all(idling))
        self.assertIn(self.hear_all(pop3)[:4], (b"-ERR", b""))
        self.assertIsNone(server.process.poll())
        self.assertRaises(OSError, socket.create_connection, ("127.0.0.1", server.ports["smtp"]), 5)
        busy.sendall(b"second\r\n.\r\n")
        heard = self.hear_all(busy)
        self.assertEqual((heard[:3], heard.split(b"\r\n")[1][:3]), (b"250", b"421"))
        self.assertIn(server.stop(), STOPPED)
        self.assertNotIn("Traceback", server.said)

        again = self.start(*ANN, *listen_anywhere("imap"))
        (message,) = self.inbox(again, "ann@localhost", "secret")
        self.assertTrue(message.endswith(b"Subject: half\r\n\r\nfirst\r\nsecond\r\n"), message)


class RefusalTests(Case):
    def test_a_wrong_key_is_said_before_anything_starts(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "site.toml").write_text("\n[listen]\nsmpt = []\n")
        for program in ("twistd", "twist"):
            done = run(program, *(("-n",) if program == "twistd" else ()), "mailfw", "-c", "site.toml", cwd=self.folder)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(
                "site.toml:3: no key of [listen] is called 'smpt'; did you mean 'smtp'?", done.stdout + done.stderr
            )
        self.assertEqual([path.name for path in self.folder.iterdir()], ["site.toml"])

    def test_a_route_that_cannot_be_read(self) -> None:
        """It is the router that finds out, and the line is told all the same."""
        self.folder.mkdir(parents=True)
        site = 'hostname = "mx.example.org"\ndomains = ["example.org"]\n'
        route = '[[route]]\nrecipients = ["a.example"]\nto = "mx"\n\n[[route]]\nrecipients = ["b@"]\nto = "mx"\n'
        (self.folder / "site.toml").write_text(site + route)
        said = f"{self.folder}/site.toml:8: route.1.recipients: 'b@' is no pattern"
        self.assertIn(said, self.refusal("-c", str(self.folder / "site.toml")))
        done = run("mailfw", "-c", str(self.folder / "site.toml"), "config", "check", cwd=self.folder)
        self.assertIn(said, done.stderr)
        self.assertIn(
            "--set relay: relay: smtp://me@192.0.2.1:587 has a user and no password",
            self.refusal("-c", str(self.folder / "site.toml"), "--set=route=[]", "--set=relay=smtp://me@192.0.2.1:587"),
        )

    def test_a_port_in_use(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            said = self.refusal(*ANN, *listen_anywhere(), f'--set=listen.imap=["{endpoint}"]')
        self.assertIn(f"mailfw: listen.imap: {endpoint}: Address already in use", said)
        self.assertNotIn("Traceback", said)

    def test_who_starts_a_daemon_hears_that_it_could_not(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "taken").write_text("")
        for setting, reason in (("data=taken", "data directory"), ("listen.lmtp=['unix:none/sock']", "listen.lmtp")):
            arguments = ["--pidfile=pid", "--logfile=log", "mailfw", *ANN, *listen_anywhere(), "--set", setting]
            done = run("twistd", *arguments, cwd=self.folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"DaemonCannotStart: {reason}", done.stderr)
            self.assertIn(reason, (self.folder / "log").read_text())
            until(lambda: not (self.folder / "pid").exists(), "the daemon cleans up after it has told why")

    def test_a_certificate_that_is_not_there(self) -> None:
        said = self.refusal(*ANN, *listen_anywhere(), "--set=tls.certificate=c.pem", "--set=tls.key=k.pem")
        self.assertIn(f"mailfw: {self.folder}/c.pem: No such file or directory", said)

    def test_two_servers_on_one_directory(self) -> None:
        first = self.start(*ANN, *listen_anywhere("smtp"))
        done = run("twistd", "-n", "--pidfile=", "mailfw", *ANN, *listen_anywhere("smtp"), cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"is in use by another mailfw, process {first.process.pid}", done.stdout + done.stderr)
        self.deliver(first, "ann@localhost")

    def test_help_and_version(self) -> None:
        self.folder.mkdir(parents=True)
        for option, said in (
            ("--help", "--config="),
            ("--help-auth", "memory"),
            ("--version", f"mailfw {__version__}"),
        ):
            done = run("twistd", "mailfw", option, cwd=self.folder)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(said, done.stdout)
        self.assertTrue((BIN / "mailfw").exists())
