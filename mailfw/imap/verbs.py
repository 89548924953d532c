"""The commands of IMAP: what each does, and when it may be given."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailfw.imap.commands import (
    access,
    append,
    authenticate,
    copy,
    expunge,
    fetch,
    general,
    idle,
    mailboxes,
    search,
    select,
    store,
)
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion

if TYPE_CHECKING:
    from mailfw.imap.server import Session


class State(enum.Enum):
    """The states of RFC 3501 section 3 in which a command may be given."""

    NOT_AUTHENTICATED = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()


_NOBODY = frozenset({State.NOT_AUTHENTICATED})
_LOGGED_IN = frozenset({State.AUTHENTICATED, State.SELECTED})
_IN_MAILBOX = frozenset({State.SELECTED})
_ANY = frozenset(State)


@dataclass(frozen=True, slots=True)
class Verb:
    """
    One command: what it does and when it may be given.

    `tells_expunges` is False for the three during which EXPUNGE may not be sent (RFC 3501 section 7.4.1).
    `capability` is the one that the command belongs to, if it can be switched off.  `needs_privacy` refuses it where a
    password may not be sent, before the client sends one in a literal.
    """

    run: Callable[[Session, Cursor], Awaitable[Completion]]
    states: frozenset[State]
    tells_expunges: bool = True
    by_uid: bool = False
    needs_privacy: bool = False
    capability: bytes = b""


COMMANDS: Mapping[bytes, Verb] = {
    # RFC 3501 section 6.1, RFC 2971
    b"CAPABILITY": Verb(general.capability, _ANY),
    b"NOOP": Verb(general.noop, _ANY),
    b"LOGOUT": Verb(general.logout, _ANY),
    b"ID": Verb(general.identify, _ANY),
    # RFC 3501 section 6.2
    b"STARTTLS": Verb(authenticate.starttls, _NOBODY),
    b"AUTHENTICATE": Verb(authenticate.authenticate, _NOBODY, needs_privacy=True),
    b"LOGIN": Verb(authenticate.login, _NOBODY, needs_privacy=True),
    # RFC 3501 section 6.3, RFC 2342, RFC 5161, RFC 2177
    b"ENABLE": Verb(general.enable, _LOGGED_IN),
    b"SELECT": Verb(partial(select.select, read_only=False), _LOGGED_IN),
    b"EXAMINE": Verb(partial(select.select, read_only=True), _LOGGED_IN),
    b"CREATE": Verb(mailboxes.create, _LOGGED_IN),
    b"DELETE": Verb(mailboxes.delete, _LOGGED_IN),
    b"RENAME": Verb(mailboxes.rename, _LOGGED_IN),
    b"SUBSCRIBE": Verb(partial(mailboxes.subscribe, subscribed=True), _LOGGED_IN),
    b"UNSUBSCRIBE": Verb(partial(mailboxes.subscribe, subscribed=False), _LOGGED_IN),
    b"LIST": Verb(mailboxes.list_mailboxes, _LOGGED_IN),
    b"LSUB": Verb(mailboxes.list_subscribed, _LOGGED_IN),
    b"NAMESPACE": Verb(mailboxes.namespace, _LOGGED_IN),
    b"STATUS": Verb(mailboxes.status, _LOGGED_IN),
    # RFC 4314
    b"GETACL": Verb(access.get_access, _LOGGED_IN),
    b"SETACL": Verb(access.set_access, _LOGGED_IN),
    b"DELETEACL": Verb(access.delete_access, _LOGGED_IN),
    b"LISTRIGHTS": Verb(access.list_rights, _LOGGED_IN),
    b"MYRIGHTS": Verb(access.my_rights, _LOGGED_IN),
    b"APPEND": Verb(append.append, _LOGGED_IN),
    b"IDLE": Verb(idle.idle, _LOGGED_IN),
    # RFC 3501 section 6.4, RFC 3691, RFC 4315, RFC 6851
    b"CHECK": Verb(general.noop, _IN_MAILBOX),
    b"CLOSE": Verb(select.close, _IN_MAILBOX),
    b"UNSELECT": Verb(select.unselect, _IN_MAILBOX),
    b"EXPUNGE": Verb(expunge.expunge, _IN_MAILBOX),
    b"UID EXPUNGE": Verb(expunge.uid_expunge, _IN_MAILBOX, by_uid=True),
    b"SEARCH": Verb(partial(search.search, by_uid=False), _IN_MAILBOX, tells_expunges=False),
    b"UID SEARCH": Verb(partial(search.search, by_uid=True), _IN_MAILBOX, by_uid=True),
    b"FETCH": Verb(partial(fetch.fetch, by_uid=False), _IN_MAILBOX, tells_expunges=False),
    b"UID FETCH": Verb(partial(fetch.fetch, by_uid=True), _IN_MAILBOX, by_uid=True),
    b"STORE": Verb(partial(store.store, by_uid=False), _IN_MAILBOX, tells_expunges=False),
    b"UID STORE": Verb(partial(store.store, by_uid=True), _IN_MAILBOX, by_uid=True),
    b"COPY": Verb(partial(copy.copy, by_uid=False), _IN_MAILBOX),
    b"UID COPY": Verb(partial(copy.copy, by_uid=True), _IN_MAILBOX, by_uid=True),
    b"MOVE": Verb(partial(copy.move, by_uid=False), _IN_MAILBOX),
    b"UID MOVE": Verb(partial(copy.move, by_uid=True), _IN_MAILBOX, by_uid=True),
}
