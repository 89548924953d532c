"""The session of a client that sends us mail: one for each connection of SMTP, submission and LMTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailfw.mail.envelope import Client, Service
from mailfw.mail.reply import Reply
from mailfw.mail.verdict import Refuse
from mailfw.network import client_name
from mailfw.smtp import grammar, replies
from mailfw.smtp.commands import general, hello, message
from mailfw.smtp.extensions import Offer
from mailfw.smtp.extensions.xclient import Told
from mailfw.smtp.reception import Reception
from mailfw.smtp.replies import Rejected, encode
from mailfw.smtp.transaction import Transaction, heed
from mailfw.wire.interruptions import Disconnected, LineTooLong, ShuttingDown, TimedOut
from mailfw.wire.stream import Stream

log = Logger()

#: Refused commands that the event of a connection names.
REFUSALS_KEPT = 10
#: Commands whose argument may be shown in a log; never AUTH.
_SHOWN = frozenset({b"EHLO", b"HELO", b"LHLO", b"MAIL", b"RCPT", b"BDAT", b"ETRN", b"VRFY", b"XCLIENT"})
#: Commands that end a group whatever they are answered, since that changes what may follow (RFC 2920 section 3.1).
_LAST = frozenset({b"EHLO", b"HELO", b"LHLO", b"DATA", b"AUTH", b"STARTTLS", b"XCLIENT"})


class Session:
    """
    One connection.

    What a command returns is said by the loop; one that has said all itself returns None.  The public attributes are
    for the commands.
    """

    __slots__ = (
        "_commands",
        "_errors",
        "_failed_logins",
        "_junk",
        "_longest_line",
        "_messages",
        "_otherwise",
        "_over",
        "_refusals",
        "client",
        "logout",
        "origin",
        "peer",
        "reception",
        "settings",
        "stream",
        "told",
        "transaction",
    )

    def __init__(self, reception: Reception, stream: Stream) -> None:
        self.reception = reception
        self.settings = settings = reception.settings
        self.stream = stream
        self._commands = COMMANDS[settings.service]
        self._otherwise = replies.UNKNOWN_COMMAND
        address, port = stream.peer
        #: Whose connection it is, whoever the client may be.
        self.peer = address
        #: What is known since the connection was made; where EHLO and STARTTLS begin anew.
        self.origin = Client(settings.service, address, port)
        self.client = self.origin
        self.transaction: Transaction | None = None
        self.logout: Callable[[], object] | None = None
        #: What a trusted server in front of us has told of its client.
        self.told = Told()
        self._failed_logins = 0
        self._errors = 0
        self._junk = 0
        self._messages = 0
        self._refusals: list[str] = []
        self._over: str | None = None
        #: Octets of any command, one that may bring an initial response among them.
        self._longest_line = settings.command_line
        if settings.service is Service.SUBMISSION:
            self._longest_line = max(grammar.AUTH_LIMIT, settings.command_line)

    async def run(self) -> None:
        """Hold the conversation to its end."""
        began = self.reception.clock.seconds()
        self.stream.timeout = self.settings.timeout
        self.stream.minimum_rate = self.settings.minimum_rate
        try:
            await self.greet()
            while self._over is None:
                await self._next_command()
        except TimedOut:
            self._say_and_end("timeout", replies.TIMEOUT)
        except ShuttingDown:
            self._say_and_end("shutdown", replies.SHUTTING_DOWN)
        except Disconnected:
            self._over = "disconnection"
        except Exception:
            log.failure("A session ended by a fault of ours")
            self._over = "fault"
        await self.drop_transaction()
        if self.logout is not None:
            self.logout()
        self._log(began)

    def end(self, why: str) -> None:
        """Let this command be the last."""
        self._over = why

    def _say_and_end(self, why: str, reply: Reply) -> None:
        self._over = why
        self.stream.write(encode(reply))

    async def greet(self) -> None:
        """Say who we are, or what is to be said in place of that (RFC 5321 section 3.1)."""
        over = await self._not_to_be_served()
        if over is not None:
            self._say_and_end(*over)
            return
        verdict = await self.reception.policies.on_connect(self.origin)
        refusal = heed(verdict, self.origin)
        if refusal is None:
            self.stream.write(encode(self.reception.greeting()))
        elif isinstance(verdict, Refuse):
            self._commands, self._otherwise = REFUSED, replies.REFUSED_BEFORE
            self.stream.write(encode(replace(refusal, code=554)))
        else:
            self._say_and_end("deferred", replace(refusal, code=421))

    async def _not_to_be_served(self) -> tuple[str, Reply] | None:
        """Return why the connection ends before it has begun, and what is said then."""
        if self.reception.load.is_full:
            return "overload", replies.BUSY
        if self._has_made_too_many_mistakes:
            return "too many mistakes", replies.TOO_MANY_MISTAKES
        if self.settings.greeting_delay:
            await deferLater(self.reception.clock, self.settings.greeting_delay)
            if self.stream.buffered:
                return "spoke before the greeting", replies.TOO_EARLY
        return None

    # ------------------------------------------------------------ the loop

    async def _next_command(self) -> None:
        line = b""
        try:
            line = await self.stream.read_line(self._longest_line, idle=True)
            verb, argument = grammar.split_command(line)
            if len(line) > self.settings.command_line - 2 and verb != b"AUTH":
                raise Rejected(replies.LINE_TOO_LONG)
            if self.stream.buffered and self.settings.strict_pipelining:
                self._check_pipelining(verb)
            command = self._commands.get(verb)
            reply = await command(self, argument) if command is not None else self._otherwise
        except Rejected as rejected:
            reply = rejected.reply
        except LineTooLong:
            reply = replies.LINE_TOO_LONG
        except (Disconnected, TimedOut, ShuttingDown):
            raise
        except Exception:
            log.failure("A command failed: {command}", command=_shown(line))
            reply = replies.FAULT
        if reply is None:
            return
        if reply.code >= 400:
            reply = await self._count_refusal(line, reply)
        self.stream.write(encode(reply))

    def _check_pipelining(self, verb: bytes) -> None:
        """Refuse what was sent without waiting for an answer that had to be waited for."""
        if verb in _LAST or (not self.client.extended and verb != b"QUIT"):
            self._over = "improper pipelining"
            raise Rejected(replies.BAD_PIPELINING)

    async def _count_refusal(self, line: bytes, reply: Reply) -> Reply:
        """Note a refusal; too many are answered slowly, then no more (4yz is not the client's fault)."""
        if len(self._refusals) < REFUSALS_KEPT:
            self._refusals.append(f"{reply.code} {reply.status} {_shown(line)}")
        if reply.code >= 500:
            self._errors += 1
            self._count_mistake()
            if self._errors > self.settings.hard_errors:
                reply = replies.TOO_MANY_ERRORS
            elif self._errors > self.settings.soft_errors:
                self.stream.flush()
                await deferLater(self.reception.clock, self.settings.error_delay)
        if reply.code == 421:
            self._over = self._over or "refused"
        return reply

    # ------------------------------------------------------------ what commands ask and tell

    def offer(self) -> Offer:
        """Return what the client can have at this moment."""
        service, address = self.settings.service, self.origin.address
        return Offer(
            self.settings,
            secure=self.stream.is_secure,
            mechanisms=self.reception.mechanisms(self.stream),
            trusted=service is Service.LMTP or self.settings.relay.have(address),
            account=self.client.account,
            xclient=self.settings.xclient.have(self.peer),
            etrn=self.reception.etrn is not None,
            now=self.reception.clock.seconds(),
        )

    @property
    def is_known(self) -> bool:
        """Whether the client is a user of ours, or comes from a trusted network."""
        return self.client.account is not None or self.settings.relay.have(self.origin.address)

    @property
    def may_authenticate(self) -> bool:
        """Whether a password may be sent on this connection."""
        return self.stream.is_secure or self.settings.allow_plaintext_auth

    @property
    def has_had_enough(self) -> bool:
        """Whether the client has sent as many messages as one connection may have."""
        return 0 < self.settings.max_messages <= self._messages

    def verbs(self) -> list[str]:
        """Return the commands of this service, whether or not they can be used at this moment."""
        others = (general.not_implemented, general.foreign)
        return [verb.decode("ascii") for verb, command in self._commands.items() if command not in others]

    def count_message(self) -> None:
        """Note a message that was taken; it forgives errors."""
        self._messages += 1
        self._errors = self._junk = 0

    def count_junk(self) -> Reply | None:
        """Note a command that does nothing; return a reply where there were too many."""
        self._junk += 1
        return replies.TOO_MUCH_JUNK if 0 < self.settings.junk_commands < self._junk else None

    def count_login(self, reply: Reply) -> Reply:
        """Note a login that failed; return what is to be answered."""
        if reply in (replies.AUTH_FAILED, replies.AUTH_THROTTLED):
            self._failed_logins += 1
            if self._failed_logins >= self.settings.login_attempts:
                return replies.TOO_MANY_LOGINS
        return reply

    async def drop_transaction(self) -> None:
        """Forget the message that is under way, if any."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None and transaction.has_begun:
            await transaction.abandon()

    def begin_anew(self, told: Told) -> bool:
        """
        Forget the client, and take another in its place, of whom somebody has told us that we trust.

        Return whether that one may have another connection.
        """
        if self.logout is not None:
            self.logout()
            self.logout = None
        address = told.address if told.address is not None else self.origin.address
        port = told.port if told.port is not None else self.origin.port
        self.told = told
        self.stream.peer = address, port
        self.origin = self.client = Client(self.settings.service, address, port, account=told.login)
        self._failed_logins = self._errors = self._junk = 0
        return self.stream.moved(address)

    # ------------------------------------------------------------ mistakes over several connections

    def _count_mistake(self) -> None:
        if self.reception.mistakes is not None and self._is_counted:
            self.reception.mistakes.take(client_name(self.origin.address))

    @property
    def _has_made_too_many_mistakes(self) -> bool:
        mistakes = self.reception.mistakes
        return mistakes is not None and self._is_counted and mistakes.is_spent(client_name(self.origin.address))

    @property
    def _is_counted(self) -> bool:
        address = self.origin.address
        return bool(address) and not self.settings.exempt.have(address)

    def _log(self, began: float) -> None:
        client, ended = self.client, self._over
        log.info(
            "{event}",
            event=(
                f"Connection by {client.service.value} from {client.address} ended by {ended}: "
                f"{self._messages} messages, {self._errors} errors {self._refusals}"
            ),
            service=client.service.value,
            address=client.address,
            port=client.port,
            helo=client.helo,
            tls=client.tls,
            account=client.account,
            end=ended,
            messages=self._messages,
            errors=self._errors,
            refusals=self._refusals,
            seconds=self.reception.clock.seconds() - began,
        )


def _shown(line: bytes) -> str:
    """Return as much of a command as may be seen in a log, free of control characters."""
    verb, _, argument = line[:200].partition(b" ")
    return ascii((verb + b" " + argument if verb.upper() in _SHOWN else verb[:12]).decode("utf-8", "replace"))


Command = Callable[[Session, str], Awaitable[Reply | None]]

_COMMON: Mapping[bytes, Command] = {
    b"MAIL": message.mail,
    b"RCPT": message.rcpt,
    b"DATA": message.data,
    b"BDAT": message.bdat,
    b"RSET": message.rset,
    b"NOOP": general.noop,
    b"VRFY": general.vrfy,
    b"ETRN": general.etrn,
    b"HELP": general.show_help,
    b"QUIT": general.leave,
    b"STARTTLS": hello.starttls,
    b"XCLIENT": hello.xclient,
    # known, and not for us                                                 RFC 5321 section 3.5.2 and appendix F
    b"EXPN": general.not_implemented,
    b"TURN": general.not_implemented,
    b"SEND": general.not_implemented,
    b"SOML": general.not_implemented,
    b"SAML": general.not_implemented,
    # a web browser, or a proxy
    b"GET": general.foreign,
    b"HEAD": general.foreign,
    b"POST": general.foreign,
    b"PUT": general.foreign,
    b"OPTIONS": general.foreign,
    b"CONNECT": general.foreign,
    b"PROXY": general.foreign,
}
_SMTP: Mapping[bytes, Command] = {b"EHLO": hello.ehlo, b"HELO": hello.helo, **_COMMON}

#: What each service understands.
COMMANDS: Mapping[Service, Mapping[bytes, Command]] = {
    Service.SMTP: {**_SMTP, b"AUTH": general.not_implemented},
    Service.SUBMISSION: {**_SMTP, b"AUTH": hello.auth},
    Service.LMTP: {b"LHLO": hello.ehlo, **_COMMON},
}
#: What a client may do that was refused in place of the greeting (RFC 5321 section 3.1).
REFUSED: Mapping[bytes, Command] = {b"QUIT": general.leave}
