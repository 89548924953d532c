"""
IMAP and POP3 beside Dovecot, on copies of the same maildir.

Run ``python -m bench.imap [--rounds 3] [--messages 10000]`` as root, with Debian's dovecot-imapd and dovecot-pop3d
installed.  Cold means: the server's first sight of that mailbox, with nothing indexed; warm is every time after.
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.corpus import make_maildir
from bench.measure import Results
from bench.peers import DOMAIN, PASSWORD, Peer, dovecot, mailfw

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


def run(results: Results, peer: Peer, messages: int, first: bool) -> None:
    """Do all the work once on one peer."""

    def note(row: str, figure: float, unit: str = "s", better: str = "less") -> None:
        results.note(row, peer.name, figure, unit, better)

    port = peer.ports["imap"]
    began = time.perf_counter()
    connection = Connection(port)
    if first:
        connection.command("SELECT INBOX")
        note("LOGIN and SELECT of a maildir never seen", time.perf_counter() - began)
        note("then FETCH 1:* of full metadata, cold", timed(lambda: connection.command(METADATA)))
    else:
        note("SELECT, warm", timed(lambda: connection.command("SELECT INBOX")))
    note("FETCH 1:* of full metadata, warm", timed(lambda: connection.command(METADATA)))
    note("UID FETCH 1:* (FLAGS)", timed(lambda: connection.command("UID FETCH 1:* (FLAGS)")))
    sizes: list[int] = []
    seconds = timed(lambda: sizes.append(connection.command("FETCH 1:* BODY.PEEK[]")))
    note("FETCH 1:* BODY.PEEK[]", sizes[0] / seconds / 1e6, "MB/s", "more")
    chance = random.Random(5)
    uids = [chance.randrange(1, messages) for _ in range(500)]

    def singles() -> None:
        for uid in uids:
            connection.command(f"UID FETCH {uid} (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")

    note("UID FETCH of one random message", len(uids) / timed(singles), "a second", "more")

    def pipelined() -> None:
        for start in range(0, len(uids), 16):
            tags = [
                connection.send(f"UID FETCH {uid} (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")
                for uid in uids[start : start + 16]
            ]
            for tag in tags:
                connection.finish(tag)

    note("the same, 16 pipelined", len(uids) / timed(pipelined), "a second", "more")
    seconds = timed(lambda: connection.command("STORE 1:* +FLAGS.SILENT (\\Flagged)"))
    note("STORE 1:* +FLAGS.SILENT", messages / seconds, "messages/s", "more")
    connection.command("STORE 1:* -FLAGS.SILENT (\\Flagged)")

    def stores() -> None:
        for uid in uids[:200]:
            connection.command(f"UID STORE {uid} +FLAGS.SILENT (\\Answered)")
            connection.command(f"UID STORE {uid} -FLAGS.SILENT (\\Answered)")

    note("UID STORE of one message", 400 / timed(stores), "a second", "more")
    note("SEARCH FROM", timed(lambda: connection.command("SEARCH FROM sender42@")))
    note("SEARCH TEXT", timed(lambda: connection.command("SEARCH TEXT letter-that-is-nowhere")))
    connection.close()
    octets = b"Subject: appended\r\n\r\n" + b"x" * 78 * 100 + b"\r\n"
    note("APPEND 8 KB, one connection", 200 / timed(lambda: append(port, 200, octets)), "a second", "more")

    def four() -> None:
        threads = [threading.Thread(target=append, args=(port, 100, octets)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    note("APPEND 8 KB, 4 connections", 400 / timed(four), "a second", "more")

    def logins(count: int) -> None:
        for _ in range(count):
            session = Connection(port, "user1")
            session.command("SELECT INBOX")
            session.command("LOGOUT")
            session.close()

    def eight() -> None:
        threads = [threading.Thread(target=logins, args=(25,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    note("LOGIN, SELECT, LOGOUT, 8 at a time", 200 / timed(eight), "a second", "more")


def notices(results: Results, peer: Peer, connections: int) -> None:
    """Measure how soon an idle session hears of a message that another appends, while many are idle."""
    port = peer.ports["imap"]
    watching = []
    for number in range(connections):
        session = Connection(port, f"user{3 + number % 10}")
        session.command("SELECT INBOX")
        session.send("IDLE")
        session.line()
        watching.append(session)
    delays = []
    for number in range(10):
        writer = Connection(port, f"user{3 + number}")
        writer.command("APPEND INBOX {12+}", b"Subject: x\r\n\r\n")
        began = time.perf_counter()
        watching[number].line()
        delays.append(time.perf_counter() - began)
        writer.close()
    results.note(
        "from APPEND's OK to another session's IDLE", peer.name, statistics.median(delays) * 1000, "ms", "less"
    )
    for session in watching:
        session.close()


def pop3(results: Results, peer: Peer) -> None:
    """Log in to the large maildrop, list it and take a thousand messages."""
    connection = socket.create_connection(("127.0.0.1", peer.ports["pop3"]), 60)
    file = connection.makefile("rb")
    file.readline()

    def say(line: str) -> None:
        connection.sendall(line.encode() + b"\r\n")

    def until_dot() -> int:
        size = 0
        while (line := file.readline()) != b".\r\n":
            size += len(line)
        return size

    def open_and_list() -> None:
        for line in (f"USER user0@{DOMAIN}", f"PASS {PASSWORD}", "UIDL"):
            say(line)
            if not file.readline().startswith(b"+OK"):
                raise RuntimeError(line)
        until_dot()

    results.note("POP3: login and UIDL of all", peer.name, timed(open_and_list), "s", "less")
    sizes: list[int] = []

    def retrieve() -> None:
        for number in range(1, 501):
            say(f"RETR {number}")
            file.readline()
            sizes.append(until_dot())

    seconds = timed(retrieve)
    results.note("POP3: RETR one at a time", peer.name, sum(sizes) / seconds / 1e6, "MB/s", "more")
    say("RSET")
    say("QUIT")
    connection.close()


def main() -> None:
    """Interleave the peers, round by round, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--idle", type=int, default=100)
    chosen = parser.parse_args()
    results = Results()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        make_maildir(home / "template", chosen.messages)
        ours_mail = home / "mailfw" / "data" / "mail" / DOMAIN
        theirs_mail = home / "dovecot" / "mail"
        for target in (ours_mail, theirs_mail):
            target.mkdir(parents=True)
            subprocess.run(["cp", "-a", str(home / "template"), str(target / "user0")], check=True)
        with mailfw(home / "mailfw") as ours, dovecot(home / "dovecot") as theirs:
            for number in range(chosen.rounds):
                for peer in (theirs, ours):
                    run(results, peer, chosen.messages, number == 0)
                    pop3(results, peer)
            for peer in (theirs, ours):
                notices(results, peer, chosen.idle)
    finally:
        shutil.rmtree(home)
    print(results.table("mailfw", "Dovecot"))


if __name__ == "__main__":
    main()
