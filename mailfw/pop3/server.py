"""One POP3 session: a connection from its greeting to its end."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, ClassVar

from twisted.logger import Logger

from mailfw.interfaces import IAccount, IContent
from mailfw.pop3 import grammar, responses
from mailfw.pop3.body import Cutter, DotStuffer
from mailfw.pop3.grammar import Authentication, BadSyntax, Top, parse_command
from mailfw.pop3.maildrop import Maildrop
from mailfw.pop3.responses import END, Refused, err, lines, ok
from mailfw.pop3.settings import Access
from mailfw.sasl.credentials import UsernamePassword
from mailfw.sasl.exchange import Cancelled, Malformed, NotBase64, Throttled, Unavailable
from mailfw.sasl.exchange import Refused as LoginRefused
from mailfw.sasl.logins import Login
from mailfw.wire.stream import Disconnected, LineTooLong, ShuttingDown, Stream, TimedOut

log = Logger()

#: Octets of a message, and lines of a listing, between two looks whether the client still takes them.
CHUNK = 128 * 1024
BATCH = 1000

#: What is answered to an exchange that comes to no judgement.
_WRONG: Mapping[type[Exception], bytes] = {
    NotBase64: responses.NOT_BASE64,
    Malformed: responses.BAD_EXCHANGE,
    Cancelled: responses.CANCELLED,
    Unavailable: responses.UNAVAILABLE,
    LineTooLong: responses.LINE_TOO_LONG,
}


class When(enum.Enum):
    """In which state of RFC 1939 section 3 a command may come."""

    ANY = enum.auto()
    AUTHORIZATION = enum.auto()
    TRANSACTION = enum.auto()


class Session:
    """Reads commands and answers them, one at a time and in order."""

    def __init__(self, stream: Stream, access: Access) -> None:
        self._stream = stream
        self._access = access
        self._settings = access.settings
        self._name: bytes | None = None
        self._account: IAccount | None = None
        self._log_out: Callable[[], object] | None = None
        self._maildrop: Maildrop | None = None
        self._errors = 0
        self._failed_logins = 0
        self._octets = 0
        self._within_message = False
        self._over = False

    async def run(self) -> None:
        """Hold the session.  Its end is in the log, and its maildrop is free again."""
        self._stream.timeout = self._settings.timeout
        self._stream.write(self._access.greeting())
        ending = "fault"
        try:
            while not self._over:
                await self._answer_next()
                await self._stream.give_way()
            ending = "closed"
        except Disconnected:
            ending = "lost"
        except TimedOut:
            ending = "timeout"  # RFC 1939 section 3: no response, and nothing is removed
        except ShuttingDown:
            self._stream.write(responses.SHUTTING_DOWN)  # POP3 has no farewell of its own: RFC 3206 section 4 serves
            ending = "shutdown"
        finally:
            if self._maildrop is not None:
                await self._maildrop.close()
            self._release()
            self._report(ending)

    async def _answer_next(self) -> None:
        try:
            line = await self._stream.read_line(grammar.LINE_LIMIT, idle=True)
        except LineTooLong:
            self._refuse(responses.LINE_TOO_LONG)
            return
        if grammar.is_http(line):
            self._end(responses.UNKNOWN_COMMAND)
            return
        try:
            await self._obey(line)
        except BadSyntax as broken:
            self._refuse(err(str(broken)))
        except Refused as refused:
            self._refuse(refused.response)
        except (Disconnected, TimedOut, ShuttingDown):
            raise
        except Exception:
            log.failure("A POP3 command of {peer} failed", peer=self._stream.peer[0])
            self._over = self._within_message  # nothing can be said within a message: only closing tells
            if not self._over:
                self._refuse(responses.FAULT)

    async def _obey(self, line: bytes) -> None:
        command = parse_command(line)
        known = self._COMMANDS.get(command.verb)
        if known is None:
            raise Refused(responses.UNKNOWN_COMMAND)
        when, parse, act = known
        if when is When.TRANSACTION and self._maildrop is None:
            raise Refused(responses.NOT_BEFORE_LOGIN)
        if when is When.AUTHORIZATION and self._maildrop is not None:
            raise Refused(responses.NOT_AFTER_LOGIN)
        await act(self, parse(command.argument))

    def _refuse(self, response: bytes) -> None:
        """Answer no; too often, and it is the last answer."""
        self._errors += 1
        if self._errors > self._settings.hard_errors:
            response = responses.TOO_MANY_ERRORS
            self._over = True
        self._stream.write(response)

    def _end(self, response: bytes) -> None:
        self._stream.write(response)
        self._over = True

    # ------------------------------------------------------------ any state

    async def _capa(self, _: None) -> None:
        """RFC 2449 section 5: what is said depends on TLS alone."""
        stream, logins = self._stream, self._access.logins
        tls = self._settings.tls is not None and not stream.is_secure
        passwords, mechanisms = logins.takes_passwords(stream), logins.offered(stream)
        stream.write(responses.capabilities(tls, passwords, mechanisms, self._settings.software))

    async def _quit(self, _: None) -> None:
        """RFC 1939 section 6: the one way into the UPDATE state."""
        response = responses.GOODBYE
        try:
            if self._maildrop is not None:
                await self._maildrop.commit()
        except Exception:
            log.failure("A maildrop could not be updated")
            response = responses.NOT_REMOVED
        self._end(response)

    # ------------------------------------------------------------ AUTHORIZATION state

    async def _stls(self, _: None) -> None:
        """RFC 2595 section 4."""
        if self._stream.is_secure:
            raise Refused(responses.TLS_ALREADY)
        if self._settings.tls is None:
            raise Refused(responses.NO_TLS)
        self._stream.write(responses.BEGIN_TLS)
        self._stream.start_tls(self._settings.tls)
        self._name = None

    async def _user(self, name: bytes) -> None:
        """Any name is taken, for nobody learns here who exists."""
        logins = self._access.logins
        if not logins.takes_passwords(self._stream):
            raise Refused(responses.NO_PASSWORDS if logins.permits(self._stream) else responses.PASSWORDS_NEED_TLS)
        self._name = name
        self._stream.write(responses.NAME_TAKEN)

    async def _pass(self, password: bytes) -> None:
        name, self._name = self._name, None
        if name is None:
            raise Refused(responses.NAME_FIRST)
        await self._log_in(self._access.logins.judge(self._stream, UsernamePassword(name, password)))

    async def _auth(self, asked: Authentication) -> None:
        """RFC 5034 section 4."""
        logins = self._access.logins
        if not logins.permits(self._stream):
            raise Refused(responses.PASSWORDS_NEED_TLS)
        if asked.mechanism not in logins.offered(self._stream):
            raise Refused(responses.UNKNOWN_MECHANISM)
        await self._log_in(logins.authenticate(self._stream, asked.mechanism, asked.initial))

    async def _log_in(self, judged: Awaitable[Login]) -> None:
        try:
            login = await judged
        except (LoginRefused, Throttled) as refused:
            self._failed_logins += 1
            if self._failed_logins < self._settings.login_attempts:
                raise Refused(responses.THROTTLED if isinstance(refused, Throttled) else responses.LOGIN_FAILED)
            self._end(responses.TOO_MANY_LOGINS)
            return
        except tuple(_WRONG) as wrong:
            raise Refused(next(response for kind, response in _WRONG.items() if isinstance(wrong, kind)))
        await self._lock(login.account, login.logout)

    async def _lock(self, account: IAccount, log_out: Callable[[], object]) -> None:
        """Take the maildrop for this session alone (RFC 1939 section 4)."""
        if not await self._access.locks.take(account.name):
            log_out()
            raise Refused(responses.IN_USE)
        try:
            self._maildrop = await Maildrop.open(account)
        except BaseException:
            self._access.locks.release(account.name)
            log_out()
            raise
        self._account, self._log_out = account, log_out
        self._stream.write(ok("{} messages ({} octets)".format(*self._maildrop.statistics())))

    def _release(self) -> None:
        if self._account is not None and self._log_out is not None:
            self._access.locks.release(self._account.name)
            self._log_out()

    # ------------------------------------------------------------ TRANSACTION state

    @property
    def _mail(self) -> Maildrop:
        assert self._maildrop is not None, "The command table lets nobody here before login"
        return self._maildrop

    async def _stat(self, _: None) -> None:
        self._stream.write(ok("{} {}".format(*self._mail.statistics())))

    async def _list(self, number: int | None) -> None:
        await self._show(number, self._mail.scan_listing)

    async def _uidl(self, number: int | None) -> None:
        await self._show(number, self._mail.unique_id_listing)

    async def _show(self, number: int | None, listing: Callable[[int], str]) -> None:
        """Answer with the listing of one message, or of each."""
        if number is not None:
            self._mail.check(number)
            self._stream.write(ok(listing(number)))
            return
        self._stream.write(ok("{} messages ({} octets)".format(*self._mail.statistics())))
        numbers = self._mail.numbers()
        while batch := list(islice(numbers, BATCH)):
            self._stream.write(lines(map(listing, batch)))
            await self._stream.drain()
        self._stream.write(END)

    async def _retr(self, number: int) -> None:
        content = await self._mail.content(number)
        try:
            await self._send(content, f"{content.size} octets", None)
        finally:
            await content.close()
        self._mail.note_retrieved(number)

    async def _top(self, wanted: Top) -> None:
        content = await self._mail.content(wanted.number)
        try:
            await self._send(content, "Top of message", Cutter(wanted.lines))
        finally:
            await content.close()

    async def _send(self, content: IContent, title: str, cutter: Cutter | None) -> None:
        """Send a message in pieces; the first is read before anything is promised."""
        stuffer = DotStuffer()
        offset = 0
        octets = await content.read(0, CHUNK)
        self._stream.write(ok(title))
        self._within_message = True
        while octets:
            offset += len(octets)
            self._octets += len(octets)
            self._stream.write(stuffer.feed(octets if cutter is None else cutter.feed(octets)))
            if offset >= content.size or (cutter is not None and cutter.done):
                break
            await self._stream.drain()
            octets = await content.read(offset, CHUNK)
        if offset < content.size and not (cutter is not None and cutter.done):
            raise EOFError("A message is shorter than its store said")
        self._stream.write(stuffer.finish())
        self._within_message = False

    async def _dele(self, number: int) -> None:
        self._mail.check(number)
        self._mail.marked.add(number)
        self._stream.write(responses.DONE)

    async def _rset(self, _: None) -> None:
        self._mail.marked.clear()
        self._stream.write(responses.DONE)

    async def _noop(self, _: None) -> None:
        self._stream.write(responses.DONE)

    # ------------------------------------------------------------ the end

    def _report(self, ending: str) -> None:
        log.info(
            "{peer} POP3 {account}: {retrieved} retrieved, {octets} octets, {marked} marked, {ending}",
            peer=self._stream.peer[0],
            account=self._account.name if self._account is not None else "nobody",
            retrieved=self._maildrop.retrieved if self._maildrop is not None else 0,
            marked=len(self._maildrop.marked) if self._maildrop is not None else 0,
            octets=self._octets,
            tls=self._stream.is_secure,
            ending=ending,
        )

    #: When a command may come, how its argument is read, and what it does.
    _COMMANDS: ClassVar[Mapping[str, tuple[When, Callable[[str | None], Any], Callable[..., Awaitable[None]]]]] = {
        "CAPA": (When.ANY, grammar.nothing, _capa),
        "QUIT": (When.ANY, grammar.nothing, _quit),
        "STLS": (When.AUTHORIZATION, grammar.nothing, _stls),
        "USER": (When.AUTHORIZATION, grammar.text, _user),
        "PASS": (When.AUTHORIZATION, grammar.text, _pass),
        "AUTH": (When.AUTHORIZATION, grammar.authentication, _auth),
        "STAT": (When.TRANSACTION, grammar.nothing, _stat),
        "LIST": (When.TRANSACTION, grammar.optional_number, _list),
        "UIDL": (When.TRANSACTION, grammar.optional_number, _uidl),
        "RETR": (When.TRANSACTION, grammar.number, _retr),
        "TOP": (When.TRANSACTION, grammar.top, _top),
        "DELE": (When.TRANSACTION, grammar.number, _dele),
        "RSET": (When.TRANSACTION, grammar.nothing, _rset),
        "NOOP": (When.TRANSACTION, grammar.nothing, _noop),
    }
