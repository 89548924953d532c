"""One POP3 session: a connection from its greeting to its end."""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, ClassVar

from twisted.logger import Logger

from mailfw.interfaces import IAccount
from mailfw.mail.failure import NoPermission, NoSuchAccount, NoSuchMailbox
from mailfw.pop3 import grammar, responses
from mailfw.pop3.grammar import Authentication, BadSyntax, Top, parse_command
from mailfw.pop3.languages import ENGLISH, LANGUAGES, language_of
from mailfw.pop3.maildrop import Maildrop
from mailfw.pop3.responses import END, Answer, Capabilities, Refused, err, lines, ok
from mailfw.pop3.sending import Torn, send
from mailfw.pop3.settings import Access
from mailfw.sasl.credentials import UsernamePassword
from mailfw.sasl.exchange import Cancelled, Malformed, NotBase64, Throttled, Unavailable
from mailfw.sasl.exchange import Refused as LoginRefused
from mailfw.sasl.logins import Login
from mailfw.wire.interruptions import Disconnected, LineTooLong, ShuttingDown, TimedOut
from mailfw.wire.stream import Stream

log = Logger()

#: Commands between two looks whether others have to have their turn.
GROUP = 16
#: Lines of a listing between two looks whether the client still takes them.
BATCH = 1000
#: What will not be otherwise however often a client tries again (RFC 3206 section 4).
_LASTING = (NoSuchAccount, NoSuchMailbox, NoPermission, PermissionError)

