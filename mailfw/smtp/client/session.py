"""One connection to a server, from its greeting to our QUIT: who we are, what it can do, TLS, and logging in."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from mailfw.mail.hop import Hop, TLSLevel
from mailfw.mail.reply import Reply
from mailfw.sasl.channel import end_point
from mailfw.sasl.client import ClientExchange, ServerNotTrusted, client_exchange
from mailfw.sasl.exchange import Malformed
from mailfw.smtp.client.capabilities import Capabilities, read_capabilities
from mailfw.smtp.client.fitting import Compute
from mailfw.smtp.client.responses import LINE_LIMIT, NotSMTP, ReplyReader, read_single
from mailfw.smtp.client.settings import Patience
from mailfw.wire.interruptions import Disconnected, LineTooLong, TimedOut
from mailfw.wire.stream import Stream

#: What ends a connection beside what the server says.
WIRE_FAULTS = (Disconnected, TimedOut, LineTooLong, NotSMTP)

#: Challenges of one login; SCRAM has two.
_CHALLENGES = 8

NO_STARTTLS = Reply(454, "4.7.4", "TLS is required, but not offered")
NO_HANDSHAKE = Reply(454, "4.7.5", "The TLS handshake failed")
NO_AUTH = Reply(454, "4.7.4", "No way to log in there is both offered and safe")
NOT_TRUSTED = Reply(454, "4.7.5", "The server's certificate is not to be trusted")


class Unusable(Exception):
    """
    No mail can be handed over there now; `reply` is 4yz, or 5yz where the server said so itself.

    `tls` is what a TLS report calls it (RFC 8460 section 4.3), ``""`` where it has nothing to do with TLS;
    `in_clear` says that the handshake failed, and that it may be tried without TLS.
    """

    def __init__(self, reply: Reply, tls: str = "", in_clear: bool = False) -> None:
        super().__init__(reply)
        self.reply = reply
        self.tls = tls
        self.in_clear = in_clear


class Closing(Exception):
    """The server said 421: it closes the connection, whatever it was asked (RFC 5321 section 3.8)."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


class Secured(Protocol):
    """What TLS needs of us for one connection; it is what the transport is given for its handshake."""

    def judge(self, connection: Any) -> str:
        """Return ``""`` if the server's certificate is good enough, else why not (RFC 8460 section 4.3)."""


