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
    batches,
    connection,
    contexts,
    copy,
    expunge,
    fetch,
    general,
    idle,
    listing,
    mailboxes,
    metadata,
    multisearch,
    notify,
    quota,
    replace,
    search,
    select,
    sorting,
    status,
    store,
    threading,
)
from mailfw.imap.grammar_append import is_named, is_replacement_named
from mailfw.imap.lexer import Cursor
from mailfw.imap.reader import Stop
from mailfw.imap.responses import Completion

if TYPE_CHECKING:
    from mailfw.imap.server import Session


class State(enum.Enum):
    """The states of RFC 3501 section 3 in which a command may be given."""

    NOT_AUTHENTICATED = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()

    #: There is one object for each, and that of `enum.Enum` is written in Python.
    __hash__ = object.__hash__


#: What is said to a command that may not be given in a state.
WRONG_STATE: Mapping[State, str] = {
    State.NOT_AUTHENTICATED: "Log in first",
    State.AUTHENTICATED: "Not now: no mailbox is selected, or you are logged in already",
    State.SELECTED: "You are logged in already",
}

_NOBODY = frozenset({State.NOT_AUTHENTICATED})
_LOGGED_IN = frozenset({State.AUTHENTICATED, State.SELECTED})
_IN_MAILBOX = frozenset({State.SELECTED})
_ANY = frozenset(State)


@dataclass(frozen=True, slots=True)
class Verb:
    """
    One command: what it does and when it may be given.

    `tells_expunges` is False for those during which EXPUNGE may not be sent (RFC 3501 section 7.4.1, RFC 5256).
    Those `by_number` speak of message numbers, and are refused with UIDONLY (RFC 9586 section 3).
    `capability` is the one that the command belongs to, if it can be switched off.  `needs_privacy` refuses it where a
    password may not be sent, before the client sends one in a literal.  One that `is_long` says now and then that it is
    not done; none whose answer can be interrupted in the middle of a line is.  Where `message_follows` says so the next
    literal is left to the command.
    """

    run: Callable[[Session, Cursor], Awaitable[Completion]]
    states: frozenset[State]
    tells_expunges: bool = True
    by_uid: bool = False
    by_number: bool = False
    needs_privacy: bool = False
    capability: bytes = b""
    is_long: bool = False
    message_follows: Stop | None = None


