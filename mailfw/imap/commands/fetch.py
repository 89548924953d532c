"""FETCH and UID FETCH: what is known of messages, and their octets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mailfw.imap import grammar_fetch, responses
from mailfw.imap.commands.sections import PIECE, SectionReader, is_listed, listed_octets
from mailfw.imap.grammar_fetch import Item, Section
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.imap.view import View
from mailfw.interfaces import IContent
from mailfw.mail.failure import StoreRefusal
from mailfw.mail.mailbox import SEEN, FlagChange, Row, Want
from mailfw.mail.mime import decode_parts

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Answers are handed over in portions, for slow clients.
_PORTION = 500
#: So many messages become \Seen together, before the first of them is sent.
_OPENED = 50

_WANTS = {
    Item.ENVELOPE: Want.ENVELOPE,
    Item.BODY: Want.BODY,
    Item.BODYSTRUCTURE: Want.BODYSTRUCTURE,
}


async def fetch(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 3501 sections 6.4.5 and 6.4.8."""
    request = grammar_fetch.fetch(cursor)
    uids = session.selected.resolve(request.wanted, by_uid)
    items = request.items if not by_uid or Item.UID in request.items else (Item.UID, *request.items)
    facts = tuple(item for item in items if isinstance(item, Item))
    sections = tuple(item for item in items if isinstance(item, Section))
    if sections:
        sent = await _Sections(session, facts, sections).send(uids)
    elif {Item.UID, Item.FLAGS}.issuperset(facts):
        sent = await _send_view(session, facts, uids)
    else:
        sent = await _send_rows(session, facts, uids)
    if sent < len(uids) and not by_uid:
        # RFC 2180 section 4.1.2: what is there was sent, and the client learns of the rest soon.
        return responses.no("Some of the messages are gone", b"EXPUNGEISSUED")
    return responses.ok("Fetched")


# ---------------------------------------------------------------- facts


class _FactLine:
    """Writes the facts of messages: one template for the line, and a way to each of its values."""

    def __init__(self, view: View, facts: Sequence[Item]) -> None:
        self._view = view
        self.template = b"* %%d FETCH (%b" % b" ".join(_TEMPLATES[item] for item in facts)
        self._values = [_VALUES[item] for item in facts]

    def __call__(self, row: Row) -> bytes:
        view, uid = self._view, row.uid
        return self.template % (view.number_of(uid), *[value(view, row) for value in self._values])


def _flags(view: View, row: Row) -> bytes:
    return responses.flags(view.flags_of(row.uid), view.is_recent(row.uid))


_TEMPLATES = {item: item.value + (b" %d" if item in (Item.UID, Item.SIZE) else b" %b") for item in Item}
_VALUES: dict[Item, Callable[[View, Row], object]] = {
    Item.UID: lambda view, row: row.uid,
    Item.FLAGS: _flags,
    Item.DATE: lambda view, row: responses.internal_date(row.received),
    Item.SIZE: lambda view, row: row.size,
    Item.ENVELOPE: lambda view, row: row.envelope,
    Item.BODY: lambda view, row: row.body,
    Item.BODYSTRUCTURE: lambda view, row: row.bodystructure,
}


async def _send_view(session: Session, facts: Sequence[Item], uids: Sequence[int]) -> int:
    """Send what the view knows, without asking the store."""
    view, stream = session.selected, session.stream
    line = _FactLine(view, facts)
    sent = 0
    for start in range(0, len(uids), _PORTION):
        here = [uid for uid in uids[start : start + _PORTION] if not view.is_gone(uid)]
        # No store is asked for rows of which only the UID counts.
        stream.write(b"".join([line(Row(uid, 0, frozenset(), 0, 0, "")) + b")\r\n" for uid in here]))
        await stream.drain()
        await stream.give_way()
        sent += len(here)
    return sent


async def _send_rows(session: Session, facts: Sequence[Item], uids: Sequence[int]) -> int:
    view, stream = session.selected, session.stream
    line = _FactLine(view, facts)
    want = _want(facts)
    sent = 0
    async for rows in session.store.rows(session.account, view.mailbox_id, uids, want):
        for start in range(0, len(rows), _PORTION):
            portion = rows[start : start + _PORTION]
            stream.write(b")\r\n".join([*map(line, portion), b""]))
            await stream.drain()
            await stream.give_way()
        sent += len(rows)
    return sent


