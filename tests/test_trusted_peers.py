"""Whoever stands in front of a running server: the client it tells of is the one that is counted."""

from __future__ import annotations

import base64
import re
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.running import RunningServer, listen_anywhere

#: Where clients come from, as proxies tell it.
EVE, BOB = "203.0.113.9", "203.0.113.10"
WRONG = base64.b64encode(b"\0ann@localhost\0wrong").decode()
RIGHT = base64.b64encode(b"\0ann@localhost\0secret").decode()


class Connection:
    """Lines to and from a server, from an address of this machine."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30, (source, 0))
        self._file = self._socket.makefile("rwb")

    def say(self, line: str) -> None:
        self._file.write(line.encode() + b"\r\n")
        self._file.flush()

    def ask(self, line: str) -> str:
        """Return the last line of the answer."""
        self.say(line)
        return self.hear()

    def hear(self) -> str:
        while True:
            try:
                line: str = self._file.readline().decode().rstrip("\r\n")
            except ConnectionResetError:
                return ""
            if not re.match(r"\d{3}-|\* ", line):
                return line

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class TrustedPeersTests(SynchronousTestCase):
    def start(self, *settings: str) -> RunningServer:
        folder = Path(self.mktemp()).absolute()
        plain = ["--set=allow_plaintext_auth=true", "--set=limits.login_delay=0.01"]
        limits = [f"--set={each}" for each in settings]
        listening = listen_anywhere("smtp", "submission", "imap")
        server = RunningServer(folder, "--auth", "memory:ann@localhost:secret", *plain, *limits, *listening)
        self.addCleanup(server.stop)
        return server

    def connect(self, port: int, source: str = "127.0.0.1") -> Connection:
        connection = Connection(port, source)
        self.addCleanup(connection.close)
        return connection

    def proxied(self, port: int, client: str) -> Connection:
        connection = self.connect(port)
        connection.say(f"PROXY TCP4 {client} 127.0.0.1 4000 25")
        return connection

    def log_in(self, connection: Connection, secret: str) -> str:
        connection.hear()
        connection.ask("EHLO client.example")
        answer = connection.ask(f"AUTH PLAIN {secret}")[:9]
        connection.ask("QUIT")
        return answer

    def test_proxy(self) -> None:
        server = self.start(
            'trust.proxy=["127.0.0.1"]', "limits.connections_per_address=2", "limits.login_failures_per_address=3"
        )
        smtp, submission, imap = (server.ports[name] for name in ("smtp", "submission", "imap"))
        greetings = [self.proxied(smtp, EVE).hear()[:3] for _ in range(3)]
        self.assertEqual(greetings, ["220", "220", "421"], "connections of the client, not of the proxy")
        self.assertEqual(self.proxied(smtp, BOB).hear()[:3], "220")

        self.assertEqual([self.log_in(self.proxied(submission, EVE), WRONG) for _ in range(2)], ["535 5.7.8"] * 2)
        other = self.proxied(imap, EVE)
        other.say("a LOGIN ann@localhost wrong")
        self.assertEqual(other.hear()[:4], "a NO")
        refused = self.log_in(self.proxied(submission, EVE), RIGHT)
        self.assertEqual(refused[0], "4", "three failures by two protocols: not even the right password is looked at")
        self.assertEqual(self.log_in(self.proxied(submission, BOB), RIGHT), "235 2.7.0")

    def test_proxies_that_nobody_trusts(self) -> None:
        server = self.start('trust.proxy=["127.0.0.9"]')
        stranger = self.connect(server.ports["smtp"])
        self.assertEqual(stranger.hear()[:3], "220")
        self.assertEqual(stranger.ask(f"PROXY TCP4 {EVE} 127.0.0.1 4000 25")[:3], "421")
        self.assertNotIn(EVE, server.said.replace(f"PROXY TCP4 {EVE}", ""))
        trusted = self.connect(server.ports["smtp"], "127.0.0.9")
        self.assertEqual(trusted.ask("EHLO a"), "", "a proxy says at once whose connection it is")

    def test_xclient(self) -> None:
        server = self.start(
            'trust.xclient=["127.0.0.1"]', "limits.connections_per_address=1", "limits.login_failures_per_address=2"
        )
        port = server.ports["submission"]

        def told(client: str, secret: str) -> str:
            connection = self.connect(port)
            connection.hear()
            connection.say(f"XCLIENT ADDR={client} PORT=4000")
            return self.log_in(connection, secret)

        self.assertEqual([told(EVE, WRONG) for _ in range(2)], ["535 5.7.8"] * 2)
        self.assertEqual(told(EVE, RIGHT)[0], "4")
        self.assertEqual(told(BOB, RIGHT), "235 2.7.0")
        first, second = self.connect(port), self.connect(port)
        for connection, code in ((first, "220"), (second, "421")):
            connection.hear()
            self.assertEqual(connection.ask(f"XCLIENT ADDR={BOB}")[:3], code)
        self.assertEqual(self.log_in(self.connect(port), RIGHT), "235 2.7.0", "the server's own address is exempt")
        stranger = self.connect(port, "127.0.0.2")
        stranger.hear()
        self.assertEqual(stranger.ask(f"XCLIENT ADDR={BOB}")[:3], "550")
