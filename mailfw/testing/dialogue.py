"""Hold a whole conversation with a session, in memory, and compare every reply."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from mailfw.wire.protocol import SessionFactory, StreamProtocol


class PretendTransport(StringTransport):
    """A `StringTransport` that can start TLS, abort and be told apart from a secure one."""

    def __init__(self, address: str = "192.0.2.7", port: int = 40000) -> None:
        super().__init__()
        self.peerAddr = IPv4Address("TCP", address, port)
        self.tls_started = False
        self.aborted = False

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:  # noqa: N802, N803
        """Note that TLS begins; what follows is still exchanged in the clear."""
        self.tls_started = True
        alsoProvides(self, ISSLTransport)

    def getHandle(self) -> None:  # noqa: N802
        """Return no TLS connection: there is none."""

    def abortConnection(self) -> None:  # noqa: N802
        """Drop the connection."""
        self.aborted = True
        self.disconnecting = True


class Dialogue:
    """
    One connection to a session made by `factory`.

    `say` sends octets as one segment, `hear` returns all that was answered since.
    """

    def __init__(self, factory: SessionFactory, address: str = "192.0.2.7") -> None:
        self.transport = PretendTransport(address)
        self.protocol: StreamProtocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def say(self, octets: bytes) -> None:
        """Send octets to the session."""
        self.protocol.dataReceived(octets)

    def hear(self) -> bytes:
        """Take what the session has sent."""
        heard: bytes = self.transport.value()
        self.transport.clear()
        return heard

    @property
    def closed(self) -> bool:
        """Whether the session has closed the connection."""
        return bool(self.transport.disconnecting)

    def leave(self) -> None:
        """Close our side."""
        self.protocol.connectionLost(None)


def parse_script(script: str) -> list[tuple[str, str]]:
    """Read ``C:`` and ``S:`` lines; a blank line or one that begins with ``#`` is passed over."""
    steps: list[tuple[str, str]] = []
    for line in textwrap.dedent(script).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        matched = re.match(r"([CS]): ?(.*)\Z", line)
        if matched is None:
            raise ValueError(f"Neither C: nor S:: {line!r}")
        steps.append((matched[1], matched[2]))
    return steps


def hold_dialogue(case: SynchronousTestCase, factory: SessionFactory, script: str, **options: Any) -> Dialogue:
    """
    Play the ``C:`` lines to a session and compare all it says with the ``S:`` lines.

    Lines get CRLF.  In an expected line ``*`` matches anything and ``\\*`` an asterisk.  ``S:`` lines that follow
    a ``C:`` line are all it may answer.
    """
    dialogue = Dialogue(factory, **options)
    steps = parse_script(script)
    position = 0
    while position < len(steps):
        if steps[position][0] == "C":
            dialogue.say(steps[position][1].encode("utf-8", "surrogateescape") + b"\r\n")
            position += 1
            if position < len(steps) and steps[position][0] == "C":
                case.assertEqual(dialogue.hear(), b"", f"An answer too early, before {steps[position]}")
                continue
        expected: list[str] = []
        while position < len(steps) and steps[position][0] == "S":
            expected.append(steps[position][1])
            position += 1
        heard = dialogue.hear().decode("utf-8", "surrogateescape").split("\r\n")
        case.assertEqual(heard.pop(), "", "The last line has no CRLF")
        _compare(case, heard, expected)
    return dialogue


def _compare(case: SynchronousTestCase, heard: Sequence[str], expected: Sequence[str]) -> None:
    fits = len(heard) == len(expected) and all(
        _pattern(wanted).fullmatch(line) for line, wanted in zip(heard, expected, strict=True)
    )
    if not fits:
        case.fail("Expected:\n  " + "\n  ".join(expected) + "\nHeard:\n  " + "\n  ".join(heard))


def _pattern(expected: str) -> re.Pattern[str]:
    pieces = re.split(r"(?<!\\)\*", expected)
    return re.compile(".*".join(re.escape(piece.replace("\\*", "*")) for piece in pieces), re.DOTALL)


def run_now(case: SynchronousTestCase, coroutine: Any) -> Any:
    """Return the result of a coroutine that never has to wait."""
    return case.successResultOf(Deferred.fromCoroutine(coroutine))
