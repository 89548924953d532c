"""`mailfw migrate` from Debian's Dovecot, killed on its way: all is there afterwards, as it was, and once."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import TestCase

from mailfw.mail.mailbox import Role, Want
from mailfw.site import Site
from mailfw.stores.maildir import maildir
from mailfw.testing.contents import SAMPLES
from mailfw.testing.store.fixture import read_all
from mailfw.tls.self_signed import make_self_signed
from tests.interop.dovecot import PASSWORD, Dovecot
from tests.running import BIN

CORPUS = Path(__file__).parents[3] / "shared/corpus"
MESSAGES = int(os.environ.get("MAILFW_MIGRATED", "3000"))
ANN = "ann@example.org"

#: UIDVALIDITY, and UID, SHA-256, flags and date of each message, by mailbox.
Mail = dict[str, tuple[int, list[tuple[int, str, frozenset[str], int]]]]


def nasty() -> list[bytes]:
    """Return what mail can be like: our own samples, and others' where they are."""
    found = [octets for octets in SAMPLES.values() if octets]
    return found + [path.read_bytes() for path in sorted(CORPUS.rglob("*.eml")) if path.stat().st_size]


def plain() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        body = f"This is message {number}.\r\n" * (1 + number % 50)
        yield f"From: bo@example.net\r\nSubject: Number {number}\r\nMessage-ID: <{number}@x>\r\n\r\n{body}".encode()


