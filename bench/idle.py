"""
What an idle connection costs: memory of all processes, shared pages counted once.

Run ``python -m bench.idle [--connections 1000] [--work imap smtp] [--alone]`` as root, with Debian's dovecot-imapd and
postfix installed.  IMAP connections sit in IDLE, beside Dovecot, and SMTP connections have said EHLO, beside Postfix,
in the clear and under TLS.  Some connections of each kind are made first, so that what is counted is the connections
alone.  While the IMAP ones wait a message is appended now and then: how soon does who watches hear of it?  With
``--alone`` there is no other server: 10,000 are more than those bear here.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import resource
import shutil
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.imap import Connection
from bench.measure import Results
from bench.peers import DOMAIN, PASSWORD, Peer, dovecot, mailfw, postfix
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


def watch_secretly(peer: Peer, connections: int) -> list[Connection]:
    """The same under TLS."""
    watching = []
    for number in range(connections):
        session = Connection(peer.ports["imap"], None)
        session.command("STARTTLS")
        session.socket = _careless().wrap_socket(session.socket)
        session.command(f"LOGIN user{number % ACCOUNTS}@{DOMAIN} {PASSWORD}")
        session.command("SELECT INBOX")
        session.send("IDLE")
        session.line()
        watching.append(session)
    return watching


@functools.cache
def _careless() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def greet(peer: Peer, connections: int) -> list[socket.socket]:
    """Open connections that have said EHLO."""
    return [_greeted(peer) for _ in range(connections)]


def greet_secretly(peer: Peer, connections: int) -> list[socket.socket]:
    """Open connections that have said EHLO under TLS."""
    opened: list[socket.socket] = []
    for _ in range(connections):
        plain = _greeted(peer)
        _ask(plain, b"STARTTLS\r\n")
        secret = _careless().wrap_socket(plain)
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
    if connect is watch:
        results.note(f"{what}: from APPEND's OK to a watcher", peer.name, _delay(peer, opened[:ACCOUNTS]), "ms", "less")
    for session in (*first, *opened):
        session.close()


def _delay(peer: Peer, watching: Sequence[Any]) -> float:
    """Return the median of milliseconds until a session hears of what another has appended."""
    delays = []
    for session, number in zip(watching, range(ACCOUNTS), strict=True):
        writer = Connection(peer.ports["imap"], f"user{number}")
        writer.command("APPEND INBOX {14+}", b"Subject: x\r\n\r\n\r\n")
        began = time.perf_counter()
        while b" EXISTS" not in session.line():
            pass
        delays.append(time.perf_counter() - began)
        writer.close()
    return statistics.median(delays) * 1000


def run_smtp(results: Results, home: Path, connections: int, alone: bool) -> None:
    """Compare with Postfix; each figure is of a server that was started for it."""
    certificate = make_certificate(home)
    kinds = {"SMTP after EHLO": greet, "SMTP after EHLO under TLS": greet_secretly}
    for number, (what, connect) in enumerate(kinds.items()):
        with mailfw(home / f"mailfw-{number}", users=[]) as ours:
            run(results, ours, connections, what, connect)
        if alone:
            continue
        with postfix(home / f"postfix-{number}", certificate) as theirs:
            run(results, theirs, connections, what, connect)


_POSTFIX_TLS = "smtpd_tls_cert_file = {certificate}\nsmtpd_tls_key_file = {key}\nsmtpd_tls_security_level = may\n"


def make_certificate(directory: Path, words: str = _POSTFIX_TLS) -> str:
    """Make a certificate, and return what a server's configuration says of it."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    make_self_signed(certificate, key, ["mail.bench.example"])
    return words.format(certificate=certificate, key=key)


def run_imap(results: Results, home: Path, connections: int, alone: bool) -> None:
    """Compare with Dovecot; each figure is of a server that was started for it."""
    certificate = make_certificate(home, "ssl = yes\nssl_cert = <{certificate}\nssl_key = <{key}\n")
    kinds = {"IMAP in IDLE": watch, "IMAP in IDLE under TLS": watch_secretly}
    for number, (what, connect) in enumerate(kinds.items()):
        with mailfw(home / f"mailfw-{number}", "imap.sessions=0") as ours:
            run(results, ours, connections, what, connect)
        if alone:
            continue
        with dovecot(home / f"dovecot-{number}", more=certificate) as theirs:
            run(results, theirs, connections, what, connect)


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
    parser.add_argument("--alone", action="store_true")
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    for name, measure, peer in (("imap", run_imap, "Dovecot"), ("smtp", run_smtp, "Postfix")):
        if name in chosen.work:
            results = Results()
            with directory() as home:
                measure(results, home, chosen.connections, chosen.alone)
            print(results.table("mailfw", peer))


if __name__ == "__main__":
    main()
