"""``twistd mailfw --workers``: several processes that are one server."""

from __future__ import annotations

import contextlib
import imaplib
import os
import poplib
import random
import re
import signal
import smtplib
import time
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.running import PATIENCE, RunningServer, listen_anywhere, until

ANN = "ann@localhost"
#: How many workers are killed; MAILFW_DEATHS asks for more.
DEATHS = int(os.environ.get("MAILFW_DEATHS", "6"))
MESSAGE = b"From: bob@example.org\r\nSubject: %d\r\n\r\nHello\r\n"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    def start(
        self, *arguments: str, services: tuple[str, ...] = ("smtp", "imap", "pop3", "http"), **options: Any
    ) -> RunningServer:
        server = RunningServer(
            self.folder,
            "--workers",
            "2",
            "--auth",
            f"memory:{ANN}:secret",
            "--set=allow_plaintext_auth=true",
            *listen_anywhere(*services),
            *arguments,
            **options,
        )
        self.addCleanup(server.stop)
        return server

    def workers(self, server: RunningServer) -> list[int]:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
        return [int(each) for each in children.split()]

    def two_others_than(self, victim: int, server: RunningServer) -> bool:
        workers = self.workers(server)
        return len(workers) == 2 and victim not in workers

    def imap(self, server: RunningServer) -> imaplib.IMAP4:
        imap = imaplib.IMAP4("127.0.0.1", server.ports["imap"], timeout=PATIENCE)
        imap.login(ANN, "secret")
        imap.select()
        self.addCleanup(self.hang_up, imap)
        return imap

    def hang_up(self, imap: imaplib.IMAP4) -> None:
        with contextlib.suppress(OSError):
            imap.shutdown()

    def send(self, server: RunningServer, *numbers: int) -> None:
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE) as smtp:
            for number in numbers:
                smtp.sendmail("bob@example.org", [ANN], MESSAGE % number)

    def has(self, imap: imaplib.IMAP4, count: int) -> bool:
        return len(self.subjects(imap)) == count

    def subjects(self, imap: imaplib.IMAP4) -> list[int]:
        imap.noop()
        found = imap.fetch("1:*", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]")[1]
        return [int(re.search(rb"\d+", each[1])[0]) for each in found if isinstance(each, tuple)]  # type: ignore[index]


