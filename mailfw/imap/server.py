"""One IMAP session: commands in, answers and news out, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger

from mailfw.imap import grammar, names, responses
from mailfw.imap.capabilities import capability_code
from mailfw.imap.commands import append, authenticate
from mailfw.imap.farewell import Farewell
from mailfw.imap.lexer import BadSyntax, Cursor, Literal
from mailfw.imap.news import News
from mailfw.imap.reader import Bounds, Reader
from mailfw.imap.responses import Completion, Status
from mailfw.imap.settings import IMAPSettings
from mailfw.imap.verbs import COMMANDS, State, Verb
from mailfw.imap.view import View
from mailfw.interfaces import IDraft, IMailStore
from mailfw.mail import failure
from mailfw.mail.mailbox import MailboxInfo, Path
from mailfw.mail.rights import ALL_RIGHTS, NO_RIGHTS, SEE, Rights
from mailfw.sasl.logins import Logins
from mailfw.wire.stream import Disconnected, LineTooLong, ShuttingDown, Stream, TimedOut, Woken

log = Logger()

# RFC 3501 sets no limits on lines.  Clients name thousands of UIDs in one; before login none needs more than
# a name and a password or an initial response (RFC 4959), and nothing has to be waited for.
_BEFORE_LOGIN = Bounds(line=13 * 1024, command=13 * 1024, discard=64 * 1024, timeout=2 * 60)


def _after_login(settings: IMAPSettings) -> Bounds:
    # RFC 3501 section 5.4: an autologout timer of at least 30 minutes.
    return Bounds(line=64 * 1024, command=1024 * 1024, discard=2 * settings.append_limit, timeout=30 * 60)


#: So many commands that are none, one after the other, come from no IMAP client.
_BAD_LIMIT = 20
#: Updates are handed over in portions, for slow clients.
_PORTION = 1000


class Session:
    """One connection's conversation, from the greeting to the end."""

    __slots__ = (
        "_bad_commands",
        "_commands",
        "_known",
        "_news",
        "_release",
        "account",
        "enabled",
        "failures",
        "idling",
        "logins",
        "open_draft",
        "over",
        "read_only",
        "reader",
        "rights",
        "settings",
        "store",
        "stream",
        "switched_off",
        "view",
        "watched",
    )

    store: IMailStore

    def __init__(
        self,
        stream: Stream,
        settings: IMAPSettings,
        logins: Logins,
        open_draft: Callable[[int], Awaitable[IDraft]],
    ) -> None:
        self.stream = stream
        self.reader = Reader(stream, _BEFORE_LOGIN)
        self.settings = settings
        self.logins = logins
        self.open_draft = open_draft
        #: The account's name, empty before login; `store` exists from then on.
        self.account = ""
        #: What the client has enabled, in upper case (RFC 5161), or has shown to know.
        self.enabled: set[bytes] = set()
        #: Names of capabilities that this client is not offered.
        self.switched_off: frozenset[bytes] = settings.switched_off
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
        self._news = News()
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
        for release in reversed(self._release):
            release()
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
        verb = COMMANDS.get(name)
        completion = await self._answer(verb, line, at)
        await self.reader.finish()
        if verb is not None and self.view is not None:
            await self.catch_up(verb.tells_expunges, verb.by_uid)
        self.stream.write(completion.encode(tag))
        if completion is authenticate.BEGIN_TLS:
            self.stream.start_tls(self.settings.tls)
        self._count(completion.status)
        if self.failures >= authenticate.FAILURES:
            raise Farewell("Too many failed logins")
        if self.stream.buffered:
            await self.stream.give_way()

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
        if verb is None or verb.capability in self.switched_off:
            return responses.bad("There is no such command")
        if self.state not in verb.states:
            return responses.bad(_WRONG_STATE[self.state])
        if verb.needs_privacy and not self.logins.permits(self.stream):
            return authenticate.PRIVACY
        try:
            if self.reader.pending is None:
                return await verb.run(self, self.cursor((line,), at))
            return await self._answer_long(verb, line, at)
        except BadSyntax as broken:
            return responses.bad(str(broken))
        except names.BadName as bad:
            return responses.no(str(bad), b"CANNOT")
        except failure.StoreRefusal as refusal:
            return _refused(refusal)
        except (Disconnected, TimedOut, LineTooLong, ShuttingDown, Farewell):
            raise
        except Exception:
            log.failure("IMAP {peer} {account!r}: a command failed", peer=self.stream.peer[0], account=self.account)
            return responses.no("Something is broken here; it was written down", b"SERVERBUG")

    async def _answer_long(self, verb: Verb, line: bytes, at: int) -> Completion:
        """Answer a command that has literals."""
        pieces = await self.reader.read_pieces(line, at, brings_message=verb.run is append.append)
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
    def tells_vanished(self) -> bool:
        """Whether the client hears VANISHED in the place of EXPUNGE (RFC 7162 section 3.2.10, RFC 9586 section 3)."""
        return not self.enabled.isdisjoint((b"QRESYNC", b"UIDONLY"))

    def mailbox(self, path: Path) -> bytes:
        """Return a mailbox's name as this client reads names."""
        return responses.mailbox(names.from_path(path), self.speaks_utf8)

    def cursor(self, pieces: Sequence[bytes | Literal], at: int) -> Cursor:
        """Return a cursor in a command, which reads names as this client writes them."""
        return Cursor(pieces, at, self.speaks_utf8)

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

    def say(self, word: bytes, text: str, code: bytes | None = None) -> None:
        """Write an untagged OK, NO, BAD or BYE."""
        self.stream.write(responses.condition(word, text, code))

    async def begin(self, account: str, store: IMailStore, logout: Callable[[], Any]) -> None:
        """Begin the authenticated state."""
        self._release.append(logout)
        await store.open_account(account)
        self._release.append(await store.watch(account, self.notice))
        self._news.begin(account, store)
        self.account, self.store = account, store
        self.reader.bounds = _after_login(self.settings)

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
        self._known = {path: info.id for path, info in infos.items()}
        if path not in infos:
            raise failure.NoSuchMailbox("There is no such mailbox")
        return infos[path]

    def deselect(self) -> None:
        """Leave the selected mailbox, if there is one."""
        self.view = None
        self.watched = None
        self._news.forget()

    # ------------------------------------------------------------ news

    def notice(self, mailbox_id: str, modseq: int) -> None:
        """Hear that a mailbox has changed: the store calls this at any time, and commands after their own changes."""
        if mailbox_id != self.watched:
            return
        self._news.hear(modseq)
        if self.idling:
            self.stream.wake()

    async def catch_up(self, expunges_allowed: bool, with_uid: bool = False) -> None:
        """Bring the view up to date, and tell the client what it may be told."""
        if self.view is None:
            return
        try:
            await self.refresh()
        except (failure.NoSuchMailbox, failure.NoSuchAccount):
            raise Farewell("The selected mailbox was deleted")
        except failure.NoPermission:
            raise Farewell("The selected mailbox is no longer shared with you")
        except Exception:
            log.failure("IMAP {peer} {account!r}: no news to be had", peer=self.stream.peer[0], account=self.account)
        told = self.view.take_updates(expunges_allowed)
        for start in range(0, len(told), _PORTION):
            self.stream.write(responses.updates(told[start : start + _PORTION], with_uid, self.flag_rights))
            if start:
                await self.stream.drain()
                await self.stream.give_way()

    async def refresh(self) -> None:
        """Bring the view up to date."""
        view = self.selected
        if not self._news.have_come(view.mailbox_id, view.modseq):
            return
        first_new = view.uids[-1] + 1 if view.uids else 1
        info = await self._absorb_changes(view)
        if info.recent_uid >= info.uid_next:
            return
        if self.read_only:
            view.claim_recent(max(first_new, info.recent_uid))
            return
        low = await self.store.claim_recent(self.account, view.mailbox_id)
        if self._news.have_come(view.mailbox_id, view.modseq):  # what came in between was claimed with the rest
            await self._absorb_changes(view)
        view.claim_recent(low)

    async def _absorb_changes(self, view: View) -> MailboxInfo:
        mark = self._news.mark(view.mailbox_id)
        snapshot = await self.store.snapshot(self.account, view.mailbox_id, view.modseq)
        view.absorb(snapshot)
        self._news.taken(mark)
        self._note_rights(view, snapshot.info.rights)
        return snapshot.info

    def _note_rights(self, view: View, rights: Rights) -> None:
        """RFC 4314 section 5.1.1: a client is told when it may change other flags than before."""
        before, self.rights = self.flag_rights, rights
        if self.flag_rights != before:
            self.stream.write(responses.known_flags(tuple(sorted(view.keywords)), self.flag_rights))


def _refused(refusal: failure.StoreRefusal) -> Completion:
    """What a store's refusal is in the codes of RFC 5530."""
    code, text = _REFUSALS.get(type(refusal), (None, "The mail store refuses that"))
    return responses.no(str(refusal) or text, code)


_REFUSALS: Mapping[type[failure.StoreRefusal], tuple[bytes, str]] = {
    failure.NoSuchAccount: (b"UNAVAILABLE", "The account is not there"),
    failure.NoSuchMailbox: (b"NONEXISTENT", "There is no such mailbox"),
    failure.MailboxExists: (b"ALREADYEXISTS", "There is such a mailbox already"),
    failure.NameRefused: (b"CANNOT", "No mailbox can have that name"),
    failure.NoPermission: (b"NOPERM", "You may not do that"),
    failure.OverQuota: (b"OVERQUOTA", "The quota is used up"),
    failure.NoSpace: (b"UNAVAILABLE", "There is no room for that at the moment"),
}

_WRONG_STATE: Mapping[State, str] = {
    State.NOT_AUTHENTICATED: "Log in first",
    State.AUTHENTICATED: "Not now: no mailbox is selected, or you are logged in already",
    State.SELECTED: "You are logged in already",
}
