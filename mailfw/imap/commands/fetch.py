"""FETCH and UID FETCH: what is known of messages, and their octets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mailfw.imap import grammar_fetch, limiting, responses, resync, telling
from mailfw.imap.commands.contents import opened
from mailfw.imap.commands.sections import SectionReader, is_decodable, is_listed, listed_octets, without_nul
from mailfw.imap.grammar_fetch import SHORT, FetchRequest, Item, Section
from mailfw.imap.lexer import BadSyntax, Cursor, SequenceSet
from mailfw.imap.responses import Completion
from mailfw.imap.view import View
from mailfw.interfaces import IContent
from mailfw.mail.content import Octets
from mailfw.mail.failure import StoreRefusal
from mailfw.mail.mailbox import SEEN, FlagChange, Row, Want
from mailfw.mail.part_table import decode_parts

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Answers are handed over in portions, for slow clients: so many messages, fewer where each has many sections.
_PORTION = 1000
#: So many messages become \Seen together, before the first of them is sent.
_OPENED = 50

#: What a view knows of its messages.
_IN_VIEW = frozenset({Item.UID, Item.FLAGS, Item.MODSEQ})
#: The greatest UID there could be.
_LAST_UID = 2**32 - 1

#: What ends the line of a message.
_END = b")\r\n"
_FETCHED = responses.ok("Fetched")

_WANTS = {
    Item.ENVELOPE: Want.ENVELOPE,
    Item.BODY: Want.BODY,
    Item.BODYSTRUCTURE: Want.BODYSTRUCTURE,
    Item.PREVIEW: Want.PREVIEW,
    Item.THREAD_ID: Want.THREAD,
    Item.SAVED_DATE: Want.SAVED,
}


async def fetch(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 3501 sections 6.4.5 and 6.4.8."""
    wanted, request = grammar_fetch.fetch(cursor)
    uids: Sequence[int] = session.selected.resolve(wanted, by_uid)
    if request.page is not None:  # RFC 9394 section 3.3
        refused = limiting.refusal(session, request.page.last - request.page.first + 1)
        if refused is not None:
            return refused
        uids = request.page.of(uids)
    if request.changed_since is not None or request.vanished:
        uids = await _of_changed(session, wanted, request, uids, by_uid)
    uids = limiting.within(session, uids)
    told = _told if _is_short(request.items) else _told.__wrapped__
    facts, sections = told(request, by_uid and not session.uid_only)
    if Item.MODSEQ in facts:
        await telling.know_modseqs(session)
    sent, has_unknown = await send(session, facts, sections, uids)
    if has_unknown:
        return responses.no("Nobody here can decode that part", b"UNKNOWN-CTE")
    if sent < len(uids) and not by_uid:
        # RFC 2180 section 4.1.2: what is there was sent, and the client learns of the rest soon.
        return responses.no("Some of the messages are gone", b"EXPUNGEISSUED")
    return _FETCHED


async def send(
    session: Session, facts: tuple[Item, ...], sections: Sequence[Section], uids: Sequence[int]
) -> tuple[int, bool]:
    """Send this of messages; return how many were there, and whether any part could not be decoded."""
    if sections:
        sending = _Sections(session, facts, sections)
        return await sending.send(uids), sending.has_unknown
    if _IN_VIEW.issuperset(facts):
        return await _send_view(session, facts, uids), False
    return await _send_rows(session, facts, uids), False


async def send_news(session: Session, items: Sequence[Item | Section], uids: Sequence[int]) -> None:
    """Send this of new messages, unasked: with UID and MODSEQ, by RFC 7162 section 3.2.4, for who knows of them."""
    if Item.MODSEQ in items:
        await telling.know_modseqs(session)
    facts = tuple(item for item in items if isinstance(item, Item))
    if session.tells_modseq:
        both = (Item.MODSEQ,) if session.uid_only else (Item.UID, Item.MODSEQ)
        facts = (*facts, *[item for item in both if item not in facts])
    await send(session, facts, tuple(item for item in items if isinstance(item, Section)), uids)


