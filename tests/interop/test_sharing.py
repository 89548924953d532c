"""Shared mailboxes as clients use them: two users of one mailbox, a server of one process or of several, mbsync."""

from __future__ import annotations

import contextlib
import imaplib
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.mbsync import configuration
from tests.interop.server import DOMAIN, PASSWORD, RunningServer, require
from tests.running import until

SHARED = f"Shared/ann@{DOMAIN}"
ANNS = f"{SHARED}/INBOX"
PATIENCE = 20.0


class Client(imaplib.IMAP4):
    """A client with the commands of RFC 4314 that imaplib lacks, and IDLE."""

    def unseen(self, mailbox: str) -> int:
        """Return what STATUS says."""
        [said] = self.status(mailbox, "(UNSEEN)")[1]
        assert isinstance(said, bytes)
        return int(said.rpartition(b"UNSEEN ")[2].rstrip(b")"))

    def flags(self) -> list[str]:
        """Return the flags of all messages without their backslash, but Recent."""
        found = self.fetch("1:*", "FLAGS")[1]
        words = [re.findall(r"\w+", each.decode().partition("FLAGS (")[2]) for each in found if each]  # type: ignore[union-attr]
        return [" ".join(sorted({*each} - {"Recent"})) for each in words]

    @contextlib.contextmanager
    def idling(self) -> Iterator[Callable[[bytes], None]]:
        """IDLE; what is yielded waits for a line."""
        self.send(b"idle IDLE\r\n")
        self.wait_for(b"+ ")
        yield self.wait_for
        self.send(b"DONE\r\n")
        self.wait_for(b"idle OK")

    def wait_for(self, part: bytes) -> None:
        """Read lines until one has this in it."""
        while part not in (line := self.readline()):
            if not line:
                raise AssertionError(f"the server left; {part!r} was waited for")


class Case(SynchronousTestCase):
    settings: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.server = RunningServer("ann", "bob", "cat", settings=self.settings, arguments=self.arguments)
        self.addCleanup(self.server.remove)

    def client(self, name: str) -> Client:
        client = Client("127.0.0.1", self.server.ports["imap"], timeout=PATIENCE)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it writes in small pieces
        client.login(f"{name}@{DOMAIN}", PASSWORD)
        self.addCleanup(self.hang_up, client)
        return client

    def hang_up(self, client: Client) -> None:
        with contextlib.suppress(OSError):
            client.shutdown()

    def ok(self, answer: tuple[str, object]) -> None:
        self.assertEqual(answer[0], "OK", answer)

    def no(self, answer: Any, code: bytes) -> None:
        self.assertEqual(answer[0], "NO", answer)
        self.assertIn(code, answer[1][0])


