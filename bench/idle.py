"""
What an idle connection costs: memory of all processes, shared pages counted once.

Run ``python -m bench.idle [--connections 1000] [--work imap smtp]`` as root, with Debian's dovecot-imapd and postfix
installed.  IMAP connections sit in IDLE, beside Dovecot, each account opened once before; SMTP connections have said
EHLO, in the clear and under TLS, beside Postfix.  Some connections of each kind are made first, so that what is counted
is the connections alone.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from bench.imap import Connection
from bench.measure import Results
from bench.peers import Peer, dovecot, mailfw, postfix
from mailfw.tls.self_signed import make_self_signed

ACCOUNTS = 10


class Closable(Protocol):
    """What is held open."""

    def close(self) -> None:
        """Let go of it."""


# ---------------------------------------------------------------- the connections


def watch(peer: Peer, connections: int) -> list[Connection]:
    """Open connections that sit in IDLE."""
    watching = []
    for number in range(connections):
        session = Connection(peer.ports["imap"], f"user{number % ACCOUNTS}")
        session.command("SELECT INBOX")
        session.send("IDLE")
        session.line()
        watching.append(session)
    return watching


def greet(peer: Peer, connections: int) -> list[socket.socket]:
    """Open connections that have said EHLO."""
    return [_greeted(peer) for _ in range(connections)]


def greet_secretly(peer: Peer, connections: int) -> list[socket.socket]:
    """Open connections that have said EHLO under TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opened: list[socket.socket] = []
    for _ in range(connections):
        plain = _greeted(peer)
        _ask(plain, b"STARTTLS\r\n")
        secret = context.wrap_socket(plain)
        _ask(secret, b"EHLO idle.example\r\n")
        opened.append(secret)
    return opened


def _greeted(peer: Peer) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", peer.ports["smtp"]), 60)
    _ask(connection, b"")
    _ask(connection, b"EHLO idle.example\r\n")
    return connection


def _ask(connection: socket.socket, words: bytes) -> None:
    """Say something, and read a reply to its end; the server says nothing after it."""
    if words:
        connection.sendall(words)
    heard = b""
    while not heard.endswith(b"\r\n") or heard.splitlines()[-1][3:4] == b"-":
        octets = connection.recv(4096)
        if not octets:
            raise RuntimeError(f"The server left after {heard!r}")
        heard += octets
    if heard[:1] not in b"2":
        raise RuntimeError(f"The server said {heard!r}")


# ---------------------------------------------------------------- the figures


def run(
    results: Results, peer: Peer, connections: int, what: str, connect: Callable[[Peer, int], Sequence[Closable]]
) -> None:
    """Note the memory that grows with the connections, and how fast they were opened."""
    first = connect(peer, ACCOUNTS)
    before, began = peer.memory_kilobytes(), time.perf_counter()
    opened = connect(peer, connections)
    results.note(f"{what}: opened", peer.name, connections / (time.perf_counter() - began), "a second")
    time.sleep(1)
    grown = (peer.memory_kilobytes() - before) / 1024
    results.note(f"{what}: memory of {connections:,}", peer.name, grown, "MB", "less")
    for session in (*first, *opened):
        session.close()


def run_smtp(results: Results, home: Path, connections: int) -> None:
    """Compare with Postfix; each figure is of a server that was started for it."""
    certificate = make_certificate(home)
    kinds = {"SMTP after EHLO": greet, "SMTP after EHLO under TLS": greet_secretly}
    for number, (what, connect) in enumerate(kinds.items()):
        with mailfw(home / f"mailfw-{number}", users=[]) as ours:
            run(results, ours, connections, what, connect)
        with postfix(home / f"postfix-{number}", certificate) as theirs:
            run(results, theirs, connections, what, connect)


def make_certificate(directory: Path) -> str:
    """Make a certificate, and return what Postfix's main.cf says of it."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    make_self_signed(certificate, key, ["mail.bench.example"])
    return f"smtpd_tls_cert_file = {certificate}\nsmtpd_tls_key_file = {key}\nsmtpd_tls_security_level = may\n"


def run_imap(results: Results, home: Path, connections: int) -> None:
    """Compare with Dovecot."""
    with mailfw(home / "mailfw") as ours:
        run(results, ours, connections, "IMAP in IDLE", watch)
    with dovecot(home / "dovecot") as theirs:
        run(results, theirs, connections, "IMAP in IDLE", watch)


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """Make a directory that every user may enter, for as long as it is needed."""
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def main() -> None:
    """Measure one peer after the other and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--work", nargs="*", choices=["imap", "smtp"], default=["imap", "smtp"])
    chosen = parser.parse_args()
    for name, measure, peer in (("imap", run_imap, "Dovecot"), ("smtp", run_smtp, "Postfix")):
        if name in chosen.work:
            results = Results()
            with directory() as home:
                measure(results, home, chosen.connections)
            print(results.table("mailfw", peer))


if __name__ == "__main__":
    main()
