"""IMAP clients that mean harm: they hear clear answers, in bounded memory, and who means well is served meanwhile."""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer, shared
from tests.mail.test_excess import excesses

#: Seconds that a neighbour waits for any answer, or that the server works until then: on a busy machine all wait.
_PATIENCE = 1.0
#: Kilobytes by which the server may grow at any moment: for commands, and for messages of 10 MB and more.
_FOR_COMMANDS, _FOR_MESSAGES = 60_000, 200_000
_LINE = 64 * 1024


class Neighbour:
    """A well-behaved session that goes on beside; `longest` is how long it had to wait for an answer."""

    def __init__(self, port: int, server: int) -> None:
        self._server = Path(f"/proc/{server}/stat")
        self._client = imaplib.IMAP4("127.0.0.1", port)
        self._client.login(f"ann@{DOMAIN}", PASSWORD)
        self._client.select("INBOX")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self.longest = 0.0
        self.answers = 0
        self._thread.start()

    def _go_on(self) -> None:
        while not self._over.wait(0.02):
            began, worked = time.monotonic(), self._work()
            answered = self._client.fetch("1", "(FLAGS ENVELOPE BODY.PEEK[])")[0]
            self.longest = max(self.longest, min(time.monotonic() - began, self._work() - worked))
            self.answers += answered == "OK"

    def _work(self) -> float:
        """Return the seconds of processor that the server has used."""
        fields = self._server.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.logout()