def _want(facts: Sequence[Item]) -> Want:
    want = Want.NOTHING
    for item in facts:
        want |= _WANTS.get(item, Want.NOTHING)
    return want


# ---------------------------------------------------------------- octets


class _Sections:
    """Sends messages of which octets are asked."""

    def __init__(self, session: Session, facts: Sequence[Item], sections: Sequence[Section]) -> None:
        self._session = session
        self._view = session.selected
        self._sections = sections
        self._line = _FactLine(self._view, facts)
        self._separator = b" " if facts else b""
        self._marks_seen = not session.read_only and not all(section.peek for section in sections)
        self._written = 0
        self._tells_flags = Item.FLAGS not in facts
        #: Whether the store's rows have all that is asked.
        self._is_listed = all(map(is_listed, sections))
        self._want = _want(facts) | (Want.FIELDS if any(map(is_listed, sections)) else Want.NOTHING)
        if any(section.needs_parts and not is_listed(section) for section in sections):
            self._want |= Want.PARTS

    async def send(self, uids: Sequence[int]) -> int:
        """Send all; return how many were still there."""
        session = self._session
        sent = 0
        async for rows in session.store.rows(session.account, self._view.mailbox_id, uids, self._want):
            size = _OPENED if self._marks_seen else _PORTION
            for start in range(0, len(rows), size):
                portion = rows[start : start + size]
                seen = await self._mark_seen(portion) if self._marks_seen else frozenset()
                if self._is_listed:
                    sent += await self._send_listed(portion, seen)
                else:
                    for row in portion:
                        sent += await self._send_opened(row, row.uid in seen)
                await session.stream.give_way()
        return sent

    async def _mark_seen(self, rows: Sequence[Row]) -> frozenset[int]:
        """Set \\Seen; return whose flags the client must be told."""
        unseen = [row.uid for row in rows if SEEN not in self._view.flags_of(row.uid)]
        if not unseen:
            return frozenset()
        session = self._session
        try:
            altered = await session.store.alter(
                session.account, self._view.mailbox_id, unseen, FlagChange.ADD, frozenset({SEEN})
            )
        except StoreRefusal:
            return frozenset()  # with a full disk, mail can still be read
        self._view.note_flags(altered)
        return frozenset(altered.changed) if self._tells_flags else frozenset()

    async def _send_listed(self, rows: Sequence[Row], seen: frozenset[int]) -> int:
        """Send what the rows have, without opening a message."""
        lines: list[bytes] = []
        for row in rows:
            fields = row.fields or b""
            sections = [section.label + b" " + listed_octets(fields, section) for section in self._sections]
            lines.append(self._line(row) + self._separator + b" ".join(sections) + self._end(row, row.uid in seen))
        self._session.stream.write(b"".join(lines))
        await self._session.stream.drain()
        return len(rows)

    async def _send_opened(self, row: Row, tell_flags: bool) -> bool:
        """Send one message, unless it is gone."""
        session = self._session
        content = await session.store.content(session.account, self._view.mailbox_id, row.uid)
        if content is None:
            return False
        try:
            await self._answer(row, content, tell_flags)
        finally:
            await content.close()
        return True

    def _end(self, row: Row, tell_flags: bool) -> bytes:
        return b" FLAGS " + _flags(self._view, row) + b")\r\n" if tell_flags else b")\r\n"

    async def _answer(self, row: Row, content: IContent, tell_flags: bool) -> None:
        stream = self._session.stream
        root = decode_parts(row.parts) if row.parts else None
        reader = SectionReader(stream, row, root, content, len(self._sections))
        try:
            reader.write(self._line(row) + self._separator)
            for at, section in enumerate(self._sections):
                reader.write(b" " + section.label + b" " if at else section.label + b" ")
                await reader.send(section)
            reader.write(self._end(row, tell_flags))
            reader.finish()
            self._written += row.size
            if self._written >= PIECE:
                self._written = 0
                await stream.drain()
        except Exception:
            if reader.has_begun:
                stream.abort()  # half a message is with the client, and whatever came now would be taken for the rest
            raise