class WorkerTests(Case):
    def test_mail_arrives_whichever_worker_takes_it(self) -> None:
        server = self.start()
        self.assertEqual(len(self.workers(server)), 2)
        readers = [self.imap(server) for _ in range(6)]
        for number in range(8):
            self.send(server, number)
        for reader in readers:
            until(partial(self.has, reader, 8), "all hear of all mail")
        large = b"Subject: 9\r\n\r\n" + b"x" * 70 * 1024 * 8
        readers[0].append("INBOX", "", None, large)
        until(lambda: 9 in self.subjects(readers[1]), "what one appends another sees")
        found: Any = readers[1].fetch("9", "BODY[]")[1]
        self.assertEqual(found[0][1].strip(), large)
        self.assertIn(server.stop(), (0, -signal.SIGTERM))

    def test_what_one_worker_has_acknowledged_every_other_knows(self) -> None:
        """Whatever was answered is seen by the very next command of any other connection, not a moment later."""
        server = self.start('--set=listen.lmtp=["tcp:0:interface=127.0.0.1"]', services=("imap",))
        readers = [self.imap(server) for _ in range(6)]
        for number in range(1, 16):
            with smtplib.LMTP("127.0.0.1", server.ports["lmtp"]) as lmtp:
                lmtp.sendmail("bob@example.org", [ANN], MESSAGE % number)
            for reader in readers:
                reader.noop()
                self.assertEqual(int(reader.response("EXISTS")[1][-1] or 0), number)
            by, other = random.sample(readers, 2)
            by.store(str(number), "+FLAGS", f"(mark{number})")
            found: Any = other.uid("FETCH", str(number), "(FLAGS)")[1]
            self.assertIn(b"mark%d" % number, b"".join(found))
            self.assertEqual(other.uid("SEARCH", "KEYWORD", f"mark{number}")[1], [b"%d" % number])
        readers[0].store("1", "+FLAGS", "(\\Deleted)")
        readers[0].expunge()
        for reader in readers[1:]:
            reader.noop()
            self.assertEqual(reader.response("EXPUNGE")[1], [b"1"])
            self.assertIn(b"1 (UID 2)", reader.fetch("1", "(UID)")[1])

    def test_one_session_a_maildrop(self) -> None:
        server = self.start()
        first = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=PATIENCE)
        first.user(ANN)
        first.pass_("secret")
        for _ in range(6):
            other = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=PATIENCE)
            other.user(ANN)
            self.assertIn(b"IN-USE", self.assertRaises(poplib.error_proto, other.pass_, "secret").args[0])
            other.quit()
        first.quit()
        again = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=PATIENCE)
        again.user(ANN)
        again.pass_("secret")
        again.quit()

    def test_connections_of_one_address_count_together(self) -> None:
        server = self.start(
            "--set=limits.connections_per_address=4", "--set=trust.unlimited=[]", "--set=trust.relay=[]"
        )
        held = []
        for _ in range(4):
            held.append(smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE))
            time.sleep(0.05)
        for _ in range(4):
            error = self.assertRaises(
                smtplib.SMTPConnectError, smtplib.SMTP, "127.0.0.1", server.ports["smtp"], timeout=PATIENCE
            )
            self.assertEqual(error.smtp_code, 421)
        for each in held:
            each.quit()
        until(lambda: self.connects(server), "released connections count no more")

    def connects(self, server: RunningServer) -> bool:
        try:
            smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE).quit()
        except smtplib.SMTPConnectError:
            return False
        return True

    def test_a_policy_that_counts_counts_for_all(self) -> None:
        server = self.start('--set=policy=[{plugin="rate", client_messages=3, period=600}]')
        answers = []
        for _ in range(8):
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE) as smtp:
                smtp.helo()
                answers.append(smtp.mail("bob@example.org")[0])
        self.assertEqual(answers, [250] * 3 + [450] * 5)

    def test_a_worker_dies_under_load(self) -> None:
        server = self.start()
        acknowledged: list[int] = []
        number = 0
        workers = self.workers(server)
        for death in range(DEATHS):
            moment = random.randrange(10)
            victim = workers[death % 2]
            for _ in range(10):
                number += 1
                try:
                    self.send(server, number)
                    acknowledged.append(number)
                except (smtplib.SMTPException, OSError):
                    pass
                if number % 10 == moment:
                    os.kill(victim, signal.SIGKILL)
            until(partial(self.two_others_than, victim, server), "a new one takes its place")
            workers = self.workers(server)
        reader = self.imap(server)
        until(lambda: set(acknowledged) <= set(self.subjects(reader)), "nothing acknowledged is lost")
        self.assertGreater(len(acknowledged), 8 * DEATHS)
        self.assertEqual(sorted(set(self.subjects(reader))), sorted(self.subjects(reader)))

    def test_a_session_of_another_worker_goes_on(self) -> None:
        server = self.start()
        readers = [self.imap(server) for _ in range(8)]
        os.kill(self.workers(server)[0], signal.SIGKILL)
        alive = 0
        for reader in readers:
            try:
                reader.noop()
                alive += 1
            except (imaplib.IMAP4.error, OSError):
                pass
        self.assertTrue(0 < alive < 8, alive)
        self.send(server, 1)

    def test_the_end_of_the_keeper_ends_all(self) -> None:
        server = self.start()
        workers = self.workers(server)
        server.process.kill()
        server.process.wait()
        until(lambda: not any(Path(f"/proc/{each}").exists() for each in workers), "workers end")


class AutomaticTests(Case):
    """What nobody asked for: as many workers as there are cores, where that can do no harm."""

    def test_the_first_start(self) -> None:
        server = self.start("--workers", "auto")
        cores = len(os.sched_getaffinity(0))
        self.assertEqual(len(self.workers(server)), cores if cores > 1 else 0)
        self.send(server, 1)
        reader = self.imap(server)
        until(lambda: self.subjects(reader) == [1], "it is delivered")

    def test_why_there_is_one_process_is_said_once(self) -> None:
        server = self.start("--workers", "auto", '--set=store.plugin="memory"')
        self.assertEqual(self.workers(server), [])
        told = int(len(os.sched_getaffinity(0)) > 1)
        self.assertEqual(server.said.count("the store 'memory' cannot be read by other processes"), told)

    def test_workers_have_the_reactor_that_the_server_has(self) -> None:
        server = self.start(program=("twistd", "--nodaemon", "--pidfile=", "--reactor", "asyncio"))
        for worker in self.workers(server):
            self.assertIn("asyncioreactor", Path(f"/proc/{worker}/cmdline").read_text())
        self.send(server, 1)


