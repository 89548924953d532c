"""STATUS, and what of it LIST returns (RFC 5819): how a mailbox is that nobody opens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailfw.imap import capabilities, grammar_mailboxes, names, responses
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.mailbox import DELETED, MailboxInfo, Want
from mailfw.mail.personal import require
from mailfw.mail.rights import READ

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: \Recent messages are counted one by one up to here, and beyond every UID is taken for a message.
_COUNTED = 10_000


async def status(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.10, RFC 9051 section 6.3.11 and the extensions that add items."""
    name, items = grammar_mailboxes.status(cursor)
    check_items(session, items)
    info = await session.find(names.to_path(name.removesuffix(names.DELIMITER)))
    require(info.rights, READ)
    session.stream.write(await status_line(session, info, items))
    return responses.ok("That is all")


def check_items(session: Session, items: Sequence[bytes]) -> None:
    """
    Refuse items that there are not for this client.

    RFC 7162 section 3.1: one who asks for HIGHESTMODSEQ is told of modification sequences from then on.
    """
    for item in items:
        known = ITEMS.get(item)
        if known is None or known.capability in session.allowance.without or (known.is_old and session.is_rev2):
            raise BadSyntax("An item STATUS does not have")
    if b"HIGHESTMODSEQ" in items:
        capabilities.enable(session, b"CONDSTORE")


async def status_line(session: Session, info: MailboxInfo, items: Sequence[bytes]) -> bytes:
    """Return the STATUS response for a mailbox, with items that `check_items` has passed."""
    told: list[bytes] = []
    for item in items:
        value = ITEMS[item].value(session, info)
        told.append(item + b" " + (value if isinstance(value, bytes) else await value))
    return responses.untagged(b"STATUS %b (%b)" % (session.mailbox(info.path), b" ".join(told)))


@dataclass(frozen=True, slots=True)
class StatusItem:
    """
    What STATUS can be asked for, and which capability brings it.

    `value` returns it at once unless messages must be counted.  `is_old` is what IMAP4rev2 has done away with.
    """

    value: Callable[[Session, MailboxInfo], bytes | Awaitable[bytes]]
    capability: bytes = b""
    is_old: bool = False


def _number(count: Callable[[MailboxInfo], int], capability: bytes = b"") -> StatusItem:
    return StatusItem(lambda _, info: b"%d" % count(info), capability)


def _append_limit(session: Session, info: MailboxInfo) -> bytes:
    """RFC 7889 section 3.1: all mailboxes have the limit of the account."""
    limit: int = session.allowance.append
    return b"%d" % limit


async def _count_recent(session: Session, info: MailboxInfo) -> bytes:
    """Count what no session has claimed, and what this one has."""
    unclaimed = info.uid_next - info.recent_uid
    view = session.view
    if unclaimed <= 0 or info.messages == info.uid_next - 1 or unclaimed > _COUNTED:
        count = max(0, min(unclaimed, info.messages))
    else:
        wanted = range(info.recent_uid, info.uid_next)
        count = 0
        async for rows in session.store.rows(session.account, info.id, wanted, Want.NOTHING):
            count += len(rows)
    if view is not None and view.mailbox_id == info.id and not session.read_only:
        count += view.recent_count
    return b"%d" % count


async def _measure_deleted(session: Session, info: MailboxInfo) -> bytes:
    """RFC 9208 section 4.1.4: what an expunge would free, in octets."""
    if not info.deleted or info.deleted >= info.messages:
        return b"%d" % (info.size if info.deleted else 0)
    snapshot = await session.store.snapshot(session.account, info.id, 0)
    wanted = [uid for uid, flags in zip(snapshot.uids, snapshot.flags, strict=True) if DELETED in flags]
    size = 0
    async for rows in session.store.rows(session.account, info.id, wanted, Want.NOTHING):
        size += sum(row.size for row in rows)
    return b"%d" % size


#: ``status-att`` of RFC 3501 and RFC 9051, and of extensions.
ITEMS: Mapping[bytes, StatusItem] = {
    b"MESSAGES": _number(lambda info: info.messages),
    b"RECENT": StatusItem(_count_recent, is_old=True),
    b"UIDNEXT": _number(lambda info: info.uid_next),
    b"UIDVALIDITY": _number(lambda info: info.uid_validity),
    b"UNSEEN": _number(lambda info: info.unseen),
    b"DELETED": _number(lambda info: info.deleted),
    b"SIZE": _number(lambda info: info.size, b"STATUS=SIZE"),
    b"MAILBOXID": StatusItem(lambda _, info: responses.object_id(info.id), b"OBJECTID"),
    b"HIGHESTMODSEQ": _number(lambda info: info.modseq, b"CONDSTORE"),
    b"APPENDLIMIT": StatusItem(_append_limit, b"APPENDLIMIT"),
    b"DELETED-STORAGE": StatusItem(_measure_deleted, b"QUOTA"),
}