#: What is answered to an exchange that comes to no judgement.
_WRONG: Mapping[type[Exception], Answer] = {
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
        self._utf_8 = False
        self._language = ENGLISH
        self._over = False

    async def run(self) -> None:
        """Hold the session.  Its end is in the log, and its maildrop is free again."""
        self._stream.timeout = self._settings.timeout
        self._stream.write(self._access.greeting())
        ending = "fault"
        try:
            while not self._over:
                for _ in range(GROUP):
                    await self._answer_next()
                    if self._over:
                        break
                await self._stream.give_way()
            ending = "closed"
        except Disconnected:
            ending = "lost"
        except TimedOut:
            ending = "timeout"  # RFC 1939 section 3: no response, and nothing is removed
        except ShuttingDown:
            self._say(responses.SHUTTING_DOWN)  # POP3 has no farewell of its own: RFC 3206 section 4 serves
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
        try:
            await self._obey(line)
        except BadSyntax as broken:
            if grammar.is_http(line):
                self._end(responses.UNKNOWN_COMMAND)
            else:
                self._refuse(err(str(broken)))
        except Refused as refused:
            self._refuse(refused.answer, *refused.values)
        except (Disconnected, TimedOut, ShuttingDown):
            raise
        except Torn:
            log.failure("A POP3 client of {peer} got half a message", peer=self._stream.peer[0])
            self._over = True
        except Exception:
            log.failure("A POP3 command of {peer} failed", peer=self._stream.peer[0])
            self._refuse(responses.FAULT)

    async def _obey(self, line: bytes) -> None:
        command = parse_command(line)
        known = self._COMMANDS.get(command.verb)
        if known is None:
            if grammar.is_http(line):
                self._end(responses.UNKNOWN_COMMAND)
                return
            raise Refused(responses.UNKNOWN_COMMAND)
        when, parse, act = known
        if when is When.TRANSACTION and self._maildrop is None:
            raise Refused(responses.NOT_BEFORE_LOGIN)
        if when is When.AUTHORIZATION and self._maildrop is not None:
            raise Refused(responses.NOT_AFTER_LOGIN)
        await act(self, parse(command.argument))

    def _say(self, answer: Answer, *values: object) -> None:
        self._stream.write(answer.octets(self._language, *values))

    def _refuse(self, answer: Answer, *values: object) -> None:
        """Answer no; too often, and it is the last answer.  That a message is gone is no error of the client's."""
        self._errors += answer is not responses.MESSAGE_GONE
        if self._errors > self._settings.hard_errors:
            answer, values = responses.TOO_MANY_ERRORS, ()
            self._over = True
        self._say(answer, *values)

    def _end(self, answer: Answer) -> None:
        self._say(answer)
        self._over = True

    # ------------------------------------------------------------ any state

    async def _capa(self, _: None) -> None:
        """RFC 2449 section 5: what is said depends on TLS alone."""
        stream, logins, settings = self._stream, self._access.logins, self._settings
        capabilities = Capabilities(
            settings.tls is not None and not stream.is_secure,
            logins.takes_passwords(stream),
            logins.offered(stream),
            settings.expire,
            settings.login_delay,
            settings.software,
        )
        self._say(responses.CAPABILITIES)
        stream.write(lines(capabilities.names()) + END)

    async def _lang(self, wanted: str | None) -> None:
        """RFC 6856 section 3: the first answer in another language is that it was chosen."""
        if wanted is None:
            self._say(responses.LANGUAGE_LIST)
            self._stream.write(lines(f"{each.tag} {each.name}" for each in LANGUAGES) + END)
            return
        language = language_of(self._settings.language if wanted == "*" else wanted)
        if language is None:
            raise Refused(responses.NO_SUCH_LANGUAGE)
        self._language = language
        self._say(ok(f"{language.tag} {language.changed}"))

    async def _quit(self, _: None) -> None:
        """RFC 1939 section 6: the one way into the UPDATE state."""
        answer = responses.GOODBYE
        try:
            if self._maildrop is not None:
                await self._maildrop.commit(removes_retrieved=self._settings.expire == 0)
        except Exception:
            log.failure("A maildrop could not be updated")
            answer = responses.NOT_REMOVED
        self._end(answer)

    # ------------------------------------------------------------ AUTHORIZATION state

    async def _stls(self, _: None) -> None:
        """RFC 2595 section 4."""
        if self._stream.is_secure:
            raise Refused(responses.TLS_ALREADY)
        if self._settings.tls is None:
            raise Refused(responses.NO_TLS)
        if self._utf_8:
            raise Refused(responses.TLS_TOO_LATE)  # RFC 6856 section 2.1
        self._say(responses.BEGIN_TLS)
        self._stream.start_tls(self._settings.tls)
        self._name = None

    async def _utf8(self, _: None) -> None:
        """RFC 6856 section 2.1: headers go as they are from now on."""
        self._utf_8 = True
        self._say(responses.UTF_8)

    async def _user(self, name: bytes) -> None:
        """Any name is taken, for nobody learns here who exists."""
        logins = self._access.logins
        if not logins.takes_passwords(self._stream):
            raise Refused(responses.NO_PASSWORDS if logins.permits(self._stream) else responses.PASSWORDS_NEED_TLS)
        self._name = name
        self._say(responses.NAME_TAKEN)

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
            raise Refused(next(answer for kind, answer in _WRONG.items() if isinstance(wrong, kind)))
        await self._lock(login.account, login.logout)

    async def _lock(self, account: IAccount, log_out: Callable[[], object]) -> None:
        """Take the maildrop for this session alone (RFC 1939 section 4)."""
        try:
            self._maildrop = await self._open(account)
        except BaseException:
            log_out()
            raise
        self._account, self._log_out = account, log_out
        self._say(responses.STATISTICS, *self._maildrop.statistics())

    async def _open(self, account: IAccount) -> Maildrop:
        if not await self._access.locks.take(account.name):
            raise Refused(responses.IN_USE)
        try:
            await self._wait_enough(account.name)
            return await Maildrop.open(account)
        except BaseException as fault:
            self._access.locks.release(account.name)
            if isinstance(fault, _LASTING):
                log.failure("The maildrop of {account} cannot be opened", account=account.name)
                raise Refused(responses.NO_MAILDROP) from fault
            raise

    async def _wait_enough(self, account: str) -> None:
        """Refuse who comes again before the login delay has passed (RFC 2449 section 6.5)."""
        counted = self._access.logins_counted
        if counted is not None and (wait := await counted.take(account)):
            raise Refused(responses.TOO_SOON, math.ceil(wait))

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
        self._stream.write(b"+OK %d %d\r\n" % self._mail.statistics())

    async def _list(self, number: int | None) -> None:
        await self._show(number, self._mail.scan_listing)

    async def _uidl(self, number: int | None) -> None:
        await self._show(number, self._mail.unique_id_listing)

    async def _show(self, number: int | None, listing: Callable[[int], str]) -> None:
        """Answer with the listing of one message, or of each."""
        if number is not None:
            self._mail.check(number)
            self._stream.write(lines(["+OK " + listing(number)]))
            return
        self._say(responses.STATISTICS, *self._mail.statistics())
        numbers = self._mail.numbers()
        while batch := list(islice(numbers, BATCH)):
            self._stream.write(lines(map(listing, batch)))
            await self._stream.drain()
            await self._stream.give_way()
        self._stream.write(END)

    async def _retr(self, number: int) -> None:
        content = await self._mail.content(number)
        try:
            title = responses.SIZE.octets(self._language, content.size)
            self._octets += await send(self._stream, content, title, self._utf_8)
        finally:
            await content.close()
        self._mail.note_retrieved(number)

    async def _top(self, wanted: Top) -> None:
        content = await self._mail.content(wanted.number)
        try:
            title = responses.TOP.octets(self._language)
            self._octets += await send(self._stream, content, title, self._utf_8, wanted.lines)
        finally:
            await content.close()

    async def _dele(self, number: int) -> None:
        self._mail.check(number)
        self._mail.marked.add(number)
        self._say(responses.DONE)

    async def _rset(self, _: None) -> None:
        self._mail.marked.clear()
        self._say(responses.DONE)

    async def _noop(self, _: None) -> None:
        self._say(responses.DONE)

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
        "LANG": (When.ANY, grammar.language, _lang),
        "QUIT": (When.ANY, grammar.nothing, _quit),
        "STLS": (When.AUTHORIZATION, grammar.nothing, _stls),
        "UTF8": (When.AUTHORIZATION, grammar.nothing, _utf8),
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
