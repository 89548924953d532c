"""Bad input on every port: a clear error, bounded memory, and the neighbours undisturbed."""

from __future__ import annotations

import imaplib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer, shared


class BadInputTests(SynchronousTestCase):
    """Spoken by hand over a socket, while a well-behaved session goes on."""

    def setUp(self) -> None:
        self.server = shared(
            type(self),
            lambda: RunningServer("ann", settings=("limits.message_size=60000000", "limits.strict_pipelining=false")),
        )
        self.neighbour = imaplib.IMAP4("127.0.0.1", self.server.ports["imap"])
        self.neighbour.login(f"ann@{DOMAIN}", PASSWORD)
        self.neighbour.select("INBOX")
        self.addCleanup(self.neighbour.logout)
        self.addCleanup(self.check_neighbour)  # which runs before the one above

    def check_neighbour(self) -> None:
        self.assertEqual(self.neighbour.noop()[0], "OK", "The neighbour was disturbed")
        assert self.server.process is not None
        self.assertIsNone(self.server.process.poll(), "The server ended")

    @contextmanager
    def connect(self, port: str) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.server.ports[port]), 20) as connection:
            connection.recv(4096)
            yield connection

    def talk(self, port: str, *pieces: bytes) -> bytes:
        """Send all pieces, half-close, and return all that is answered."""
        with self.connect(port) as connection:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            return self.rest(connection)

    @staticmethod
    def rest(connection: socket.socket) -> bytes:
        answer = b""
        try:
            while octets := connection.recv(65536):
                answer += octets
        except ConnectionResetError:
            pass
        return answer

    def resident(self) -> int:
        assert self.server.process is not None
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])

    def test_half_closed_connections_get_their_answers(self) -> None:
        self.assertRegex(self.talk("smtp", b"EHLO x\r\nNOOP\r\n"), rb"250 2\.0\.0 [^\r]*\r\n\Z")
        self.assertIn(b"a OK", self.talk("imap", b"a NOOP\r\n"))
        self.assertIn(b"+OK", self.talk("pop3", b"CAPA\r\n"))

    def test_a_half_closed_client_still_hears_that_its_message_is_kept(self) -> None:
        answer = self.talk(
            "smtp",
            b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ann@interop.example>\r\nDATA\r\n",
            b"Subject: half closed\r\n\r\nx\r\n.\r\n",
        )
        self.assertRegex(answer, rb"354 [^\r]*\r\n250 2\.0\.0 [^\r]*\r\n\Z")

    def test_lines_without_end_cost_no_memory(self) -> None:
        before = self.resident()
        for port, answer in (("smtp", rb"500 "), ("imap", rb"BAD|BYE"), ("pop3", rb"-ERR")):
            with self.connect(port) as connection:
                try:
                    for _ in range(200):
                        connection.sendall(b"x" * 65536)
                    connection.sendall(b"\r\n")
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    continue
                self.assertRegex(self.rest(connection), answer)
        self.assertLess(self.resident() - before, 20_000)

    def test_nul_and_eight_bit_in_commands(self) -> None:
        self.assertRegex(self.talk("smtp", b"EHLO a\0b\r\nQUIT\r\n"), rb"50[01] ")
        self.assertRegex(self.talk("smtp", b"\xff\xfe\r\nQUIT\r\n"), rb"500 ")
        self.assertRegex(self.talk("imap", b"a LOGIN a\0b c\r\n"), rb"BAD")
        self.assertRegex(self.talk("imap", b"\xff\xfe \xff\r\n"), rb"BAD")
        self.assertRegex(self.talk("pop3", b"USER a\0b\r\n\xff\r\n"), rb"-ERR[^\r]*\r\n-ERR")

    def test_wrong_order_and_unknown_commands(self) -> None:
        self.assertRegex(self.talk("smtp", b"RCPT TO:<ann@interop.example>\r\n"), rb"503 ")
        self.assertRegex(self.talk("smtp", b"EHLO x\r\nDATA\r\nBOGUS\r\n"), rb"503 [^\r]*\r\n50[02] ")
        self.assertRegex(self.talk("imap", b"a FETCH 1 FLAGS\r\nb BOGUS\r\n"), rb"a (BAD|NO)[^\r]*\r\nb BAD")
        self.assertRegex(self.talk("pop3", b"RETR 1\r\nBOGUS\r\n"), rb"-ERR[^\r]*\r\n-ERR")

    def test_a_refused_literal_is_never_run_as_a_command(self) -> None:
        login = f"a LOGIN ann@{DOMAIN} {{{len(PASSWORD)}+}}\r\n{PASSWORD}\r\n".encode()
        payload = b"x CREATE injected\r\n"
        answer = self.talk(
            "imap", login, b"b CREATE {%d+}\r\n" % len(payload), payload, b'\r\nc LIST "" *\r\nd LOGOUT\r\n'
        )
        self.assertNotRegex(answer, rb"\r\nx |injected")
        self.assertIn(b"c OK", answer)

    def test_huge_literals_are_refused_before_they_come(self) -> None:
        answer = self.talk("imap", b"a LOGIN {4000000000}\r\n")
        self.assertRegex(answer, rb"a (BAD|NO)|BYE")
        self.assertNotIn(b"+ ", answer)
        login = f"a LOGIN ann@{DOMAIN} {{{len(PASSWORD)}+}}\r\n{PASSWORD}\r\n".encode()
        self.assertRegex(self.talk("imap", login, b"b APPEND INBOX {4000000000}\r\n"), rb"b NO \[TOOBIG\]")

    def test_an_unfinished_append_leaves_nothing(self) -> None:
        login = f"a LOGIN ann@{DOMAIN} {{{len(PASSWORD)}+}}\r\n{PASSWORD}\r\n".encode()
        before = self.neighbour.select("INBOX")[1]
        self.talk("imap", login, b"b APPEND INBOX {1000+}\r\nSubject: half")
        self.assertEqual(self.neighbour.select("INBOX")[1], before)
        self.assertEqual(list((self.server.home / "data").glob("spool/drafts/*")), [])

    def test_mailbox_names_stay_inside(self) -> None:
        login = f"a LOGIN ann@{DOMAIN} {{{len(PASSWORD)}+}}\r\n{PASSWORD}\r\n".encode()
        names = rb'"../../escape" ".." "a/../b" "a//b" "/etc" "&bad" "&AGE-" "a\0b" "x/"'.split()
        names.append(b'"' + b"n" * 3000 + b'"')
        outside = {path for path in self.server.home.rglob("*") if "data" not in path.parts}
        for name in names:
            answer = self.talk("imap", login, b"b CREATE " + name + b"\r\nc NOOP\r\n")
            self.assertRegex(answer, rb"b (OK|NO|BAD)")
            self.assertIn(b"c OK", answer)
        self.assertEqual({path for path in self.server.home.rglob("*") if "data" not in path.parts}, outside)
        self.assertEqual(list(self.server.home.parent.glob("escape*")), [])

    def test_a_message_of_fifty_megabytes_costs_no_memory(self) -> None:
        before = self.resident()
        line = b"x" * 76 + b"\r\n"
        answer = self.talk(
            "smtp",
            b"EHLO x\r\nMAIL FROM:<a@b.example> SIZE=50000000\r\nRCPT TO:<ann@interop.example>\r\nDATA\r\n",
            b"Subject: fifty\r\n\r\n",
            *[line * 1000] * 640,
            b".\r\n",
        )
        self.assertRegex(answer, rb"354 [^\r]*\r\n250 ")
        self.assertLess(self.resident() - before, 30_000, "Receiving 50 MB took memory")
        [name] = re.findall(rb"Taken as (\w+)", answer)
        self.server.wait_for(f"Message {name.decode()} by mailbox, attempt 1: 1 delivered")
        self.neighbour.noop()
        number = self.neighbour.search(None, "SUBJECT", "fifty")[1][0].decode()
        size = re.search(r"SIZE (\d+)", str(self.neighbour.fetch(number, "(RFC822.SIZE)")))
        assert size is not None
        self.assertGreater(int(size[1]), 49_920_000)
        self.assertLess(self.resident() - before, 30_000)

    def test_smuggled_messages_are_refused(self) -> None:
        inside = b"MAIL FROM:<smuggled@evil.example>\r\nRCPT TO:<ann@interop.example>\r\nDATA\r\n"
        for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\n.\r\r\n"):
            answer = self.talk(
                "smtp",
                b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ann@interop.example>\r\nDATA\r\n",
                b"Subject: outer\r\n\r\nx" + end + inside + b"y\r\n.\r\nQUIT\r\n",
            )
            replies = re.findall(rb"(?m)^(\d{3}) ", answer)
            self.assertEqual(replies.count(b"354"), 1, answer)
            self.assertEqual(replies.count(b"221"), 1, answer)