async def _of_changed(
    session: Session, wanted: SequenceSet, request: FetchRequest, uids: Sequence[int], by_uid: bool
) -> Sequence[int]:
    """Tell what has vanished, if that is asked, and return those of the messages that have changed."""
    if request.vanished and (not by_uid or request.changed_since is None):  # RFC 7162 section 3.2.6
        raise BadSyntax("VANISHED belongs to UID FETCH with CHANGEDSINCE")
    if request.vanished and b"QRESYNC" not in session.enabled:
        raise BadSyntax("ENABLE QRESYNC first")
    await telling.know_modseqs(session)
    since, view = request.changed_since or 0, session.selected
    if request.vanished:
        changes = await session.store.snapshot(session.account, view.mailbox_id, since)
        missing = resync.gone(view, changes, not since)
        named = [(1, _LAST_UID)] if wanted.is_saved else resync.normal(wanted)
        session.stream.write(responses.vanished(resync.common(missing, named), earlier=True))
    return view.changed_since(uids, since)


def _is_short(items: Iterable[Item | Section]) -> bool:
    """Whether what this comes to is worth keeping: a client may name very many fields, and never do it again."""
    return sum([len(item.label) for item in items if isinstance(item, Section)]) <= SHORT


@functools.lru_cache(maxsize=256)
def _told(request: FetchRequest, with_uid: bool) -> tuple[tuple[Item, ...], tuple[Section, ...]]:
    """Return which facts to send, also those that the client did not have to ask for, and which sections."""
    facts = tuple(item for item in request.items if isinstance(item, Item))
    if with_uid and Item.UID not in facts:
        facts = (Item.UID, *facts)
    if request.changed_since is not None and Item.MODSEQ not in facts:  # RFC 7162 section 3.1.4.1
        facts = (*facts, Item.MODSEQ)
    return facts, tuple(item for item in request.items if isinstance(item, Section))


# ---------------------------------------------------------------- facts


class _FactLines:
    """Writes the facts of messages: one template for all lines, and a way to each column of their values."""

    def __init__(self, view: View, facts: tuple[Item, ...]) -> None:
        self._view = view
        self._template, self._columns = _layout(facts, view.uid_only)

    def of_uids(self, uids: Sequence[int], rows: Sequence[Row] = (), end: bytes = b"") -> list[bytes]:
        """Return a line for each of these messages, by ascending UID; `rows` may be left out for UID and FLAGS."""
        view, template = self._view, self._template + end
        numbers = view.numbers_of(uids)
        columns = [column(view, numbers, uids, rows) for column in self._columns]
        names = uids if view.uid_only else numbers
        return [template % values for values in zip(names, *columns, strict=True)]

    def of_rows(self, rows: Sequence[Row], end: bytes = b"") -> list[bytes]:
        """Return a line for each row."""
        return self.of_uids([row.uid for row in rows], rows, end)


_Column = Callable[[View, Sequence[int], Sequence[int], Sequence[Row]], Sequence[object]]


@functools.lru_cache(maxsize=256)
def _layout(facts: tuple[Item, ...], uid_only: bool) -> tuple[bytes, list[_Column]]:
    """Return the template of a line and what fills it; clients ask the same of one message after the other."""
    word = b"UIDFETCH" if uid_only else b"FETCH"
    template = b"* %%d %b (%b" % (word, b" ".join([_TEMPLATES[item] for item in facts]))
    return template, [_COLUMNS[item] for item in facts]