class Hostile:
    """A client that says what it likes."""

    def __init__(self, port: int, name: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self._inflate: zlib._Decompress | None = None
        self._heard = b""
        self.hear(b"* OK")
        if name:
            self.ask(b"LOGIN %b@%b {%d+}\r\n%b" % (name.encode(), DOMAIN.encode(), len(PASSWORD), PASSWORD.encode()))
            self.ask(b"SELECT INBOX")

    def say(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def hear(self, end: bytes) -> bytes:
        """Return all until a line that begins so, or the end of the connection."""
        pattern = re.compile(rb"(?m)^(?:%b|\* BYE)[^\r\n]*\r\n" % re.escape(end))
        at = 0
        while (found := pattern.search(self._heard, at)) is None:
            at = max(0, self._heard.rfind(b"\n", 0, max(0, len(self._heard) - 1)))
            try:
                octets = self.socket.recv(1 << 20)
            except ConnectionResetError:
                octets = b""
            if not octets:
                return self._heard
            self._heard += self._inflate.decompress(octets) if self._inflate is not None else octets
        heard, self._heard = self._heard[: found.end()], self._heard[found.end() :]
        return heard

    def ask(self, line: bytes) -> bytes:
        """Say a command while listening, and return all that is answered."""
        sending = threading.Thread(target=self._say_all, args=(b"a " + line + b"\r\n",))
        sending.start()
        heard = self.hear(b"a ")
        sending.join(30)
        return heard

    def _say_all(self, octets: bytes) -> None:
        with contextlib.suppress(OSError):  # the server hangs up on whoever says too much
            self.say(octets)

    def compress(self) -> None:
        assert b"a OK" in self.ask(b"COMPRESS DEFLATE")
        self._inflate = zlib.decompressobj(-15)

    def close(self) -> None:
        self.socket.close()


def _nested() -> Iterator[bytes]:
    for before in (
        b"SEARCH ",
        b"SEARCH RETURN ",
        b"SORT ",
        b"THREAD REFS UTF-8 ",
        b"FETCH 1 ",
        b"FETCH 1 BODY[HEADER.FIELDS ",
        b"STORE 1 FLAGS ",
        b'LIST "" ',
        b"LIST ",
        b"STATUS INBOX ",
        b"GETMETADATA ",
        b"SETMETADATA INBOX ",
        b"SETQUOTA x ",
        b"NOTIFY SET ",
        b"ESEARCH IN ",
        b"ID ",
        b"APPEND INBOX ",
        b"APPEND INBOX CATENATE ",
        b"SELECT INBOX ",
        b"CREATE x ",
    ):
        yield before + b"(" * 60_000
        yield before + b"(x " * 20_000
        yield before + b"(" * 30_000 + b")" * 30_000


def _prefixed(count: int) -> Iterator[bytes]:
    for word in (b"NOT ", b"OR ", b"FUZZY ", b"OR NOT (", b"UID NOT "):
        yield b"SEARCH " + word * count + b"ALL"
        yield b"SORT (DATE) UTF-8 " + word * count + b"ALL"


def _sets(octets: int) -> Iterator[bytes]:
    numbers = b",".join([b"%d" % number for number in range(1, octets // 7)])
    for each in (
        numbers,
        b"1:*," * (octets // 4) + b"1",
        b"4294967295:1," * (octets // 13) + b"*",
        b"1" * octets,
        b"," * octets,
    ):
        yield b"UID FETCH " + each + b" FLAGS"
        yield b"FETCH " + each + b" FLAGS"
        yield b"UID STORE " + each + b" +FLAGS.SILENT (x)"
        yield b"UID COPY " + each + b" Trash"
        yield b"UID EXPUNGE " + each
        yield b"SEARCH UID " + each + b" NOT " + each[: octets // 3]


class HostileReadingTests(SynchronousTestCase):
    """Eve and Mal, who may say lines of 4 MB, beside Ann."""

    timeout = 300

    def setUp(self) -> None:
        self.server = shared(
            type(self),
            lambda: RunningServer(
                "ann",
                "eve",
                "mal",
                settings=(f'imap_client=[{{accounts=["mal@{DOMAIN}"], line=4194304, command=8388608}}]',),
            ),
        )
        self.port = self.server.ports["imap"]
        for name in ("ann", "eve", "mal"):
            with imaplib.IMAP4("127.0.0.1", self.port) as client:
                client.login(f"{name}@{DOMAIN}", PASSWORD)
                if client.select("INBOX")[1] == [b"0"]:
                    client.append("INBOX", None, None, b"Subject: hello\r\n\r\nHow are you?\r\n")

    def client(self, name: str = "") -> Hostile:
        hostile = Hostile(self.port, name)
        self.addCleanup(hostile.close)
        return hostile

    def memory(self, name: str) -> int:
        assert self.server.process is not None
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{self.server.process.pid}/status").read_text())
        assert found is not None
        return int(found[1])

    @contextmanager
    def bounds(self, kilobytes: int) -> Iterator[None]:
        """Require that the server does not grow by more at any moment, and serves its neighbours."""
        assert self.server.process is not None
        neighbour = Neighbour(self.port, self.server.process.pid)
        before = self.memory("VmRSS")
        Path(f"/proc/{self.server.process.pid}/clear_refs").write_text("5")  # the peak begins anew
        try:
            yield
        finally:
            neighbour.end()
        grown = self.memory("VmHWM") - before
        self.assertGreater(neighbour.answers, 0)
        self.assertLess(neighbour.longest, _PATIENCE, "A neighbour had to wait")
        self.assertLess(grown, kilobytes, "The server took memory")
        self.assertIsNone(self.server.process.poll(), "The server ended")

    def answers(self, name: str, lines: Iterator[bytes], expected: bytes = rb"(?m)^a (OK|NO|BAD) |^\* BYE ") -> None:
        """Say lines in one session, in another where that is ended, and require answers."""
        hostile = self.client(name)
        for said, line in enumerate(lines, 1):
            heard = hostile.ask(line)
            self.assertRegex(heard, expected, line[:80])
            if b"* BYE" in heard or said % 15 == 0:  # 20 commands that are none end a session
                hostile.close()
                hostile = self.client(name)
        self.assertIn(b"a OK", hostile.ask(b"NOOP"))

    def test_parentheses_within_parentheses(self) -> None:
        with self.bounds(_FOR_COMMANDS):
            self.answers("eve", _nested(), rb"(?m)^a BAD |^\* BYE ")

    def test_nots_and_ors_without_end(self) -> None:
        with self.bounds(_FOR_COMMANDS):
            self.answers("eve", _prefixed(8000), rb"(?m)^a BAD |^\* BYE ")
            self.answers("eve", _prefixed(100_000), rb"(?m)^\* BYE That line is too long")
            self.answers("mal", _prefixed(100_000), rb"(?m)^a BAD ")

    def test_sets_of_a_megabyte(self) -> None:
        with self.bounds(_FOR_MESSAGES):
            self.answers("eve", _sets(_LINE // 2))
            self.answers("mal", _sets(1_000_000))

    def test_literals_beyond_all_numbers(self) -> None:
        with self.bounds(_FOR_COMMANDS):
            for size in (b"18446744073709551616", b"18446744073709551615", b"9" * 1000):
                for line in (b"LOGIN {%b}", b"LOGIN {%b+}"):
                    self.assertRegex(self.client().ask(line % size), rb"(?m)^a BAD |^\* BYE ")
                for line in (b"APPEND INBOX {%b}", b"SEARCH TEXT {%b}", b"SELECT {%b}"):
                    self.assertRegex(self.client("eve").ask(line % size), rb"(?m)^a (NO|BAD) \[TOOBIG\]")
                    self.assertRegex(self.client("eve").ask(line[:-1] % size + b"+}"), rb"(?m)^\* BYE ")
            pieces = b"TEXT {0+}\r\n " * 100_000
            self.assertRegex(self.client("eve").ask(b"SEARCH " + pieces), rb"(?m)^a BAD \[TOOBIG\]")

    def test_what_is_compressed_may_be_anything(self) -> None:
        with self.bounds(_FOR_COMMANDS):
            eve = self.client("eve")
            eve.compress()
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            bomb = b"".join([deflate.compress(b"\0" * (1 << 20)) for _ in range(256)]) + deflate.flush()
            eve._say_all(bomb)
            # What a system has received and nobody reads makes it reset the connection, and may cost the last word.
            self.assertIn(eve.hear(b"a ").rstrip(), (b"* BYE That line is too long", b""))
            eve = self.client("eve")
            eve.compress()
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            eve._say_all(deflate.compress(b"x NOOP\r\n" * 20_000 + b"a NOOP\r\n") + deflate.flush(zlib.Z_SYNC_FLUSH))
            self.assertEqual(eve.hear(b"a ").count(b"x OK"), 20_000)
            eve = self.client("eve")
            eve.compress()
            eve._say_all(b"\xff" * 1000)
            self.assertEqual(eve.hear(b"a "), b"")

    def test_messages_that_are_too_much_of_something(self) -> None:
        with self.bounds(_FOR_MESSAGES):
            eve = self.client("eve")
            for name, octets in excesses():
                heard = eve.ask(b"APPEND INBOX {%d+}\r\n%b" % (len(octets), octets))
                self.assertIn(b"a OK [APPENDUID", heard, name)
                for line in (
                    b"FETCH * (ENVELOPE BODYSTRUCTURE PREVIEW BODY.PEEK[HEADER.FIELDS (SUBJECT TO)])",
                    b"FETCH * (BODY.PEEK[1.1.1.1] BODY.PEEK[%b] BINARY.SIZE[1])" % b".".join([b"1"] * 150),
                    b"FETCH * (BINARY.PEEK[1]<1000000.1000> BODY.PEEK[999999] BODY.PEEK[TEXT]<1000000.1000>)",
                ):
                    self.assertRegex(eve.ask(line), rb"(?m)^a (OK|NO \[UNKNOWN-CTE\]) ", name)
            for line in (
                b"SEARCH TEXT nowhere BODY x",
                b"SEARCH OR FUZZY TEXT nowhere HEADER References a@b",
                b"SORT (SUBJECT FROM DISPLAYTO REVERSE DATE) UTF-8 ALL",
                b"THREAD REFS UTF-8 ALL",
                b"THREAD ORDEREDSUBJECT UTF-8 ALL",
                b"FETCH 1:* (%b)" % b" ".join([b"BINARY.SIZE[1] BODY.PEEK[%d]<0.1>" % at for at in range(1, 90)]),
            ):
                self.assertRegex(eve.ask(line), rb"(?m)^a (OK|NO \[UNKNOWN-CTE\]) ", line)

    def test_answers_that_nobody_takes(self) -> None:
        eve = self.client("eve")
        for _ in range(3):
            octets = b"Subject: large\r\n\r\n" + b"x" * 20_000_000
            self.assertIn(b"a OK", eve.ask(b"APPEND INBOX {%d+}\r\n%b" % (len(octets), octets)))
        with self.bounds(_FOR_COMMANDS):
            silent = [self.client("eve") for _ in range(5)]
            names = b" ".join([b"to"] * 4000)
            for each in silent:
                each.say(b"b UID FETCH 1:* (BODY.PEEK[] BODY.PEEK[HEADER.FIELDS (%b)])\r\n" % names * 3)
            time.sleep(2)
            for each in silent:
                each.close()