COMMANDS: Mapping[bytes, Verb] = {
    # RFC 3501 section 6.1, RFC 2971
    b"CAPABILITY": Verb(general.capability, _ANY),
    b"NOOP": Verb(general.noop, _ANY),
    b"LOGOUT": Verb(general.logout, _ANY),
    b"ID": Verb(general.identify, _ANY, capability=b"ID"),
    # RFC 4978, RFC 8437, RFC 9698
    b"COMPRESS": Verb(connection.compress, _LOGGED_IN, capability=b"COMPRESS=DEFLATE"),
    b"UNAUTHENTICATE": Verb(connection.unauthenticate, _LOGGED_IN, capability=b"UNAUTHENTICATE"),
    b"GETJMAPACCESS": Verb(connection.get_jmap_access, _LOGGED_IN, capability=b"JMAPACCESS"),
    # RFC 3501 section 6.2
    b"STARTTLS": Verb(authenticate.starttls, _NOBODY, capability=b"STARTTLS"),
    b"AUTHENTICATE": Verb(authenticate.authenticate, _NOBODY, needs_privacy=True, capability=b"AUTH"),
    b"LOGIN": Verb(authenticate.login, _NOBODY, needs_privacy=True),
    # RFC 3501 section 6.3, RFC 2342, RFC 5161
    b"ENABLE": Verb(general.enable, _LOGGED_IN, capability=b"ENABLE"),
    b"SELECT": Verb(partial(select.select, read_only=False), _LOGGED_IN, is_long=True),
    b"EXAMINE": Verb(partial(select.select, read_only=True), _LOGGED_IN, is_long=True),
    b"CREATE": Verb(mailboxes.create, _LOGGED_IN),
    b"DELETE": Verb(mailboxes.delete, _LOGGED_IN, is_long=True),
    b"RENAME": Verb(mailboxes.rename, _LOGGED_IN, is_long=True),
    b"SUBSCRIBE": Verb(partial(mailboxes.subscribe, subscribed=True), _LOGGED_IN),
    b"UNSUBSCRIBE": Verb(partial(mailboxes.subscribe, subscribed=False), _LOGGED_IN),
    b"LIST": Verb(listing.list_mailboxes, _LOGGED_IN, is_long=True),
    b"LSUB": Verb(listing.list_subscribed, _LOGGED_IN),
    b"NAMESPACE": Verb(listing.namespace, _LOGGED_IN, capability=b"NAMESPACE"),
    b"STATUS": Verb(status.status, _LOGGED_IN, is_long=True),
    # RFC 4314
    b"GETACL": Verb(access.get_access, _LOGGED_IN, capability=b"ACL"),
    b"SETACL": Verb(access.set_access, _LOGGED_IN, capability=b"ACL"),
    b"DELETEACL": Verb(access.delete_access, _LOGGED_IN, capability=b"ACL"),
    b"LISTRIGHTS": Verb(access.list_rights, _LOGGED_IN, capability=b"ACL"),
    b"MYRIGHTS": Verb(access.my_rights, _LOGGED_IN, capability=b"ACL"),
    # RFC 9208, RFC 5464
    b"GETQUOTA": Verb(quota.get_quota, _LOGGED_IN, capability=b"QUOTA"),
    b"GETQUOTAROOT": Verb(quota.get_quota_root, _LOGGED_IN, capability=b"QUOTA"),
    b"SETQUOTA": Verb(quota.set_quota, _LOGGED_IN, capability=b"QUOTASET"),
    b"GETMETADATA": Verb(metadata.get_metadata, _LOGGED_IN, capability=b"METADATA"),
    b"SETMETADATA": Verb(metadata.set_metadata, _LOGGED_IN, capability=b"METADATA"),
    # RFC 3501 section 6.3.11, RFC 8508, RFC 5465, RFC 2177
    b"APPEND": Verb(append.append, _LOGGED_IN, message_follows=is_named),
    b"REPLACE": Verb(
        partial(replace.replace, by_uid=False),
        _IN_MAILBOX,
        by_number=True,
        capability=b"REPLACE",
        message_follows=is_replacement_named,
    ),
    b"UID REPLACE": Verb(
        partial(replace.replace, by_uid=True),
        _IN_MAILBOX,
        by_uid=True,
        capability=b"REPLACE",
        message_follows=is_replacement_named,
    ),
    b"NOTIFY": Verb(notify.notify, _LOGGED_IN, capability=b"NOTIFY"),
    b"IDLE": Verb(idle.idle, _LOGGED_IN, capability=b"IDLE"),
    # RFC 3501 section 6.4, RFC 3691, RFC 4315, RFC 6851
    b"CHECK": Verb(general.noop, _IN_MAILBOX),
    b"CLOSE": Verb(select.close, _IN_MAILBOX),
    b"UNSELECT": Verb(select.unselect, _IN_MAILBOX, capability=b"UNSELECT"),
    b"EXPUNGE": Verb(expunge.expunge, _IN_MAILBOX, is_long=True),
    b"UID EXPUNGE": Verb(expunge.uid_expunge, _IN_MAILBOX, by_uid=True, is_long=True, capability=b"UIDPLUS"),
    b"SEARCH": Verb(
        partial(search.search, by_uid=False), _IN_MAILBOX, by_number=True, tells_expunges=False, is_long=True
    ),
    b"UID SEARCH": Verb(partial(search.search, by_uid=True), _IN_MAILBOX, by_uid=True, is_long=True),
    # RFC 5256, RFC 5267, RFC 7377, RFC 10022
    b"SORT": Verb(
        partial(sorting.sort, by_uid=False),
        _IN_MAILBOX,
        by_number=True,
        tells_expunges=False,
        capability=b"SORT",
        is_long=True,
    ),
    b"UID SORT": Verb(partial(sorting.sort, by_uid=True), _IN_MAILBOX, by_uid=True, capability=b"SORT", is_long=True),
    b"THREAD": Verb(
        partial(threading.thread, by_uid=False),
        _IN_MAILBOX,
        by_number=True,
        tells_expunges=False,
        capability=b"THREAD",
        is_long=True,
    ),
    b"UID THREAD": Verb(
        partial(threading.thread, by_uid=True), _IN_MAILBOX, by_uid=True, capability=b"THREAD", is_long=True
    ),
    b"CANCELUPDATE": Verb(contexts.cancel_update, _IN_MAILBOX, capability=b"CONTEXT=SEARCH"),
    b"ESEARCH": Verb(multisearch.esearch, _LOGGED_IN, capability=b"MULTISEARCH", is_long=True),
    b"UIDBATCHES": Verb(batches.uid_batches, _IN_MAILBOX, by_uid=True, capability=b"UIDBATCHES"),
    b"FETCH": Verb(partial(fetch.fetch, by_uid=False), _IN_MAILBOX, by_number=True, tells_expunges=False),
    b"UID FETCH": Verb(partial(fetch.fetch, by_uid=True), _IN_MAILBOX, by_uid=True),
    b"STORE": Verb(partial(store.store, by_uid=False), _IN_MAILBOX, by_number=True, tells_expunges=False, is_long=True),
    b"UID STORE": Verb(partial(store.store, by_uid=True), _IN_MAILBOX, by_uid=True, is_long=True),
    b"COPY": Verb(partial(copy.copy, by_uid=False), _IN_MAILBOX, by_number=True, is_long=True),
    b"UID COPY": Verb(partial(copy.copy, by_uid=True), _IN_MAILBOX, by_uid=True, is_long=True),
    b"MOVE": Verb(partial(copy.move, by_uid=False), _IN_MAILBOX, by_number=True, is_long=True, capability=b"MOVE"),
    b"UID MOVE": Verb(partial(copy.move, by_uid=True), _IN_MAILBOX, by_uid=True, is_long=True, capability=b"MOVE"),
}
