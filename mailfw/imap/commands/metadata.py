"""GETMETADATA and SETMETADATA (RFC 5464): annotations of mailboxes, and of the account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mailfw.imap import grammar_mailboxes, names, responses
from mailfw.imap.grammar_mailboxes import GetMetadata, UseRefused, role_of
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.annotation import LONGEST_VALUE, SHARED, AnnotationEdits, Annotations
from mailfw.mail.failure import AnnotationTooLong, NoPermission, RoleTaken, StoreRefusal, TooManyAnnotations
from mailfw.mail.mailbox import MailboxInfo, Role, SetRole
from mailfw.mail.rights import ALL_RIGHTS
from mailfw.optional import IAnnotatedMail

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: RFC 6154 section 4: what a mailbox is for, as an annotation.  It is kept with the mailbox, not with the others.
_SPECIAL_USE = "/private/specialuse"


def is_there(session: Session) -> bool:
    """Whether the store keeps annotations."""
    return bool(IAnnotatedMail.providedBy(session.store))


def _annotated(session: Session) -> Any:
    """Return the store as one with annotations, which CAPABILITY has told of."""
    if not is_there(session):
        raise BadSyntax("There is no such command")
    return session.store


async def _find(session: Session, name: str) -> MailboxInfo | None:
    """Return a mailbox, None for the account itself."""
    return await session.find(names.to_path(name.removesuffix(names.DELIMITER))) if name else None


async def all_annotations(session: Session) -> Mapping[str, Annotations]:
    """Return the annotations of all mailboxes, by id."""
    found: Mapping[str, Annotations] = await _annotated(session).all_annotations(session.account)
    return found


# ---------------------------------------------------------------- they are told


async def get_metadata(session: Session, cursor: Cursor) -> Completion:
    """RFC 5464 section 4.2.  An entry that was named and is not there is NIL."""
    request = grammar_mailboxes.get_metadata(cursor)
    store = _annotated(session)
    info = await _find(session, request.mailbox)
    kept: Annotations = await store.annotations(session.account, info.id if info is not None else None)
    complete = _with_special_use(kept, info) if info is not None else {**kept, **session.settings.annotations}
    found = _chosen(complete, request)
    largest = request.largest
    short = {name: value for name, value in found.items() if largest is None or len(value or b"") <= largest}
    if short:
        target = session.mailbox(info.path) if info is not None else b'""'
        session.stream.write(_line(target, short))
    if len(short) < len(found):
        longest = max(len(value or b"") for value in found.values())
        return responses.ok("Those that are not too long", b"METADATA LONGENTRIES %d" % longest)
    return responses.ok("That is all")


def _chosen(kept: Annotations, request: GetMetadata) -> dict[str, bytes | None]:
    """Return the entries that are asked for and, as deep as the client wants, those below them."""
    found: dict[str, bytes | None] = {}
    for entry in request.entries:
        if request.depth == 0 or entry in kept:
            found[entry] = kept.get(entry)
        if request.depth != 0:
            found.update({name: kept[name] for name in _below(kept, entry, request.depth)})
    return found


def _below(kept: Iterable[str], entry: str, depth: int | None) -> list[str]:
    prefix = entry + "/"
    found = sorted(name for name in kept if name.startswith(prefix))
    return found if depth is None else [name for name in found if "/" not in name[len(prefix) :]]


def _with_special_use(kept: Annotations, info: MailboxInfo) -> Annotations:
    if info.role is None or info.rights != ALL_RIGHTS:
        return kept
    return {**kept, _SPECIAL_USE: info.role.value.encode("ascii")}


def chosen_line(session: Session, info: MailboxInfo, kept: Annotations, entries: Iterable[str]) -> bytes:
    """Return the METADATA response that LIST has for a mailbox (RFC 9590 section 3); what is not there is NIL."""
    complete = _with_special_use(kept, info)
    return _line(session.mailbox(info.path), {entry: complete.get(entry) for entry in entries})


def _line(target: bytes, values: Mapping[str, bytes | None]) -> bytes:
    told = b" ".join(responses.astring(name) + b" " + responses.nstring8(value) for name, value in values.items())
    return responses.untagged(b"METADATA %b (%b)" % (target, told))


# ---------------------------------------------------------------- they are set


async def set_metadata(session: Session, cursor: Cursor) -> Completion:
    """RFC 5464 section 4.3: all or none.  What concerns everybody on the server, nobody sets here."""
    name, values = grammar_mailboxes.set_metadata(cursor)
    _annotated(session)
    info = await _find(session, name)
    if info is None and any(entry.startswith(SHARED) for entry in values):
        raise NoPermission("What is shared with all accounts cannot be changed here")
    try:
        use = info.role if info is not None else None
        if info is not None and _SPECIAL_USE in values:
            use = _role(values.pop(_SPECIAL_USE))
        await _set(session, info, values, use)
    except (UseRefused, RoleTaken) as refused:
        return responses.no(str(refused), b"USEATTR")
    except AnnotationTooLong as refused:
        return responses.no(str(refused), b"METADATA MAXSIZE %d" % LONGEST_VALUE)
    except TooManyAnnotations as refused:
        return responses.no(str(refused), b"METADATA TOOMANY")
    return responses.ok("Noted")


async def _set(session: Session, info: MailboxInfo | None, values: AnnotationEdits, use: Role | None) -> None:
    """Set what a mailbox is for, and annotations; where these are refused, it stays what it was for."""
    is_other = info is not None and use is not info.role
    if info is not None and is_other:
        await session.store.edit_mailbox(session.account, SetRole(info.path, use))
    try:
        if values:
            await _annotated(session).annotate(session.account, info.id if info is not None else None, values)
    except StoreRefusal:
        if info is not None and is_other:
            await session.store.edit_mailbox(session.account, SetRole(info.path, info.role))
        raise


async def copy_annotations(session: Session, source: MailboxInfo, target: MailboxInfo) -> None:
    """RFC 5464 section 4.1: a mailbox that is renamed and stays, as the inbox does, gives its annotations to both."""
    if not is_there(session):
        return
    store = _annotated(session)
    kept: Annotations = await store.annotations(session.account, source.id)
    if kept:
        with suppress(StoreRefusal):  # too much, or nothing that may be set there: the mailbox is renamed without
            await store.annotate(session.account, target.id, kept)


def _role(value: bytes | None) -> Role | None:
    """Read the value of RFC 6154 section 4: attributes with spaces between them, of which one can be had."""
    roles = {role_of(word) for word in (value or b"").decode("ascii", "replace").split()}
    if len(roles) > 1:
        raise UseRefused("A mailbox has one use here")
    return roles.pop() if roles else None
