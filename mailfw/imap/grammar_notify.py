"""The arguments of NOTIFY (RFC 5465 section 8): of which mailboxes a client wants to hear what."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mailfw.imap import grammar_fetch
from mailfw.imap.grammar_fetch import Item, Section
from mailfw.imap.lexer import BadSyntax, Cursor

#: RFC 5465 sets no limits; no client names more.
_GROUPS, _NAMES = 100, 1000


class Event(enum.Enum):
    """What can happen; the values are what RFC 5465 section 5 calls it."""

    MESSAGE_NEW = b"MessageNew"
    MESSAGE_EXPUNGE = b"MessageExpunge"
    FLAG_CHANGE = b"FlagChange"
    MAILBOX_NAME = b"MailboxName"
    SUBSCRIPTION_CHANGE = b"SubscriptionChange"
    MAILBOX_METADATA_CHANGE = b"MailboxMetadataChange"
    SERVER_METADATA_CHANGE = b"ServerMetadataChange"


#: What concerns messages; all else is about mailboxes.
OF_MESSAGES = frozenset({Event.MESSAGE_NEW, Event.MESSAGE_EXPUNGE, Event.FLAG_CHANGE})
_BY_NAME = {event.value.upper(): event for event in Event}


class Where(enum.Enum):
    """Which mailboxes: RFC 5465 section 6."""

    SELECTED = b"SELECTED"
    SELECTED_DELAYED = b"SELECTED-DELAYED"
    INBOXES = b"INBOXES"
    PERSONAL = b"PERSONAL"
    SUBSCRIBED = b"SUBSCRIBED"
    SUBTREE = b"SUBTREE"
    MAILBOXES = b"MAILBOXES"


_NAMED = (Where.SUBTREE, Where.MAILBOXES)
OF_SELECTED = (Where.SELECTED, Where.SELECTED_DELAYED)


@dataclass(frozen=True, slots=True)
class EventGroup:
    """What a client wants to hear of some mailboxes: `names` where it names them, `fetch` of new messages."""

    where: Where
    names: frozenset[str]
    events: frozenset[Event]
    fetch: tuple[Item | Section, ...] = ()


@dataclass(frozen=True, slots=True)
class NotifySet:
    """What NOTIFY SET asks for; with `status` also how the mailboxes are now."""

    groups: tuple[EventGroup, ...]
    status: bool = False


class UnknownEvent(Exception):
    """An event that there is none of here: NO [BADEVENT]."""


def notify(cursor: Cursor) -> NotifySet | None:
    """``notify = "NOTIFY" SP ("SET" [SP "STATUS"] 1*(SP event-group) / "NONE")``; None for the last."""
    cursor.space()
    if cursor.take(b"NONE"):
        cursor.expect_end()
        return None
    cursor.expect(b"SET")
    cursor.space()
    status = cursor.take(b"STATUS ")
    groups = [_group(cursor)]
    while not cursor.at_end():
        cursor.space()
        groups.append(_group(cursor))
        if len(groups) > _GROUPS:
            raise BadSyntax("More groups of events than anybody needs")
    if sum(group.where in OF_SELECTED for group in groups) > 1:
        raise BadSyntax("The selected mailbox can be named once")
    return NotifySet(tuple(groups), status)


def _group(cursor: Cursor) -> EventGroup:
    """``event-group = "(" filter-mailboxes SP events ")"``."""
    cursor.expect(b"(")
    try:
        where = Where(cursor.atom().upper())
    except ValueError:
        raise BadSyntax("There is no such choice of mailboxes")
    names: frozenset[str] = frozenset()
    if where in _NAMED:
        cursor.space()
        names = _names(cursor)
    cursor.space()
    events, fetch = _events(cursor, where)
    cursor.expect(b")")
    return EventGroup(where, names, events, fetch)


def _names(cursor: Cursor) -> frozenset[str]:
    """``one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"``."""
    if not cursor.take(b"("):
        return frozenset({cursor.mailbox()})
    names = [cursor.mailbox()]
    while not cursor.take(b")"):
        cursor.space()
        names.append(cursor.mailbox())
        if len(names) > _NAMES:
            raise BadSyntax("More mailboxes than can be named at once")
    return frozenset(names)


def _events(cursor: Cursor, where: Where) -> tuple[frozenset[Event], tuple[Item | Section, ...]]:
    """``events = ("(" event *(SP event) ")") / "NONE"``."""
    if cursor.take(b"NONE"):
        return frozenset(), ()
    cursor.expect(b"(")
    events: set[Event] = set()
    fetch: tuple[Item | Section, ...] = ()
    unknown = False
    while (not events and not unknown) or not cursor.take(b")"):
        if events or unknown:
            cursor.space()
        event = _BY_NAME.get(cursor.atom().upper())
        if event is None:
            unknown = True
            continue
        events.add(event)
        if event is Event.MESSAGE_NEW and where in OF_SELECTED and cursor.take(b" ("):
            fetch = grammar_fetch.items(cursor)
    if unknown:
        raise UnknownEvent
    _check(events, where)
    return frozenset(events), fetch


def _check(events: set[Event], where: Where) -> None:
    """RFC 5465 section 5: some go together, and of the selected mailbox messages alone are told."""
    if (Event.MESSAGE_NEW in events) != (Event.MESSAGE_EXPUNGE in events):
        raise BadSyntax("MessageNew and MessageExpunge go together")
    if Event.FLAG_CHANGE in events and Event.MESSAGE_NEW not in events:
        raise BadSyntax("FlagChange needs MessageNew and MessageExpunge")
    if where in OF_SELECTED and not events <= OF_MESSAGES:
        raise BadSyntax("Of the selected mailbox only what happens to messages is told")