def fill(server: Dovecot) -> None:
    """Give Ann mail: every nasty message, and plain ones up to the number wanted."""
    client = server.client("ann")
    names = ["받은 편지함", "받은 편지함/2026년", "Sent Items", "Work & Play", "empty"]
    folders = ["INBOX", *(server.spelled(name) for name in names)]
    for name in folders[1:]:
        if not client.folder_exists(name):
            client.create_folder(name)
    client.subscribe_folder(server.spelled("받은 편지함/2026년"))
    special = nasty()
    source = plain()
    began = datetime(2011, 3, 4, 5, 6, 7, tzinfo=UTC)
    batches: dict[str, list[dict[str, object]]] = {name: [] for name in folders[:-1]}
    for number in range(MESSAGES):
        octets = special[number] if number < len(special) else next(source)
        flags = [("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "$Forwarded", "Work")[number % 6]]
        flags += ["NonJunk"] if number % 3 else []
        message = {"msg": octets, "flags": flags, "date": began + timedelta(seconds=number * 7919)}
        batches[folders[number % (len(folders) - 1)]].append(message)
    big = b"Subject: big\r\n\r\n" + b"0123456789abcdef" * 4 * 1024 * 100 + b"\r\n" * 500
    batches["INBOX"].insert(1, {"msg": big, "flags": [], "date": began})
    for name, messages in batches.items():
        for start in range(0, len(messages), 200):
            client.multiappend(name, messages[start : start + 200])
    client.logout()


def theirs(server: Dovecot) -> Mail:
    client = server.client("ann")
    found: Mail = {}
    for _, _, name in client.list_folders():
        validity = client.select_folder(name, readonly=True)[b"UIDVALIDITY"]
        uids = client.search("ALL")
        name = server.plain(name)
        found[name] = (validity, [])
        for start in range(0, len(uids), 100):
            answer = client.fetch(uids[start : start + 100], ["BODY.PEEK[]", "FLAGS", "INTERNALDATE"])
            for uid, told in sorted(answer.items()):
                flags = frozenset(each.decode() for each in told[b"FLAGS"]) - {"\\Recent"}
                when = int(told[b"INTERNALDATE"].timestamp())
                found[name][1].append((uid, hashlib.sha256(told[b"BODY[]"]).hexdigest(), flags, when))
    client.logout()
    return found


async def ours(data: Path) -> tuple[Mail, dict[str, Role | None], set[str]]:
    from twisted.internet import reactor

    store = maildir(Site("mx.example.org", frozenset(), data, reactor))
    try:
        found: Mail = {}
        roles = {}
        for info in await store.mailboxes(ANN):
            name = "/".join(info.path)
            snapshot = await store.snapshot(ANN, info.id, 0)
            roles[name], found[name] = info.role, (info.uid_validity, [])
            rows = [row async for batch in store.rows(ANN, info.id, snapshot.uids, Want.NOTHING) for row in batch]
            for row in rows:
                content = await store.content(ANN, info.id, row.uid)
                assert content is not None
                digest = hashlib.sha256(await read_all(content)).hexdigest()
                await content.close()
                found[name][1].append((row.uid, digest, row.flags, row.received))
        return found, roles, {"/".join(path) for path in await store.subscriptions(ANN)}
    finally:
        await store.close()


class MigrateTests(TestCase):
    timeout = 1800

    def setUp(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mailfw-migrate-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.data = self.home / "data"
        (self.home / "password").write_text(PASSWORD + "\n")

    def serve(self, prefix: str = "", separator: str = "/") -> None:
        self.server = Dovecot(self.home / "dovecot", prefix, separator)
        self.addCleanup(self.server.stop)
        self.where = f"imap://ann@127.0.0.1:{self.server.port}"

    def command(self, *arguments: str) -> list[str]:
        settings = ['--set=domains=["example.org"]', f'--set=data="{self.data}"']
        where = [f"--from={self.where}", f"--ca={self.server.home}/certificate.pem"]
        where.append(f"--password-file={self.home}/password")
        return [str(BIN / "mailfw"), *settings, "migrate", ANN, *where, *arguments]

    def migrate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=1800, check=False)

    def end_when(self, messages: int, how: signal.Signals = signal.SIGKILL, code: int = -signal.SIGKILL) -> None:
        """Start a migration, and end it with a signal when there are so many messages here."""
        process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        until = time.monotonic() + 120
        while self.arrived() < messages and process.poll() is None:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.005)
        process.send_signal(how)
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, output.decode())
        self.assertLess(self.arrived(), MESSAGES, "it was over before it was killed")

    def arrived(self) -> int:
        mail = self.data / "mail/example.org/ann"
        try:
            return sum(1 for each in (*mail.glob("*/*"), *mail.glob("*/*/*")) if each.parent.name in ("new", "cur"))
        except FileNotFoundError:  # a mailbox is being made
            return 0

    async def test_killed_twice(self) -> None:
        """With STARTTLS."""
        self.serve()
        fill(self.server)
        self.end_when(MESSAGES // 4)
        self.end_when(MESSAGES // 2)
        done = self.migrate()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{MESSAGES + 1} messages", done.stdout)
        self.assertIn(f"{MESSAGES + 1} verified", done.stdout)
        await self.compare()
        again = self.migrate()
        self.assertIn(" 0 new", again.stdout, again.stderr)
        self.change()
        last = self.migrate("--quick")
        self.assertEqual(last.returncode, 0, last.stderr)
        self.assertIn("; 1 new, 1 verified", last.stdout)
        self.assertIn("6 messages are here that the origin no longer has; --delete removes them", last.stderr)
        gone = self.migrate("--quick", "--delete")
        self.assertIn("6 messages that the origin no longer has were removed", gone.stderr)
        await self.compare()

    async def test_the_other_server_goes_away(self) -> None:
        """With TLS; a server that has everything below the inbox is stopped on the way, and comes back."""
        self.serve("INBOX.", ".")
        self.where = f"imaps://ann@localhost:{self.server.imaps}"
        fill(self.server)
        self.end_when(MESSAGES // 8, signal.SIGINT, 130)
        said = self.migrate_with_a_pause()
        self.assertIn("trying again", said)
        self.assertIn(f"{MESSAGES + 1} verified", said)
        await self.compare()

    def migrate_with_a_pause(self) -> str:
        process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while self.arrived() < MESSAGES // 4 and process.poll() is None:
            time.sleep(0.005)
        self.server.cut()
        self.server.stop()
        self.server.start()
        said, _ = process.communicate(timeout=600)
        self.assertEqual(process.returncode, 0, said)
        return said

    def test_whom_not_to_tell_a_password(self) -> None:
        self.serve()
        (self.home / "dovecot/certificate.pem").rename(self.home / "trusted.pem")
        make_self_signed(self.home / "dovecot/certificate.pem", self.home / "other.pem", ())
        for where in (self.where, f"imaps://ann@127.0.0.1:{self.server.imaps}"):
            self.where = where
            done = self.migrate()
            self.assertEqual(done.returncode, 1)
            self.assertIn("its certificate is not good", done.stderr)
        shutil.copy(self.home / "trusted.pem", self.home / "dovecot/certificate.pem")
        (self.home / "password").write_text("another\n")
        self.assertIn("does not let ann in", self.migrate().stderr)

    def change(self) -> None:
        client = self.server.client("ann")
        client.append("INBOX", b"Subject: new\r\n\r\n", ["\\Seen"], datetime(2026, 1, 1, tzinfo=UTC))
        client.select_folder("INBOX")
        client.add_flags(client.search("ALL")[:50], ["\\Flagged", "Later"])
        client.delete_messages(client.search("ALL")[60:66])
        client.expunge()
        client.logout()

    async def compare(self) -> None:
        expected = theirs(self.server)
        found, roles, subscribed = await ours(self.data)
        for name, messages in expected.items():
            self.assertEqual(found[name], messages, name)
        self.assertEqual({name for name, (_, messages) in found.items() if messages} - set(expected), set())
        self.assertEqual(roles["Sent Items"], Role.SENT)
        self.assertEqual(roles["Papierkorb"], Role.TRASH)
        self.assertNotIn("Sent", found)
        self.assertIn("받은 편지함/2026년", subscribed)
