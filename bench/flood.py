"""
A client that costs little: pipelines, in one process, on as many connections as are asked for.

Run by others: ``python -m bench.flood PORT MESSAGES SESSIONS OCTETS ADDRESS…``; each session writes to one address.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

#: Replies to MAIL, RCPT and DATA, and to the message before them.
GROUP = 4
SENDER = "load@sender.example"


@dataclass
class Session:
    """One connection: what is still to be sent, and how many replies are awaited before the next message."""

    connection: socket.socket
    envelope: bytes
    left: int
    awaited: int = GROUP - 1


def envelope(address: str) -> bytes:
    """Return the commands before a message."""
    return f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{address}>\r\nDATA\r\n".encode()


def message(octets: int) -> bytes:
    """Return a message of about so many octets."""
    header = b"From: <load@sender.example>\r\nTo: you@bench.example\r\nSubject: a message\r\nMessage-ID: <1@x>\r\n\r\n"
    return header + b"x" * 70 + b"\r\n" + (b"x" * 70 + b"\r\n") * (octets // 72) + b".\r\n"


def greet(port: int, address: str, messages: int) -> Session:
    """Connect, and name what the first message is for."""
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    replies = connection.makefile("rb")
    replies.readline()
    connection.sendall(b"EHLO load.example\r\n")
    while replies.readline()[3:4] == b"-":
        pass
    connection.sendall(envelope(address))
    return Session(connection, envelope(address), messages)


def flood(port: int, messages: int, sessions: int, octets: int, addresses: Sequence[str]) -> None:
    """Send all of it."""
    selector = selectors.DefaultSelector()
    for number in range(sessions):
        session = greet(port, addresses[number % len(addresses)], messages // sessions)
        selector.register(session.connection, selectors.EVENT_READ, session)
    body = message(octets)
    while selector.get_map():
        for key, _ in selector.select():
            if not go_on(key.data, body):
                selector.unregister(key.fileobj)
                key.data.connection.close()


def go_on(session: Session, body: bytes) -> bool:
    """Take replies, and send what may follow; False when it is done."""
    heard = session.connection.recv(65536)
    for line in heard.splitlines():
        if line[:1] not in (b"2", b"3"):
            raise SystemExit(f"The server said {line!r}")
    session.awaited -= heard.count(b"\n")
    if not heard or session.awaited > 0:
        return bool(heard)
    session.left -= 1
    if session.left < 0:
        return False
    session.awaited = GROUP if session.left else 1
    session.connection.sendall(body + session.envelope if session.left else body)
    return True


def run(port: int, messages: int, sessions: int, octets: int, addresses: Sequence[str]) -> None:
    """Do it in a process of its own."""
    command = [sys.executable, "-m", "bench.flood", *map(str, (port, messages, sessions, octets)), *addresses]
    subprocess.run(command, check=True, timeout=600)


if __name__ == "__main__":
    flood(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