_TEMPLATES = {item: item.value + (b" %d" if item in (Item.UID, Item.SIZE) else b" %b") for item in Item}
_TEMPLATES[Item.MODSEQ] = b"MODSEQ (%d)"
_COLUMNS: dict[Item, _Column] = {
    Item.UID: lambda view, numbers, uids, rows: uids,
    Item.FLAGS: lambda view, numbers, uids, rows: view.worded_flags(numbers, responses.flags),
    Item.DATE: lambda view, numbers, uids, rows: [responses.internal_date(row.received) for row in rows],
    Item.SIZE: lambda view, numbers, uids, rows: [row.size for row in rows],
    Item.ENVELOPE: lambda view, numbers, uids, rows: [row.envelope for row in rows],
    Item.BODY: lambda view, numbers, uids, rows: [row.body for row in rows],
    Item.BODYSTRUCTURE: lambda view, numbers, uids, rows: [row.bodystructure for row in rows],
    Item.PREVIEW: lambda view, numbers, uids, rows: [responses.string((row.preview or "").encode()) for row in rows],
    Item.EMAIL_ID: lambda view, numbers, uids, rows: [responses.object_id(row.email_id) for row in rows],
    Item.MODSEQ: lambda view, numbers, uids, rows: view.modseqs_of(numbers),
    Item.THREAD_ID: lambda view, numbers, uids, rows: [
        b"NIL" if row.thread_id is None else responses.object_id(row.thread_id) for row in rows
    ],
    Item.SAVED_DATE: lambda view, numbers, uids, rows: [
        b"NIL" if row.saved is None else responses.internal_date(row.saved) for row in rows
    ],
}


async def _send_view(session: Session, facts: tuple[Item, ...], uids: Sequence[int]) -> int:
    """Send what the view knows, without asking the store."""
    view, stream = session.selected, session.stream
    lines = _FactLines(view, facts)
    sent = 0
    for start in range(0, len(uids), _PORTION):
        here = view.without_gone(uids[start : start + _PORTION])
        stream.write(b"".join(lines.of_uids(here, end=_END)))
        await stream.give_way()
        sent += len(here)
    return sent


async def _send_rows(session: Session, facts: tuple[Item, ...], uids: Sequence[int]) -> int:
    view, stream = session.selected, session.stream
    lines = _FactLines(view, facts)
    want = _want(facts)
    sent = 0
    async for rows in session.store.rows(session.account, view.mailbox_id, uids, want):
        for start in range(0, len(rows), _PORTION):
            stream.write(b"".join(lines.of_rows(rows[start : start + _PORTION], _END)))
            await stream.give_way()
        sent += len(rows)
    return sent


@functools.lru_cache(maxsize=256)
def _want(facts: tuple[Item, ...]) -> Want:
    want = Want.NOTHING
    for item in facts:
        want |= _WANTS.get(item, Want.NOTHING)
    return want


# ---------------------------------------------------------------- octets

#: What asks for all octets of a message.
_WHOLE = frozenset({Section(b"BODY[]", peek=True), Section(b"RFC822", peek=True)})


@dataclass(frozen=True, slots=True)
class _Plan:
    """
    How sections are answered.

    `whole` is the one that asks for all octets, if it is alone.  `is_listed` says that the store's rows have all that
    is asked, `want` what of them is needed, and `peeks` that no message becomes \\Seen.
    """

    whole: Section | None
    is_listed: bool
    want: Want
    peeks: bool


@functools.lru_cache(maxsize=256)
def _plan(facts: tuple[Item, ...], sections: tuple[Section, ...]) -> _Plan:
    is_whole = len(sections) == 1 and replace(sections[0], peek=True) in _WHOLE
    listed = [is_listed(section) for section in sections]
    want = _want(facts)
    if any(listed):
        want |= Want.FIELDS
    if any(section.needs_parts and not each for section, each in zip(sections, listed, strict=True)):
        want |= Want.PARTS
    peeks = all(section.peek for section in sections)
    return _Plan(sections[0] if is_whole else None, all(listed), want, peeks)