class TwoUsers(Case):
    def test_a_day_of_a_shared_mailbox(self) -> None:
        ann, bob, other = self.client("ann"), self.client("bob"), self.client("bob")
        for number in range(4):
            self.ok(ann.append("INBOX", "", "", b"Subject: %d\r\n\r\nx\r\n" % number))
        self.assertIn(b" ACL RIGHTS=texk", bob.capability()[1][0])
        self.assertEqual(bob.namespace()[1], [b'(("" "/")) (("Shared/" "/")) NIL'])
        self.assertNotIn("Shared", str(bob.list()))
        self.ok(ann.setacl("INBOX", "bob", "lrs"))
        until(lambda: ANNS in str(bob.list()), "what is shared appears")
        self.assertNotIn("Shared", str(self.client("cat").list()))
        self.ok(ann.select("INBOX"))
        for each in (bob, other):
            self.assertEqual(each.select(ANNS)[1], [b"4"])
        self.ok(bob.fetch("1", "(BODY[])"))
        self.ok(bob.store("2", "+FLAGS", "(\\Seen)"))
        self.no(bob.store("2", "+FLAGS", "(\\Flagged)"), b"NOPERM")
        self.no(bob.expunge(), b"NOPERM")
        self.assertEqual(bob.flags(), ["Seen", "Seen", "", ""])
        self.assertEqual((ann.flags(), ann.unseen("INBOX"), bob.unseen(ANNS)), ([""] * 4, 4, 2))
        with ann.idling() as ann_hears, other.idling() as other_hears:
            self.ok(bob.store("3", "+FLAGS", "(\\Seen)"))
            other_hears(b"* 3 FETCH (FLAGS (\\Seen))")
            self.ok(self.client("ann").append("INBOX", "", "", b"Subject: 5\r\n\r\nx\r\n"))
            ann_hears(b"* 5 EXISTS")
            other_hears(b"* 5 EXISTS")
        self.ok(ann.store("1:5", "+FLAGS", "(\\Seen)"))
        self.assertEqual((ann.unseen("INBOX"), bob.unseen(ANNS)), (0, 2))
        self.no(bob.copy("1", f"{SHARED}/Sent"), b"TRYCREATE")
        self.ok(bob.copy("1:2", "INBOX"))
        self.ok(bob.select("INBOX"))
        self.assertEqual(bob.flags(), ["Seen", "Seen"])
        self.assertIn("lrs", self.server.console("mail", "share", "ann", "INBOX", "bob", "lrsi"))
        self.ok(bob.append(ANNS, "\\Seen", "", b"Subject: 6\r\n\r\nx\r\n"))
        self.assertEqual((ann.unseen("INBOX"), bob.unseen(ANNS)), (1, 2))
        self.assertEqual(self.server.console("mail", "shares", "ann"), f"ann@{DOMAIN}  INBOX  bob@{DOMAIN}  lrsi\n")
        other.send(b"idle IDLE\r\n")
        other.wait_for(b"+ ")
        self.ok(ann.deleteacl("INBOX", "bob"))
        other.wait_for(b"* BYE")
        self.no(bob.select(ANNS), b"NONEXISTENT")
        self.assertNotIn("Shared", str(bob.list()))

    def test_it_lasts(self) -> None:
        ann = self.client("ann")
        self.ok(ann.append("INBOX", "", "", b"Subject: 1\r\n\r\nx\r\n"))
        self.ok(ann.append("INBOX", "", "", b"Subject: 2\r\n\r\nx\r\n"))
        self.server.console("mail", "share", "ann", "inbox", "anyone", "lrs")
        bob = self.client("bob")
        self.ok(bob.select(ANNS))
        self.ok(bob.store("2", "+FLAGS", "(\\Seen)"))
        self.server.terminate()
        self.assertIn("anyone  lrs", self.server.console("mail", "shares", "ann"))
        self.assertIn(f"ann@{DOMAIN}  INBOX  cat@{DOMAIN}  lrs", self.server.console("mail", "shares", "cat"))
        self.server.start()
        bob, cat = self.client("bob"), self.client("cat")
        self.assertEqual((bob.unseen(ANNS), cat.unseen(ANNS)), (1, 2))
        self.ok(bob.select(ANNS))
        self.assertEqual(bob.flags(), ["", "Seen"])
        self.server.console("mail", "share", "ann", "INBOX", "anyone", "none")
        self.no(cat.select(ANNS), b"NONEXISTENT")


class TwoUsersOfSqlite(TwoUsers):
    settings = ('store.plugin="sqlite"',)


class TwoUsersOfWorkers(TwoUsers):
    arguments = ("--workers", "2")


class Mbsync(Case):
    """An offline reader of a shared mailbox."""

    def test_it_marks_and_files(self) -> None:
        mbsync = require("mbsync")
        ann = self.client("ann")
        for number in range(20):
            self.ok(ann.append("INBOX", "", "", b"Subject: number %d\r\n\r\nx\r\n" % number))
        self.ok(ann.setacl("INBOX", "bob", "lrsi"))
        near = self.server.home / "near"
        near.mkdir()
        rc, port = self.server.home / ".mbsyncrc", self.server.ports["imap"]
        of_bob = (port, f"bob@{DOMAIN}", PASSWORD, near)
        rc.write_text(configuration(*of_bob, patterns="Shared/*", create="Near", remove="None", expunge="None"))
        folder = near / "Shared" / f"ann@{DOMAIN}" / "INBOX"
        self.server.run(mbsync, "-c", str(rc), "-a", "-q")
        found = [file for name in ("cur", "new") for file in (folder / name).iterdir()]
        self.assertEqual(len(found), 20)
        for file in found[:5]:
            file.rename(folder / "cur" / f"{file.name.partition(':')[0]}:2,S")
        (folder / "new" / "1.1.near").write_bytes(b"Subject: near\n\ny\n")
        self.server.run(mbsync, "-c", str(rc), "-a", "-q")
        self.assertEqual((ann.unseen("INBOX"), self.client("bob").unseen(ANNS)), (21, 16))
        before = sorted(path.name for path in Path(folder).glob("*/*"))
        self.server.run(mbsync, "-c", str(rc), "-a", "-q")
        self.assertEqual(sorted(path.name for path in Path(folder).glob("*/*")), before)
