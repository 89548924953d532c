"""GETACL, SETACL, DELETEACL, LISTRIGHTS and MYRIGHTS (RFC 4314): who else may do what with a mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar, grammar_mailboxes, names, responses
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import MailboxInfo
from mailfw.mail.personal import require
from mailfw.mail.rights import (
    ADMINISTER,
    LETTERS,
    LONGEST,
    NO_RIGHTS,
    VIRTUAL,
    BadRights,
    Rights,
    format_rights,
    parse_rights,
)
from mailfw.optional import ISharingView
from mailfw.sasl.saslprep import saslprep

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: RFC 4314 section 4: whoever has none of these rights is not told which he has.
_KNOWING = frozenset("lrikxa")


def _sharing(session: Session) -> ISharingView:
    """Return the store as one whose mailboxes can be shared, which CAPABILITY has told of."""
    if not ISharingView.providedBy(session.store):
        raise BadSyntax("There is no such command")
    return ISharingView(session.store)


def _prepared(identifier: str) -> str:
    """RFC 4314 section 3: an identifier that cannot be prepared, or of which nothing is left, is refused with BAD."""
    try:
        prepared = saslprep(identifier) if len(identifier) <= LONGEST else ""  # which takes long for a long one
    except ValueError:
        prepared = ""
    if not prepared:
        raise BadSyntax("That is no identifier")
    return prepared


async def _find(session: Session, name: str) -> MailboxInfo:
    _sharing(session)
    return await session.find(names.to_path(name))


async def get_access(session: Session, cursor: Cursor) -> Completion:
    """RFC 4314 section 3.3."""
    name = grammar.mailbox(cursor)
    info = await _find(session, name)
    access = await _sharing(session).access(session.account, info.id)
    entries = [responses.astring(identifier) + b" " + _rights(rights) for identifier, rights in access.items()]
    session.stream.write(
        responses.untagged(b" ".join([b"ACL", responses.mailbox(name, session.speaks_utf8), *entries]))
    )
    return responses.ok("That is all")


async def set_access(session: Session, cursor: Cursor) -> Completion:
    """RFC 4314 section 3.1: the rights given replace those there are, or are added to or taken from them."""
    request = grammar_mailboxes.set_access(cursor)
    try:
        asked = parse_rights(request.rights)
    except BadRights as bad:
        return responses.bad(str(bad))
    return await _grant(session, request, asked)


async def delete_access(session: Session, cursor: Cursor) -> Completion:
    """RFC 4314 section 3.2."""
    name, identifier = grammar_mailboxes.mailbox_and_identifier(cursor)
    return await _grant(session, grammar_mailboxes.SetAccess(name, identifier, "", ""), NO_RIGHTS)


async def _grant(session: Session, request: grammar_mailboxes.SetAccess, asked: Rights) -> Completion:
    sharing, identifier = _sharing(session), _prepared(request.identifier)
    info = await _find(session, request.mailbox)
    try:
        await sharing.grant(session.account, info.id, identifier, asked, request.change)
    except BadRights as bad:
        return responses.no(str(bad), b"CANNOT")
    return responses.ok("Noted")


async def list_rights(session: Session, cursor: Cursor) -> Completion:
    """RFC 4314 section 3.4: the owner has all, to anybody else each right can be given by itself."""
    name, identifier = grammar_mailboxes.mailbox_and_identifier(cursor)
    prepared = _prepared(identifier).lower()
    info = await _find(session, name)
    require(info.rights, ADMINISTER)
    access = await _sharing(session).access(session.account, info.id)
    owner = next(iter(access))
    optional = [] if prepared in (owner, owner.partition("@")[0]) else [*LETTERS, *VIRTUAL]
    required = _rights(frozenset() if optional else frozenset(LETTERS))
    told = [b"LISTRIGHTS", responses.mailbox(name, session.speaks_utf8), responses.astring(identifier), required]
    session.stream.write(responses.untagged(b" ".join([*told, *(each.encode("ascii") for each in optional)])))
    return responses.ok("That is all")


async def my_rights(session: Session, cursor: Cursor) -> Completion:
    """RFC 4314 section 3.5."""
    name = grammar.mailbox(cursor)
    info = await _find(session, name)
    if info.rights.isdisjoint(_KNOWING):
        raise NoSuchMailbox("There is no such mailbox")
    session.stream.write(rights_line(session, info))
    return responses.ok("That is all")


def rights_line(session: Session, info: MailboxInfo) -> bytes:
    """Return the MYRIGHTS response for a mailbox."""
    return responses.untagged(b"MYRIGHTS " + session.mailbox(info.path) + b" " + _rights(info.rights))


def _rights(rights: Rights) -> bytes:
    return responses.astring(format_rights(rights, with_virtual=True))