class ReloadTests(Case):
    def configure(self, size: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "mailfw.toml").write_text(f'domains = ["localhost"]\n[limits]\nmessage_size = {size}\n')

    def size(self, server: RunningServer) -> int:
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE) as smtp:
            smtp.ehlo()
            return int(smtp.esmtp_features["size"])

    def test_new_connections_have_the_new_configuration_and_old_ones_stay(self) -> None:
        self.configure(1_000_000)
        server = self.start("--config", "mailfw.toml")
        reader = self.imap(server)
        before = self.workers(server)
        self.assertEqual(self.size(server), 1_000_000)
        self.configure(2_000_000)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "has been read again" in server.said, "it is read again")
        self.assertEqual({self.size(server) for _ in range(6)}, {2_000_000})
        self.send(server, 7)
        until(lambda: self.subjects(reader) == [7], "the old session goes on, and hears of new mail")
        reader.logout()
        until(lambda: not set(before) & set(self.workers(server)), "old workers end with their last session")
        self.assertEqual(len(self.workers(server)), 2)

    def test_another_store_in_the_configuration_waits_for_the_next_start(self) -> None:
        self.configure(1_000_000)
        server = self.start("--config", "mailfw.toml")
        self.send(server, 1)
        self.configure(2_000_000)
        with (self.folder / "mailfw.toml").open("a") as file:
            file.write('[store]\nplugin = "maildir"\npath = "elsewhere"\n')
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "has been read again" in server.said, "it is read again")
        self.send(server, 2)
        reader = self.imap(server)
        until(lambda: self.subjects(reader) == [1, 2], "workers read what the keeper keeps")
        self.assertEqual(list(self.folder.rglob("elsewhere")), [])

    def test_a_configuration_that_is_wrong_changes_nothing(self) -> None:
        self.configure(1_000_000)
        server = self.start("--config", "mailfw.toml")
        before = self.workers(server)
        (self.folder / "mailfw.toml").write_text("domains = [")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "stays as it was" in server.said, "it is refused")
        self.assertEqual(self.workers(server), before)
        self.assertEqual(self.size(server), 1_000_000)


class SignalTests(Case):
    def test_what_is_asked_for_while_it_stops_does_not_end_it_at_once(self) -> None:
        server = self.start()
        self.send(server, 1)
        server.terminate()
        until(lambda: "shutting down" in server.said, "it has heard so")
        for _ in range(20):
            for each in (signal.SIGHUP, signal.SIGUSR2):
                with contextlib.suppress(ProcessLookupError):
                    server.process.send_signal(each)
            time.sleep(0.01)
        server.stop()
        self.assertIn("mailfw has stopped", server.said)
        self.assertNotIn("Traceback", server.said)

    def test_a_terminal_tells_all_processes_at_once(self) -> None:
        server = self.start()
        for each in (server.process.pid, *self.workers(server)):
            os.kill(each, signal.SIGINT)
        for each in self.workers(server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGTERM)
        server.process.wait(PATIENCE)
        self.assertIn("mailfw has stopped", server.said)
        self.assertNotIn("Traceback", server.said)

    def test_an_upgrade_that_could_not_listen_is_not_begun(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "mailfw.toml").write_text('domains = ["localhost"]\n')
        server = self.start("--config", "mailfw.toml")
        (self.folder / "mailfw.toml").write_text('domains = ["localhost"]\n[listen]\nlmtp = ["nonsense:1"]\n')
        server.process.send_signal(signal.SIGUSR2)
        until(lambda: "goes on as it is" in server.said, "it is refused")
        self.send(server, 1)


class UpgradeTests(Case):
    def test_the_program_starts_again_and_the_port_stays_open(self) -> None:
        server = self.start()
        self.send(server, 1)
        ports, before = server.ports, self.workers(server)
        server.process.send_signal(signal.SIGUSR2)
        for number in range(2, 12):
            until(partial(self.sends, ports["smtp"], number), "no connection is refused")
        until(lambda: server.said.count(" serves mail for ") == 2, "it says so")
        self.assertEqual(server.ports, ports)
        self.assertIsNone(server.process.poll())
        self.assertFalse(set(before) & set(self.workers(server)))
        reader = self.imap(server)
        until(lambda: set(self.subjects(reader)) == set(range(1, 12)), "nothing is lost")

    def sends(self, port: int, number: int) -> bool:
        """Whether the server took it; that nobody listens is a failure, that a session is ended in order is none."""
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as smtp:
                smtp.sendmail("bob@example.org", [ANN], MESSAGE % number)
        except ConnectionRefusedError:
            self.fail("nobody listens")
        except (smtplib.SMTPException, OSError):
            return False
        return True