class _Sections:
    """Sends messages of which octets are asked."""

    def __init__(self, session: Session, facts: tuple[Item, ...], sections: Sequence[Section]) -> None:
        self._session = session
        self._view = session.selected
        self._facts = facts
        self._sections = sections
        self._lines = _FactLines(self._view, facts)
        self._separator = b" " if facts else b""
        plan = (_plan if _is_short(sections) else _plan.__wrapped__)(facts, tuple(sections))
        self._whole, self._is_listed, self._want = plan.whole, plan.is_listed, plan.want
        self._marks_seen = not plan.peeks and session.marks_seen
        # What has become \Seen, and the client was not told of yet.
        self._untold: set[int] = set()
        #: Whether something was to be decoded that cannot be.
        self.has_unknown = False

    async def send(self, uids: Sequence[int]) -> int:
        """Send all; return how many were still there."""
        try:
            return await self._send(uids)
        finally:
            self._view.tell_again(self._untold)

    async def _send(self, uids: Sequence[int]) -> int:
        session = self._session
        sent = 0
        size = _OPENED if self._marks_seen else max(1, _PORTION // len(self._sections))
        async for rows in session.store.rows(session.account, self._view.mailbox_id, uids, self._want):
            for start in range(0, len(rows), size):
                portion = rows[start : start + size]
                if self._marks_seen:
                    await self._mark_seen(portion)
                sent += self._send_listed(portion) if self._is_listed else await self._send_opened(portion)
                await session.stream.give_way()
        return sent

    async def _mark_seen(self, rows: Sequence[Row]) -> None:
        """Set \\Seen, of which the client is told with the message."""
        unseen = [row.uid for row in rows if SEEN not in self._view.flags_of(row.uid)]
        if not unseen:
            return
        session = self._session
        try:
            altered = await session.store.alter(
                session.account, self._view.mailbox_id, unseen, FlagChange.ADD, frozenset({SEEN})
            )
        except StoreRefusal:
            return  # with a full disk, mail can still be read
        self._view.note_flags(altered)
        self._untold.update(altered.changed)

    def _send_listed(self, rows: Sequence[Row]) -> int:
        """Send what the rows have, without opening a message."""
        lines: list[bytes] = []
        for row, line in zip(rows, self._lines.of_rows(rows, self._separator), strict=True):
            fields = row.fields or b""
            sections = [section.label + b" " + listed_octets(fields, section) for section in self._sections]
            lines.append(line + b" ".join(sections) + self._end(row.uid))
        self._session.stream.write(b"".join(lines))
        self._untold.difference_update([row.uid for row in rows])
        return len(rows)

    async def _send_opened(self, rows: Sequence[Row]) -> int:
        """Send messages, and return how many: not those that are gone."""
        lines = dict(zip([row.uid for row in rows], self._lines.of_rows(rows, self._separator), strict=True))
        sent = 0
        async with aclosing(opened(self._session, rows)) as batches:
            async for batch in batches:
                for row, content in batch:
                    line, end = lines[row.uid], self._end(row.uid)
                    if self._whole is not None and isinstance(content, Octets):
                        self._write_whole(self._whole, content, line, end)
                    elif await self._answer(row, content, line, end):
                        await self._session.stream.give_way()
                    else:
                        self.has_unknown = True
                        continue
                    self._untold.discard(row.uid)
                    sent += 1
                await self._session.stream.give_way()
        return sent

    def _write_whole(self, section: Section, content: Octets, line: bytes, end: bytes) -> None:
        """Write a message of which all octets are asked and in memory: most of what clients read is like that."""
        octets = without_nul(content.read_now(0, content.size))
        write = self._session.stream.write
        write(b"%b%b {%d}\r\n" % (line, section.label, len(octets)))
        write(octets)
        write(end)

    def _end(self, uid: int) -> bytes:
        if uid not in self._untold:
            return _END
        session, view, facts, told = self._session, self._view, self._facts, b""
        if session.tells_uid and not session.uid_only and Item.UID not in facts:
            told += b" UID %d" % uid
        if Item.FLAGS not in facts:
            told += b" FLAGS " + responses.flags(view.flags_of(uid), view.is_recent(uid))
        if view.has_modseqs and Item.MODSEQ not in facts:
            told += b" MODSEQ (%d)" % view.modseq_of(uid)
        return told + _END

    async def _answer(self, row: Row, content: IContent, line: bytes, end: bytes) -> bool:
        """Write a message, or return False where something is to be decoded that cannot be."""
        stream = self._session.stream
        root = decode_parts(row.parts) if row.parts else None
        if not all(is_decodable(root, section) for section in self._sections):
            return False
        reader = SectionReader(stream, row, root, content, len(self._sections))
        try:
            reader.write(line)
            for at, section in enumerate(self._sections):
                reader.write(b" " + section.label + b" " if at else section.label + b" ")
                await reader.send(section)
            reader.write(end)
            reader.finish()
            return True
        except Exception:
            if reader.has_begun:
                stream.abort()  # half a message is with the client, and whatever came now would be taken for the rest
            raise
