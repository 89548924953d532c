"""
Reading, flags, APPEND and logins by IMAP beside Dovecot, on copies of the same maildir.

Run ``python -m bench.imap [--rounds 3] [--messages 10000]`` as root, with Debian's dovecot-imapd installed.  Both
servers are started again for each round.  Never seen means that nothing is indexed; cold is the first time after a
start, with files in the page cache; warm is every time after.  `bench.finding` has SEARCH, SORT and THREAD,
`bench.pop3` has POP3, and `bench.idle` connections that wait.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.corpus import make_maildir
from bench.measure import Results
from bench.peers import DOMAIN, PASSWORD, Peer, dovecot, mailfw

#: So many single messages are asked for; a server is given so many seconds to finish what it does by itself.
SINGLES, SETTLING = 480, 120
ONE = "UID FETCH {uid} (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"
ONE_BODY = "UID FETCH {uid} (UID BODY.PEEK[])"
METADATA = "FETCH 1:* (FLAGS UID INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"


class Connection:
    """A bare IMAP connection that reads fast and understands only tagged lines."""

    def __init__(self, port: int, user: str | None = "user0") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._tag = 0
        self._until(b"\r\n")
        if user is not None:
            self.command(f"LOGIN {user}@{DOMAIN} {PASSWORD}")

    def _until(self, mark: bytes) -> bytes:
        pieces = self._rest
        while mark not in pieces:
            octets = self.socket.recv(1 << 20)
            if not octets:
                raise EOFError(pieces[-200:])
            pieces += octets
        line, _, self._rest = pieces.partition(mark)
        return line + mark

    def send(self, command: str, more: bytes = b"") -> bytes:
        """Send a command and return its tag."""
        self._tag += 1
        tag = b"T%d" % self._tag
        self.socket.sendall(tag + b" " + command.encode() + b"\r\n" + more)
        return tag

    def finish(self, tag: bytes) -> int:
        """Read to the tagged line; return the octets read.  A literal that contains the tag would fool it."""
        mark, size, last = b"\r\n" + tag + b" ", 0, b"\r\n" + self._rest
        self._rest = b""
        while True:
            at = last.find(mark)
            if at >= 0:
                end = last.find(b"\r\n", at + len(mark))
                if end >= 0:
                    line = last[at + len(mark) : end]
                    if not line.startswith(b"OK"):
                        raise RuntimeError(line)
                    self._rest = last[end + 2 :]
                    return size + end
            octets = self.socket.recv(1 << 20)
            if not octets:
                raise EOFError(last[-200:])
            keep = at if at >= 0 else max(0, len(last) - len(mark))
            size += keep
            last = last[keep:] + octets

    def command(self, command: str, more: bytes = b"") -> int:
        """Send a command, wait for its end, return the octets of the answer."""
        return self.finish(self.send(command, more))

    def numbers(self, command: str, *codes: bytes) -> list[int]:
        """Send a command, and return the numbers that response codes of these names have."""
        tag, heard = self.send(command), b""
        while not (line := self.line()).startswith(tag + b" "):
            heard += line
        found = [re.search(rb"\[" + code + rb" ([0-9]+)\]", heard) for code in codes]
        return [int(each[1]) for each in found if each is not None]

    def line(self) -> bytes:
        """Return the next line."""
        return self._until(b"\r\n")

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def append(port: int, count: int, octets: bytes) -> None:
    """Append messages of 8 KB one after the other on one connection."""
    connection = Connection(port, "user2")
    for _ in range(count):
        connection.command(f"APPEND INBOX {{{len(octets)}+}}", octets + b"\r\n")
    connection.close()


class Work:
    """All the work on one server, one part after the other; `note` keeps a figure."""

    def __init__(self, results: Results, peer: Peer, messages: int) -> None:
        self._results, self._peer, self._messages = results, peer, messages
        self._port = peer.ports["imap"]
        chance = random.Random(5)
        self._uids = [chance.randrange(1, messages) for _ in range(SINGLES)]

    def note(self, row: str, figure: float, unit: str = "s", better: str = "less") -> None:
        """Keep a figure."""
        self._results.note(row, self._peer.name, figure, unit, better)

    def look(self, state: str) -> None:
        """Open the mailbox and ask for everything that is known of all messages."""
        began = time.perf_counter()
        connection = Connection(self._port)
        connection.command("SELECT INBOX")
        self.note(f"LOGIN and SELECT, {state}", time.perf_counter() - began)
        self.note(f"FETCH 1:* of full metadata, {state}", timed(lambda: connection.command(METADATA)))
        connection.close()

    def settle(self) -> None:
        """Wait until the server has nothing to do of its own accord."""
        until = time.monotonic() + SETTLING
        while time.monotonic() < until:
            before = self._peer.cpu_seconds()
            time.sleep(1)
            if self._peer.cpu_seconds() - before < 0.1:
                return

    def read(self) -> None:
        """Read metadata, flags and bodies, of all messages and of single ones."""
        connection = Connection(self._port)
        self.note("SELECT, warm", timed(lambda: connection.command("SELECT INBOX")))
        self.note("FETCH 1:* of full metadata, warm", timed(lambda: connection.command(METADATA)))
        self.note("UID FETCH 1:* (FLAGS)", timed(lambda: connection.command("UID FETCH 1:* (FLAGS)")))
        sizes: list[int] = []
        seconds = timed(lambda: sizes.append(connection.command("FETCH 1:* BODY.PEEK[]")))
        self.note("FETCH 1:* BODY.PEEK[]", sizes[0] / seconds / 1e6, "MB/s", "more")
        for what, command in (("metadata", ONE), ("body", ONE_BODY)):
            seconds = timed(partial(self._singly, connection, command))
            self.note(f"UID FETCH of one random message, {what}", SINGLES / seconds, "a second", "more")
            seconds = timed(partial(self._pipelined, connection, command))
            self.note(f"the same, {what}, 16 pipelined", SINGLES / seconds, "a second", "more")
        connection.close()

    def _singly(self, connection: Connection, command: str) -> None:
        for uid in self._uids:
            connection.command(command.format(uid=uid))

    def _pipelined(self, connection: Connection, command: str) -> None:
        for start in range(0, SINGLES, 16):
            tags = [connection.send(command.format(uid=uid)) for uid in self._uids[start : start + 16]]
            for tag in tags:
                connection.finish(tag)

    def flag(self) -> None:
        """Change flags of all messages, and of single ones, each durable when it is acknowledged."""
        connection = Connection(self._port)
        connection.command("SELECT INBOX")
        seconds = timed(lambda: connection.command("STORE 1:* +FLAGS.SILENT (\\Flagged)"))
        self.note("STORE 1:* +FLAGS.SILENT", self._messages / seconds, "messages/s", "more")
        connection.command("STORE 1:* -FLAGS.SILENT (\\Flagged)")

        def stores() -> None:
            for uid in self._uids[:200]:
                connection.command(f"UID STORE {uid} +FLAGS.SILENT (\\Answered)")
                connection.command(f"UID STORE {uid} -FLAGS.SILENT (\\Answered)")

        self.note("UID STORE of one message", 400 / timed(stores), "a second", "more")
        connection.close()

    def resync(self) -> None:
        """Come back after a hundred changes of flags that another session has made."""
        other, connection = Connection(self._port), Connection(self._port)
        other.command("SELECT INBOX")
        connection.command("ENABLE QRESYNC")
        validity, modseq = connection.numbers("EXAMINE INBOX", b"UIDVALIDITY", b"HIGHESTMODSEQ")
        connection.command("UNSELECT")
        for number in range(100):
            other.command(f"UID STORE {self._uids[number]} {'+-'[number % 2]}FLAGS.SILENT ($Marked)")
        again = f"EXAMINE INBOX (QRESYNC ({validity} {modseq}))"
        self.note("QRESYNC after 100 changes", timed(lambda: connection.command(again)) * 1000, "ms")
        other.close()
        connection.close()

    def append(self) -> None:
        """Append messages of 8 KB, on one connection and on four."""
        octets = b"Subject: appended\r\n\r\n" + b"x" * 78 * 100 + b"\r\n"
        seconds = timed(lambda: append(self._port, 200, octets))
        self.note("APPEND 8 KB, one connection", 200 / seconds, "a second", "more")
        seconds = timed(lambda: at_once(4, append, self._port, 100, octets))
        self.note("APPEND 8 KB, 4 connections", 400 / seconds, "a second", "more")

    def log_in(self) -> None:
        """Log in, select and log out, eight users at a time; each has been here before."""
        logins(self._port, 1)
        self.note(
            "LOGIN, SELECT, LOGOUT, one at a time", 100 / timed(lambda: logins(self._port, 100)), "a second", "more"
        )
        seconds = timed(lambda: at_once(8, logins, self._port, 50))
        self.note("LOGIN, SELECT, LOGOUT, 8 at a time", 400 / seconds, "a second", "more")


def logins(port: int, count: int) -> None:
    """Log in, select and log out."""
    for _ in range(count):
        session = Connection(port, "user1")
        session.command("SELECT INBOX")
        session.command("LOGOUT")
        session.close()


def at_once(count: int, work: Callable[..., None], *arguments: object) -> None:
    """Do the same so many times at once."""
    threads = [threading.Thread(target=work, args=arguments) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Interleave the peers, round by round, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=10_000)
    chosen = parser.parse_args()
    results = Results()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        make_maildir(home / "template", chosen.messages)
        for target in (home / "mailfw" / "data" / "mail" / DOMAIN, home / "dovecot" / "mail"):
            target.mkdir(parents=True)
            subprocess.run(["cp", "-a", str(home / "template"), str(target / "user0")], check=True)
        for number in range(chosen.rounds):
            with mailfw(home / "mailfw") as ours, dovecot(home / "dovecot") as theirs:
                works = [Work(results, peer, chosen.messages) for peer in (theirs, ours)]
                for work in works:
                    work.look("cold" if number else "never seen")
                for work in works:
                    work.settle()
                for part in (Work.read, Work.flag, Work.resync, Work.append, Work.log_in):
                    for work in works:
                        part(work)
    finally:
        shutil.rmtree(home)
    print(results.table("mailfw", "Dovecot"))


if __name__ == "__main__":
    main()