class Session:
    """
    A conversation with one host.

    `sent` counts its transactions; `is_open` turns false when nothing more may be said.  `must_reset` says that the
    server may think that a transaction has begun.  `flaw` is what is wrong with the server's certificate (RFC 8460
    section 4.3) where it is used all the same.
    """

    def __init__(self, stream: Stream, hop: Hop, patience: Patience, now: Callable[[], float]) -> None:
        """Begin with a stream that was just connected; `now` is its clock's time."""
        self.stream = stream
        self.hop = hop
        self.patience = patience
        self.offered = Capabilities()
        self.is_lmtp = hop.protocol == "lmtp"
        self.is_logged_in = False
        self.is_open = True
        self.must_reset = False
        self.sent = 0
        self.tls: str | None = None
        self.flaw = ""
        self._now = now

    # ------------------------------------------------------------ words

    async def reply(self) -> Reply:
        """Return the next reply.  Raises `Closing` and `WIRE_FAULTS`."""
        stream = self.stream
        line = await stream.read_line(LINE_LIMIT)
        reply = read_single(line) or (await self._rest(line)).reply
        if reply.code == 421:
            raise Closing(reply)
        return reply

    async def _rest(self, line: bytes) -> ReplyReader:
        """Read a reply to its end, which has the time of one line."""
        reader, patience = ReplyReader(), self.stream.timeout
        until = self._now() + patience
        try:
            while not reader.feed(line):
                self.stream.timeout = max(0.0, until - self._now())
                line = await self.stream.read_line(LINE_LIMIT)
        finally:
            self.stream.timeout = patience
        return reader

    async def ask(self, command: bytes, patience: float) -> Reply:
        """Say one command and return the reply to it."""
        self.stream.timeout = patience
        self.stream.write(command + b"\r\n")
        return await self.reply()

    async def quit(self) -> None:
        """Say goodbye and close."""
        if self.is_open:
            self.is_open = False
            with suppress(Closing, *WIRE_FAULTS):
                await self.ask(b"QUIT", self.patience.goodbye)
        self.stream.close()

    def abandon(self) -> None:
        """Close without a word: what the server would make of one is not known."""
        self.is_open = False
        self.stream.abort()

    # ------------------------------------------------------------ the beginning

    async def open(self, hostname: str, tls: Callable[[], Secured] | None, compute: Compute) -> None:
        """
        Do all that comes before the first message; `tls` makes what a handshake needs, None leaves it out.

        Raises `Unusable`; the connection is then closed.
        """
        doing = "connecting"
        try:
            if tls is not None and self.hop.tls.implicit:
                doing = "TLS"
                await self._handshake(tls())
            doing = "the greeting"
            await self._greet()
            doing = "EHLO"
            await self._hello(hostname)
            if not self.stream.is_secure and self.hop.tls.level is not TLSLevel.NONE and tls is not None:
                doing = "STARTTLS"
                if await self._start_tls(tls):
                    doing = "EHLO"
                    await self._hello(hostname)
            doing = "AUTH"
            await self._log_in(compute)
        except Closing as closing:
            self.abandon()
            raise Unusable(closing.reply)
        except Unusable as reason:
            if reason.tls and reason.reply is not NO_STARTTLS:
                self.abandon()
            await self.quit()
            raise
        except WIRE_FAULTS as fault:
            self.abandon()
            raise Unusable(Reply(451, "4.4.2", describe(fault, doing)))
        self.tls = self.stream.tls_version

    async def _greet(self) -> None:
        self.stream.timeout = self.patience.greeting
        greeting = await self.reply()
        if greeting.code != 220:
            raise Unusable(greeting if greeting.code >= 400 else _nonsense(greeting))

    async def _hello(self, hostname: str) -> None:
        """Say who we are, and forget what was known of the server (RFC 3207 section 4.2)."""
        self.offered = Capabilities()
        verb = "LHLO" if self.is_lmtp else "EHLO"
        self.stream.timeout = self.patience.command
        self.stream.write(f"{verb} {hostname}\r\n".encode("ascii"))
        reader = await self._rest(await self.stream.read_line(LINE_LIMIT))
        reply = reader.reply
        if reply.code == 250:
            self.offered = read_capabilities(reader.texts[1:])
            return
        if reply.code == 421:
            raise Closing(reply)
        if reply.code < 500 or self.is_lmtp:
            raise Unusable(reply if reply.code >= 400 else _nonsense(reply))
        # RFC 5321 section 3.2: a server that knows no EHLO may know HELO
        reply = await self.ask(f"HELO {hostname}".encode("ascii"), self.patience.command)
        if reply.code != 250:
            raise Unusable(reply if reply.code >= 400 else _nonsense(reply))

    async def _start_tls(self, tls: Callable[[], Secured]) -> bool:
        """Begin TLS where it is offered; return whether it is on."""
        optional = self.hop.tls.level is TLSLevel.MAY
        if "STARTTLS" not in self.offered:
            if optional:
                return False
            raise Unusable(NO_STARTTLS, "starttls-not-supported")
        reply = await self.ask(b"STARTTLS", self.patience.command)
        if reply.code != 220:
            if optional:
                return False
            raise Unusable(NO_STARTTLS, "starttls-not-supported")
        if self.stream.buffered:
            # Said before the handshake to be taken for an answer after it: somebody sits in between.
            raise NotSMTP("Octets behind the answer to STARTTLS")
        await self._handshake(tls())
        return True

    async def _handshake(self, secured: Secured) -> None:
        self.stream.timeout = self.patience.command
        self.stream.start_tls(secured)
        try:
            await self.stream.handshake()
        except (Disconnected, TimedOut):
            optional = self.hop.tls.level is TLSLevel.MAY and not self.hop.tls.implicit
            raise Unusable(NO_HANDSHAKE, "validation-failure", in_clear=optional)
        wrong = secured.judge(self.stream.tls)
        if wrong and self.hop.tls.is_test:
            self.flaw = wrong
        elif wrong:
            raise Unusable(Reply(NOT_TRUSTED.code, NOT_TRUSTED.status, f"{NOT_TRUSTED.text} ({wrong})"), wrong)

    # ------------------------------------------------------------ logging in

    async def _log_in(self, compute: Compute) -> None:
        login = self.hop.login
        if login is None:
            return
        exchange = client_exchange(
            self.offered.mechanisms,
            login.user,
            login.password,
            # whoever demands that there be no TLS, for a login, knows the way there
            self.stream.is_secure or self.hop.tls.level is TLSLevel.NONE,
            _bindings(self.stream.tls),
        )
        if exchange is None:
            raise Unusable(NO_AUTH)
        try:
            reply = await self._exchange(exchange, compute)
        except (Malformed, ServerNotTrusted) as reason:
            raise Unusable(Reply(454, "4.7.8", f"Login failed: {reason or 'the server makes no sense'}"))
        if reply.code != 235:
            # Ours to put right, not the sender's: never a reason to give mail back.
            raise Unusable(Reply(454, "4.7.8", f"Login refused: {reply.text}"))
        self.is_logged_in = True

    async def _exchange(self, exchange: ClientExchange, compute: Compute) -> Reply:
        first = exchange.first()
        initial = b"" if first is None else b" " + (b64encode(first) or b"=")  # RFC 4954 section 4
        reply = await self.ask(b"AUTH " + exchange.name.encode("ascii") + initial, self.patience.command)
        for _ in range(_CHALLENGES):
            if reply.code != 334:
                break
            try:
                answer = await compute(exchange.next, b64decode(reply.text, validate=True))
            except (Malformed, ServerNotTrusted, ValueError):
                await self.ask(b"*", self.patience.command)
                raise Malformed("a challenge that makes no sense")
            reply = await self.ask(b64encode(answer), self.patience.command)
        if reply.code == 235 and not exchange.is_complete:
            raise ServerNotTrusted("the server has not proved that it knows us")
        return reply


def _bindings(connection: Any) -> dict[str, bytes]:
    """Return what the -PLUS mechanisms bind a login to, by type (RFC 9266 section 2, RFC 5929 section 4)."""
    if connection is None:
        return {}
    bindings: dict[str, bytes] = {}
    if connection.get_protocol_version_name() == "TLSv1.3":
        bindings["tls-exporter"] = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    certificate = connection.get_peer_certificate()
    if certificate is not None and (fingerprint := end_point(certificate)) is not None:
        bindings["tls-server-end-point"] = fingerprint
    return bindings


def describe(fault: Exception, doing: str) -> str:
    """Say in words what happened to a connection."""
    if isinstance(fault, TimedOut):
        return f"Timed out at {doing}"
    if isinstance(fault, Disconnected):
        return f"Connection lost at {doing}"
    return f"No sensible answer to {doing}" + (f": {fault}" if str(fault) else "")


def _nonsense(reply: Reply) -> Reply:
    return Reply(451, "4.5.0", f"Unexpected answer: {reply.code} {reply.text}")
