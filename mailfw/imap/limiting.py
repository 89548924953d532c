"""MESSAGELIMIT: on how many messages one command works (RFC 9738)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mailfw.imap import responses
from mailfw.imap.keys import And
from mailfw.imap.matching import looked_at
from mailfw.imap.responses import Completion, Status
from mailfw.imap.view import View

if TYPE_CHECKING:
    from mailfw.imap.server import Session


def within(session: Session, uids: Sequence[int]) -> Sequence[int]:
    """Return those of a command's messages (ascending) that it works on: the last ones, and the client hears of it."""
    limit = session.message_limit
    if not limit or len(uids) <= limit:
        return uids
    kept = uids[-limit:]
    session.lowest_done = kept[0]
    return kept


def searched(session: Session, view: View, key: And) -> Sequence[int] | None:
    """Return in which messages a search looks, None for all that it is about."""
    limit = session.message_limit
    if not limit or len(uids := looked_at(key.keys, view)) <= limit:
        return None
    return within(session, uids)


def refusal(session: Session, messages: int) -> Completion | None:
    """Return the answer to a command that does all or nothing, if these are too many messages for it."""
    limit = session.message_limit
    if not limit or messages <= limit:
        return None
    return responses.no(f"One command works on {limit} messages at most", b"MESSAGELIMIT %d" % limit)


def unordered(session: Session, view: View, key: And) -> Completion | None:
    """Return the answer to a sort or thread of too many messages: of some of them it would say nothing."""
    return refusal(session, len(looked_at(key.keys, view))) if session.message_limit else None


def told(session: Session, completion: Completion) -> Completion:
    """Say in a completion, or before one that has another code, that not all was done (section 3.1)."""
    lowest = session.lowest_done
    if lowest is None or completion.status is Status.BAD:
        return completion
    code = b"MESSAGELIMIT %d %d" % (session.message_limit, lowest)
    if completion.status is Status.OK and completion.code is None:
        return replace(completion, code=code)
    session.say(b"NO", "Only the last of the messages were worked on", code)
    return replace(completion, status=Status.OK) if completion.code == b"EXPUNGEISSUED" else completion
