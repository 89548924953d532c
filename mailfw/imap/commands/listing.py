"""LIST, LSUB and NAMESPACE: the tree of mailboxes is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mailfw.imap import grammar_mailboxes, names, responses, tree
from mailfw.imap.commands import access, metadata, status
from mailfw.imap.grammar_mailboxes import ListRequest
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.annotation import Annotations, are_visible
from mailfw.mail.failure import NoPermission, NoSuchMailbox, StoreRefusal
from mailfw.mail.mailbox import MailboxInfo, Path
from mailfw.mail.rights import LOOKUP, READ
from mailfw.optional import ISharingView

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Octets of lines that are handed over together.
_MANY = 64 * 1024


async def list_mailboxes(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.8, RFC 5258 and its many return options: RFC 5819, RFC 6154, RFC 8440, RFC 9590."""
    request = grammar_mailboxes.list_request(cursor)
    _check(session, request)
    if request.patterns == ("",) and not request.is_extended:
        return _delimiter(session, b"LIST")
    known = await session.store.mailboxes(session.account)
    infos = {info.path: info for info in known if LOOKUP in info.rights}
    needs_subscriptions = request.only_subscribed or request.show_subscribed
    subscribed = await session.store.subscriptions(session.account) if needs_subscriptions else frozenset()
    annotations = await metadata.all_annotations(session) if request.metadata else {}
    lines = _Lines(session)
    for entry in tree.walk(infos, subscribed, request):
        await lines.pass_on()
        if entry is None:
            continue
        info = infos.get(entry.path)
        if info is None or not entry.is_chosen:
            lines.add(_line(session, b"LIST", entry))
            continue
        told = await _status(session, info, request.status)
        lines.add(_line(session, b"LIST", entry if told is not None else _that_is_gone(entry)))
        for line in _beside(session, info, request, annotations.get(info.id, {})):
            lines.add(line)
        lines.add(told or b"")
    lines.end()
    return responses.ok("That is all")


def _check(session: Session, request: ListRequest) -> None:
    """Refuse what the store does not have."""
    if (request.rights and not ISharingView.providedBy(session.store)) or (
        request.metadata and not metadata.is_there(session)
    ):
        raise BadSyntax("A return option LIST does not have")
    status.check_items(session, request.status)


def _beside(session: Session, info: MailboxInfo, request: ListRequest, annotations: Annotations) -> Iterator[bytes]:
    """Return what else was asked for of a mailbox and is at hand."""
    if request.rights:
        yield access.rights_line(session, info)
    if request.metadata and are_visible(info.rights):
        yield metadata.chosen_line(session, info, annotations, request.metadata)


async def _status(session: Session, info: MailboxInfo, items: tuple[bytes, ...]) -> bytes | None:
    """Return the STATUS response, nothing where there is none to be had, None for a mailbox that cannot be opened."""
    if not items or READ not in info.rights:
        return b""
    try:
        return await status.status_line(session, info, items)
    except (NoSuchMailbox, NoPermission):
        return None
    except StoreRefusal:
        return b""


def _that_is_gone(entry: tree.Entry) -> tree.Entry:
    """RFC 5819 section 2: a mailbox that went between LIST and STATUS is told as one that cannot be selected."""
    return replace(entry, attributes=("\\Noselect", *entry.attributes))


class _Lines:
    """Lines on their way to a client, who may be slow."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: list[bytes] = []
        self._octets = 0

    def add(self, line: bytes) -> None:
        """Take one more."""
        self._held.append(line)
        self._octets += len(line)

    async def pass_on(self) -> None:
        """Hand lines over when there are many, and let others work: for each name that is looked at."""
        if self._octets >= _MANY:
            self.end()
        await self._session.stream.give_way()

    def end(self) -> None:
        """Hand over what is left."""
        if self._held:
            self._session.stream.write(b"".join(self._held))
        self._held, self._octets = [], 0


async def list_subscribed(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.9."""
    request = grammar_mailboxes.lsub_request(cursor)
    if request.patterns == ("",):
        return _delimiter(session, b"LSUB")
    existing = {info.path for info in await session.store.mailboxes(session.account)}
    subscribed = await session.store.subscriptions(session.account)
    lines = _Lines(session)
    for entry in tree.walk_subscribed(existing, subscribed, request):
        await lines.pass_on()
        if entry is not None:
            lines.add(_line(session, b"LSUB", entry))
    lines.end()
    return responses.ok("That is all")


def _delimiter(session: Session, word: bytes) -> Completion:
    session.stream.write(responses.untagged(word + b' (\\Noselect) "/" ""'))
    return responses.ok("That is the delimiter")


def _line(session: Session, word: bytes, entry: tree.Entry) -> bytes:
    attributes = b" ".join(attribute.encode("ascii") for attribute in entry.attributes)
    below = b' ("CHILDINFO" ("SUBSCRIBED"))' if entry.subscribed_below else b""
    return b'* %b (%b) "/" %b%b\r\n' % (word, attributes, session.mailbox(entry.path), below)


def named_line(session: Session, path: Path, before: str) -> bytes:
    """Return the LIST response that names a mailbox, with its other name if it has one (RFC 9051 section 6.3.9.7)."""
    told = b'LIST () "/" ' + session.mailbox(path)
    if before != names.from_path(path):
        told += b' ("OLDNAME" (%b))' % responses.mailbox(before, session.speaks_utf8)
    return responses.untagged(told)


async def namespace(session: Session, cursor: Cursor) -> Completion:
    """RFC 2342: the user's own mailboxes, and those of others, by owner."""
    cursor.expect_end()
    others = b"NIL"
    if ISharingView.providedBy(session.store):
        path = await ISharingView(session.store).namespace(session.account)
        prefix = responses.namespace_prefix(names.from_path(path) + names.DELIMITER, session.speaks_utf8)
        others = b"((" + prefix + b' "/"))'
    session.stream.write(responses.untagged(b'NAMESPACE (("" "/")) ' + others + b" NIL"))
    return responses.ok("That is all")
