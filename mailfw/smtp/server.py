"""The session of a client that sends us mail: one for each connection of SMTP, submission and LMTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailfw.mail.envelope import Client, Service
from mailfw.mail.reply import Reply
from mailfw.mail.verdict import Refuse
from mailfw.smtp import authentication, grammar, replies
from mailfw.smtp.extensions import read_mail_options, read_rcpt_options
from mailfw.smtp.replies import Rejected, encode
from mailfw.smtp.settings import Reception
from mailfw.smtp.transaction import Transaction, heed
from mailfw.wire.stream import Disconnected, LineTooLong, ShuttingDown, Stream, TimedOut

log = Logger()

#: Refused commands that the event of a connection names.
REFUSALS_KEPT = 10
#: Commands whose argument may be shown in a log; never AUTH.
_SHOWN = frozenset({b"EHLO", b"HELO", b"LHLO", b"MAIL", b"RCPT"})


class Session:
    """
    One connection.

    Each command has one shape: order, parse, policy, effect, reply.  What a command returns is said by the
    loop; one that has said all itself returns None.
    """

    def __init__(self, reception: Reception, stream: Stream) -> None:
        self._reception = reception
        self._settings = settings = reception.settings
        self._stream = stream
        self._commands = COMMANDS[settings.service]
        self._otherwise = replies.UNKNOWN_COMMAND
        address, port = stream.peer
        #: What is known since the connection was made; where EHLO and STARTTLS begin anew.
        self._origin = Client(settings.service, address, port)
        self._client = self._origin
        self._transaction: Transaction | None = None
        self._logout: Callable[[], object] | None = None
        self._failed_logins = 0
        self._errors = 0
        self._messages = 0
        self._refusals: list[str] = []
        self._over: str | None = None

    async def run(self) -> None:
        """Hold the conversation to its end."""
        began = self._reception.clock.seconds()
        self._stream.timeout = self._settings.timeout
        try:
            await self._greet()
            while self._over is None:
                await self._next_command()
        except TimedOut:
            self._end("timeout", replies.TIMEOUT)
        except ShuttingDown:
            self._end("shutdown", replies.SHUTTING_DOWN)
        finally:
            if self._logout is not None:
                self._logout()
            self._log(began)

    def _end(self, why: str, reply: Reply) -> None:
        self._over = why
        self._stream.write(encode(reply))

    async def _greet(self) -> None:
        """Say who we are, or what a policy says in place of that (RFC 5321 section 3.1)."""
        verdict = await self._reception.policies.on_connect(self._origin)
        refusal = heed(verdict, self._origin)
        if refusal is None:
            self._stream.write(encode(self._reception.greeting()))
        elif isinstance(verdict, Refuse):
            self._commands, self._otherwise = REFUSED, replies.REFUSED_BEFORE
            self._stream.write(encode(replace(refusal, code=554)))
        else:
            self._end("deferred", replace(refusal, code=421))

    async def _next_command(self) -> None:
        line = b""
        try:
            line = await self._stream.read_line(grammar.COMMAND_LIMIT, idle=True)
            verb, argument = grammar.split_command(line)
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
        if reply is not None:
            if reply.code >= 400:
                reply = await self._count_refusal(line, reply)
            self._stream.write(encode(reply))

    async def _count_refusal(self, line: bytes, reply: Reply) -> Reply:
        """Note a refusal; too many are answered slowly, then no more (4yz is not the client's fault)."""
        if len(self._refusals) < REFUSALS_KEPT:
            self._refusals.append(f"{reply.code} {reply.status} {_shown(line)}")
        if reply.code >= 500:
            self._errors += 1
            if self._errors > self._settings.hard_errors:
                reply = replies.TOO_MANY_ERRORS
            elif self._errors > self._settings.soft_errors:
                self._stream.flush()
                await deferLater(self._reception.clock, self._settings.error_delay)
        if reply.code == 421:
            self._over = "refused"
        return reply

    # ------------------------------------------------------------ who is there

    async def _ehlo(self, argument: str) -> Reply:
        return await self._meet(argument, True) or self._reception.announcement(self._stream.is_secure)

    async def _helo(self, argument: str) -> Reply:
        return await self._meet(argument, False) or Reply(250, "", self._settings.hostname)

    async def _meet(self, argument: str, extended: bool) -> Reply | None:
        """Learn the client's name; a refusal leaves all as it was (RFC 5321 section 4.1.4)."""
        client = replace(
            self._origin,
            helo=grammar.parse_helo(argument),
            extended=extended,
            tls=self._stream.tls_version,
            account=self._client.account,
            findings=dict(self._origin.findings),
        )
        refusal = heed(await self._reception.policies.on_helo(client), client)
        if refusal is None:
            self._client = client
            self._transaction = None
        return refusal

    async def _starttls(self, argument: str) -> Reply | None:
        if self._settings.tls is None:
            return replies.NOT_IMPLEMENTED
        if self._stream.is_secure:
            return replies.TLS_ALREADY
        if self._transaction is not None:
            return replies.IN_TRANSACTION
        if self._client.account is not None:
            return replies.AUTH_ALREADY
        _no_argument(argument)
        self._stream.write(encode(replies.START_TLS))
        self._stream.start_tls(self._settings.tls)
        self._client = self._origin  # RFC 3207 section 4.2: all that was learnt in the clear is forgotten
        return None

    async def _auth(self, argument: str) -> Reply:
        portal, offered = self._reception.portal, self._reception.mechanisms(self._stream.is_secure)
        if portal is None:
            return replies.NOT_IMPLEMENTED
        if not self._client.helo:
            return replies.HELO_FIRST
        if self._client.account is not None:
            return replies.AUTH_ALREADY
        if self._transaction is not None:
            return replies.IN_TRANSACTION
        if not self._may_authenticate:
            return replies.AUTH_NEEDS_TLS
        mechanism, initial = grammar.parse_auth(argument)
        if mechanism not in offered:
            return replies.UNKNOWN_MECHANISM
        credentials = await authentication.converse(self._stream, mechanism, initial)
        try:
            account, self._logout = await authentication.judge(portal, credentials)
        except Rejected as rejected:
            return self._count_login(rejected.reply)
        self._client = replace(self._client, account=account)
        return replies.AUTH_OK

    @property
    def _may_authenticate(self) -> bool:
        return self._stream.is_secure or self._settings.allow_plaintext_auth

    def _count_login(self, reply: Reply) -> Reply:
        if reply is replies.AUTH_FAILED:
            self._failed_logins += 1
            if self._failed_logins >= self._settings.login_attempts:
                return replies.TOO_MANY_LOGINS
        return reply

    # ------------------------------------------------------------ a message

    async def _mail(self, argument: str) -> Reply:
        if not self._client.helo:
            return replies.HELO_FIRST
        if self._transaction is not None:
            return replies.NESTED_MAIL
        if self._settings.service is Service.SUBMISSION and self._settings.require_auth and not self._client.account:
            can_start_tls = self._settings.tls is not None and not self._may_authenticate
            return replies.TLS_FIRST if can_start_tls else replies.AUTH_FIRST
        sender, parameters = grammar.parse_mail(argument)
        options = read_mail_options(parameters)
        if not options.smtputf8 and not argument.isascii():
            return replies.NEEDS_SMTPUTF8
        transaction = Transaction(self._reception, self._client, sender, options)
        reply = await transaction.begin()
        if reply.is_positive:
            self._transaction = transaction
        return reply

    async def _rcpt(self, argument: str) -> Reply:
        transaction = self._transaction
        if transaction is None:
            return replies.MAIL_FIRST if self._client.helo else replies.HELO_FIRST
        recipient, parameters = grammar.parse_rcpt(argument)
        read_rcpt_options(parameters)
        if not argument.isascii() and not transaction.takes_international:
            return replies.NEEDS_SMTPUTF8
        return await transaction.add_recipient(recipient)

    async def _data(self, argument: str) -> Reply | None:
        transaction = self._transaction
        if transaction is None:
            return replies.MAIL_FIRST if self._client.helo else replies.HELO_FIRST
        if not transaction.has_recipients:
            return replies.NO_RECIPIENTS
        _no_argument(argument)
        answers = await transaction.receive(self._stream)
        self._transaction = None
        if transaction.is_endless:
            self._over = "endless message"
        if any(answer.is_positive for answer in answers):
            self._messages += 1
            self._errors = 0
        for answer in answers[:-1]:
            self._stream.write(encode(answer))
        return answers[-1]

    async def _rset(self, argument: str) -> Reply:
        _no_argument(argument)
        self._transaction = None
        return replies.OK

    # ------------------------------------------------------------ the rest

    async def _noop(self, argument: str) -> Reply:
        return replies.OK

    async def _help(self, argument: str) -> Reply:
        return replies.HELP

    async def _vrfy(self, argument: str) -> Reply:
        """Tell nobody who is here (RFC 5321 section 7.3)."""
        return replies.CANNOT_VERIFY if argument else replies.NO_ARGUMENT

    async def _quit(self, argument: str) -> Reply:
        _no_argument(argument)
        self._over = "quit"
        return replies.GOODBYE

    async def _not_implemented(self, argument: str) -> Reply:
        return replies.NOT_IMPLEMENTED

    async def _foreign(self, argument: str) -> Reply:
        """Cut off a web browser that was made to speak to us, before it comes to its body."""
        return replies.FOREIGN_PROTOCOL

    def _log(self, began: float) -> None:
        client = self._client
        log.info(
            "Connection by {service} from {address} ended by {end}: {messages} messages, {errors} errors {refusals}",
            service=client.service.value,
            address=client.address,
            port=client.port,
            helo=client.helo,
            tls=client.tls,
            account=client.account,
            end=self._over or "disconnection",
            messages=self._messages,
            errors=self._errors,
            refusals=self._refusals,
            seconds=self._reception.clock.seconds() - began,
        )


def _no_argument(argument: str) -> None:
    if argument:
        raise Rejected(replies.ARGUMENT_NOT_ALLOWED)


def _shown(line: bytes) -> str:
    """Return as much of a command as may be seen in a log, free of control characters."""
    verb, _, argument = line[:200].partition(b" ")
    return ascii((verb + b" " + argument if verb.upper() in _SHOWN else verb[:12]).decode("utf-8", "replace"))


Command = Callable[[Session, str], Awaitable[Reply | None]]

_COMMON: Mapping[bytes, Command] = {
    b"MAIL": Session._mail,
    b"RCPT": Session._rcpt,
    b"DATA": Session._data,
    b"RSET": Session._rset,
    b"NOOP": Session._noop,
    b"VRFY": Session._vrfy,
    b"HELP": Session._help,
    b"QUIT": Session._quit,
    b"STARTTLS": Session._starttls,
    # known, and not for us                                          RFC 5321 section 3.5.2 and appendix F, RFC 3030
    b"EXPN": Session._not_implemented,
    b"BDAT": Session._not_implemented,
    b"ETRN": Session._not_implemented,
    b"TURN": Session._not_implemented,
    b"SEND": Session._not_implemented,
    b"SOML": Session._not_implemented,
    b"SAML": Session._not_implemented,
    # a web browser
    b"GET": Session._foreign,
    b"HEAD": Session._foreign,
    b"POST": Session._foreign,
    b"PUT": Session._foreign,
    b"OPTIONS": Session._foreign,
    b"CONNECT": Session._foreign,
}
_SMTP: Mapping[bytes, Command] = {b"EHLO": Session._ehlo, b"HELO": Session._helo, **_COMMON}

#: What each service understands.
COMMANDS: Mapping[Service, Mapping[bytes, Command]] = {
    Service.SMTP: {**_SMTP, b"AUTH": Session._not_implemented},
    Service.SUBMISSION: {**_SMTP, b"AUTH": Session._auth},
    Service.LMTP: {b"LHLO": Session._ehlo, **_COMMON},
}
#: What a client may do that was refused in place of the greeting (RFC 5321 section 3.1).
REFUSED: Mapping[bytes, Command] = {b"QUIT": Session._quit}
