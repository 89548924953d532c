"""One IMAP session: commands in, answers and news out, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from twisted.logger import Logger

from mailfw.imap import grammar, limiting, names, refusals, responses, telling
from mailfw.imap.allowances import SessionCount, allowed
from mailfw.imap.answered import Answered
from mailfw.imap.capabilities import capability_code
from mailfw.imap.commands import authenticate, connection, contexts
from mailfw.imap.farewell import Farewell
from mailfw.imap.keywords import TOO_MANY, TooManyKeywords, Vocabulary
from mailfw.imap.lexer import BadSyntax, Cursor, Literal
from mailfw.imap.news import News
from mailfw.imap.notifications import Notifications
from mailfw.imap.reader import BEFORE_LOGIN, Reader, after_login
from mailfw.imap.responses import Completion, Manner, Status
from mailfw.imap.settings import IMAPSettings
from mailfw.imap.verbs import COMMANDS, WRONG_STATE, State, Verb
from mailfw.imap.view import View
from mailfw.interfaces import IDraft, IMailStore
from mailfw.mail import failure
from mailfw.mail.mailbox import MailboxInfo, Path
from mailfw.mail.rights import ALL_RIGHTS, NO_RIGHTS, SEE, Rights
from mailfw.sasl.logins import Logins
from mailfw.wire.interruptions import Disconnected, LineTooLong, ShuttingDown, TimedOut, Woken
from mailfw.wire.stream import Stream

log = Logger()

_NOTHING: frozenset[bytes] = frozenset()
#: So many commands that are none, one after the other, come from no IMAP client.
_BAD_LIMIT = 20
#: Seconds between two signs of life during a long command; RFC 9585 section 4 recommends 10 to 15.
_PATIENCE = 10.0


class Session:
    """One connection's conversation, from the greeting to the end."""

    __slots__ = (
        "_bad_commands",
        "_busy_since",
        "_commands",
        "_known",
        "_release",
        "_sessions",
        "account",
        "allowance",
        "answered",
        "contexts",
        "enabled",
        "failures",
        "idling",
        "logins",
        "lowest_done",
        "names_numbers",
        "news",
        "notifications",
        "open_draft",
        "over",
        "program",
        "progress",
        "read_only",
        "reader",
        "rights",
        "settings",
        "store",
        "stream",
        "tag",
        "view",
        "vocabulary",
        "watched",
    )

    store: IMailStore

    def __init__(
        self,
        stream: Stream,
        settings: IMAPSettings,
        logins: Logins,
        open_draft: Callable[[int], Awaitable[IDraft]],
        sessions: SessionCount,
        answered: Answered,
    ) -> None:
        self.stream = stream
        self.reader = Reader(stream, BEFORE_LOGIN)
        self.settings = settings
        self.logins = logins
        self.open_draft = open_draft
        self._sessions = sessions
        #: The account's name, empty before login; `store` exists from then on.
        self.account = ""
        #: What the client has enabled, in upper case (RFC 5161), or has shown to know.
        self.enabled = _NOTHING
        #: What this client is offered and may ask for.
        self.allowance = settings.allowance
        #: What the client wants to hear of unasked (RFC 5465).
        self.notifications: Notifications | None = None
        #: What the client calls itself (RFC 2971).
        self.program = ""
        #: How far a long command is, and how far it has to go, where it knows (RFC 9585).
        self.progress: tuple[int, int] | None = None
        #: The tag of the command that is answered.
        self.tag = b""
        #: The lowest UID that it has worked on, if there were too many for it (RFC 9738).
        self.lowest_done: int | None = None
        #: Whether it searches by message numbers, which then may not change (RFC 7162 section 3.2.10.2).
        self.names_numbers = False
        self._busy_since: float | None = None
        #: What clients have asked before.
        self.answered = answered
        #: Results that are kept up to date, by the tag of their command (RFC 5267).
        self.contexts: dict[bytes, contexts.Context] = {}
        #: The keywords of the mailbox that messages were put into last.
        self.vocabulary = Vocabulary()
        #: Failed logins.
        self.failures = 0
        #: The selected mailbox.
        self.view: View | None = None
        self.read_only = False
        #: What the user may do in the selected mailbox, as far as he was told.
        self.rights = ALL_RIGHTS
        #: The id of the mailbox whose changes matter, from before its view is made.
        self.watched: str | None = None
        #: Whether a change should interrupt the wait for the client.
        self.idling = False
        #: Whether LOGOUT was answered.
        self.over = False
        self.news = News()
        self._bad_commands = 0
        self._commands = 0
        self._known: dict[Path, str] = {}
        self._release: list[Callable[[], Any]] = []

    # ------------------------------------------------------------ the conversation

    async def run(self) -> None:
        """Greet, then answer commands until the end."""
        reason = "logged out"
        try:
            # What TLS will allow is not known before its handshake, and no client may be told less.
            code = None if self.stream.is_secure else capability_code(self)
            self.say(b"OK", f"{self.settings.hostname} is ready", code)
            while not self.over:
                await self._turn()
                if self.stream.is_behind:
                    await self.stream.give_way()
        except Disconnected:
            reason = "left"
        except TimedOut:
            reason = self._part("Autologout: nothing heard for too long")
        except ShuttingDown:
            reason = self._part("The server stops; please come back in a minute")
        except LineTooLong:
            # What follows might be a literal that the lost line announced, and must not be taken for commands.
            reason = self._part("That line is too long")
        except Farewell as farewell:
            reason = self._part(str(farewell))
        finally:
            self._end(reason)

    def _part(self, text: str) -> str:
        self.say(b"BYE", text)
        return text

    def _end(self, reason: str) -> None:
        self._let_go()
        log.info(
            "IMAP {peer} {account!r}: {commands} commands, {reason}",
            peer=self.stream.peer[0],
            account=self.account,
            commands=self._commands,
            reason=reason,
            tls=self.stream.tls_version,
        )

    async def _turn(self) -> None:
        """Read one command and answer it."""
        try:
            line = await self.reader.read_line(idle=True)
        except Woken:
            await telling.tell_unasked(self)
            return
        if not line and self.reader.pending is None:
            return  # some clients send an empty line behind a literal that was the end of its command
        self._commands += 1
        try:
            tag, name, at = grammar.command_start(line)
        except BadSyntax as broken:
            await self._refuse_untagged(str(broken))
            return
        if not self.account and grammar.is_http(line):
            raise Farewell("This is an IMAP server")
        self.tag, self.lowest_done, self.names_numbers = tag, None, False
        verb = COMMANDS.get(name)
        if verb is not None and verb.is_long:
            self._busy_since = None
            self.stream.attend = self._attend
        completion = await self._answer(verb, line, at)
        self.stream.attend = self.progress = None
        await self.reader.finish()
        if verb is not None and self.view is not None:
            await telling.catch_up(self, verb.tells_expunges and not self.names_numbers, verb.by_uid)
        self.stream.write(completion.encode(tag))
        if completion is authenticate.BEGIN_TLS:
            self.stream.start_tls(self.settings.tls)
        elif completion is connection.BEGIN_DEFLATE:
            self.stream.start_deflate()
        elif completion is connection.BEGIN_ANEW:
            self.reader.inflated_last = self.stream.end_deflate()
            self.end_login()
        self._count(completion.status)
        if self.failures >= authenticate.FAILURES:
            raise Farewell("Too many failed logins")

    def _attend(self, now: float) -> None:
        """Tell a client now and then that its command is worked on (RFC 9585): it would take us for dead."""
        if self._busy_since is None:
            self._busy_since = now
        elif now - self._busy_since >= _PATIENCE and b"INPROGRESS" not in self.allowance.without:
            self._busy_since = now
            self.say(b"OK", "Still at it", responses.in_progress(self.tag, self.progress))
            self.stream.flush()

    async def _refuse_untagged(self, text: str) -> None:
        await self.reader.finish()
        self.say(b"BAD", text)
        self._count(Status.BAD)

    def _count(self, status: Status) -> None:
        if status is not Status.BAD:
            self._bad_commands = 0
            return
        self._bad_commands += 1
        if self._bad_commands >= _BAD_LIMIT:
            raise Farewell("Too many commands that are none")

    async def _answer(self, verb: Verb | None, line: bytes, at: int) -> Completion:
        """Check order, read the rest, do what is asked: whatever goes wrong becomes an answer."""
        if verb is not None and verb.by_number and self.uid_only:
            return responses.bad("Say UID, now that UIDONLY is enabled", b"UIDREQUIRED")
        if verb is None or verb.capability in self.allowance.without:
            return responses.bad("There is no such command")
        if self.state not in verb.states:
            return responses.bad(WRONG_STATE[self.state])
        if verb.needs_privacy and not self.logins.permits(self.stream):
            return authenticate.PRIVACY
        try:
            if self.reader.pending is None:
                return limiting.told(self, await verb.run(self, self.cursor((line,), at)))
            return limiting.told(self, await self._answer_long(verb, line, at))
        except BadSyntax as broken:
            return responses.bad(str(broken), broken.code)
        except names.BadName as bad:
            return responses.no(str(bad), b"CANNOT")
        except TooManyKeywords:
            return TOO_MANY
        except failure.StoreRefusal as refusal:
            return refusals.answer(refusal)
        except (Disconnected, TimedOut, LineTooLong, ShuttingDown, Farewell):
            raise
        except Exception:
            log.failure("IMAP {peer} {account!r}: a command failed", peer=self.stream.peer[0], account=self.account)
            return responses.no("Something is broken here; it was written down", b"SERVERBUG")

    async def _answer_long(self, verb: Verb, line: bytes, at: int) -> Completion:
        """Answer a command that has literals."""
        pieces = await self.reader.read_pieces(line, at, verb.message_follows)
        if isinstance(pieces, Completion):
            return pieces
        return await verb.run(self, self.cursor(pieces, at))

    # ------------------------------------------------------------ for the commands

    @property
    def state(self) -> State:
        """In which state of RFC 3501 section 3 the session is."""
        if self.view is not None:
            return State.SELECTED
        return State.AUTHENTICATED if self.account else State.NOT_AUTHENTICATED

    @property
    def is_rev2(self) -> bool:
        """Whether the client has enabled IMAP4rev2 (RFC 9051), and hears nothing that this has done away with."""
        return b"IMAP4REV2" in self.enabled

    @property
    def speaks_utf8(self) -> bool:
        """Whether names and strings go in UTF-8, both ways (RFC 6855 section 3, RFC 9051 section 5.1)."""
        return not self.enabled.isdisjoint((b"IMAP4REV2", b"UTF8=ACCEPT"))

    @property
    def tells_modseq(self) -> bool:
        """Whether the client knows of modification sequences (RFC 7162 section 3.1)."""
        return not self.enabled.isdisjoint((b"CONDSTORE", b"QRESYNC"))

    @property
    def tells_uid(self) -> bool:
        """Whether news have the UID: RFC 7162 section 3.2.4, RFC 5465 section 5.1, RFC 9051 section 7.5.2."""
        wished = self.notifications is not None and self.notifications.selected is not None
        return wished or self.is_rev2 or self.tells_modseq

    @property
    def uid_only(self) -> bool:
        """Whether messages have no numbers for the client (RFC 9586)."""
        return b"UIDONLY" in self.enabled

    def offers(self, capability: bytes) -> bool:
        """Whether a capability is not switched off for this client."""
        return capability not in self.allowance.without

    @property
    def message_limit(self) -> int:
        """On how many messages one command works (RFC 9738); 0: on any number."""
        return self.allowance.messages if self.account and self.offers(b"MESSAGELIMIT") else 0

    @property
    def tells_vanished(self) -> bool:
        """Whether the client hears VANISHED in the place of EXPUNGE (RFC 7162 section 3.2.10, RFC 9586 section 3)."""
        return not self.enabled.isdisjoint((b"QRESYNC", b"UIDONLY"))

    def mailbox(self, path: Path) -> bytes:
        """Return a mailbox's name as this client reads names."""
        return responses.mailbox(names.from_path(path), self.speaks_utf8)

    def cursor(self, pieces: Sequence[bytes | Literal], at: int) -> Cursor:
        """Return a cursor in a command, which reads names as this client writes them."""
        return Cursor(pieces, at, self.speaks_utf8, self.allowance.without)

    @property
    def selected(self) -> View:
        """The view, for a command that is only given when there is one."""
        assert self.view is not None
        return self.view

    @property
    def flag_rights(self) -> Rights:
        """The rights to the selected mailbox by which flags can be changed: none where it is open for reading only."""
        return NO_RIGHTS if self.read_only else self.rights

    @property
    def marks_seen(self) -> bool:
        """Whether reading a message of the selected mailbox marks it as seen."""
        return SEE in self.flag_rights

    def manner(self, with_uid: bool) -> Manner:
        """Return how the client hears of messages, `with_uid` where it asks by UID."""
        return Manner(with_uid or self.tells_uid, self.uid_only, self.tells_modseq, self.flag_rights)

    def say(self, word: bytes, text: str, code: bytes | None = None) -> None:
        """Write an untagged OK, NO, BAD or BYE."""
        self.stream.write(responses.condition(word, text, code))

    def admit(self, account: str) -> bool:
        """Count a session of an account; whether there may be another one."""
        settings = self.settings
        limit = allowed(settings.allowance, settings.rules, account, self.stream.peer[0], self.program).sessions
        if not self._sessions.admit(account, limit):
            return False
        self._release.append(partial(self._sessions.release, account))
        return True

    async def begin(self, account: str, store: IMailStore, logout: Callable[[], Any]) -> None:
        """Begin the authenticated state."""
        self._release.append(logout)
        await store.open_account(account)
        self._release.append(await store.watch(account, self.notice))
        self.news.begin(account, store)
        self.account, self.store = account, store
        self.heed_rules()

    def heed_rules(self) -> None:
        """Find out what the client may do, now that more is known of it."""
        settings = self.settings
        self.allowance = allowed(settings.allowance, settings.rules, self.account, self.stream.peer[0], self.program)
        if self.account:
            self.reader.bounds = after_login(self.allowance)

    def end_login(self) -> None:
        """Go back to where nobody is logged in (RFC 8437)."""
        self.deselect()
        self._let_go()
        self.account = ""
        self.enabled = _NOTHING
        self._known.clear()
        self.rights = ALL_RIGHTS
        self.notifications = None
        self.vocabulary = Vocabulary()
        self.heed_rules()
        self.reader.bounds = BEFORE_LOGIN

    def _let_go(self) -> None:
        while self._release:
            self._release.pop()()

    async def find(self, path: Path) -> MailboxInfo:
        """Return the mailbox at a path, as it is now.  Raises `NoSuchMailbox`."""
        known = self._known.get(path)
        if known is not None:
            try:
                info = await self.store.mailbox(self.account, known)
            except failure.NoSuchMailbox:
                pass
            else:
                if info.path == path:
                    return info
        infos = {info.path: info for info in await self.store.mailboxes(self.account)}
        if path not in infos:
            raise failure.NoSuchMailbox("There is no such mailbox")
        # Most sessions open one mailbox; who asks for another one is taken to ask for all.
        kept = infos if self._known else (path,)
        self._known = {each: infos[each].id for each in kept}
        return infos[path]

    def deselect(self) -> None:
        """Leave the selected mailbox, if there is one."""
        self.view = None
        self.watched = None
        self.contexts.clear()
        self.news.forget()

    # ------------------------------------------------------------ news

    def notice(self, mailbox_id: str, modseq: int) -> None:
        """Hear that a mailbox has changed: the store calls this at any time, and commands after their own changes."""
        wished = self.notifications
        if wished is not None and wished.hear(mailbox_id):
            self.stream.wake()
        if mailbox_id != self.watched:
            return
        self.news.hear(modseq)
        if self.idling or (wished is not None and wished.selected is not None):
            self.stream.wake()
