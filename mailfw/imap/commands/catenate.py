"""Octets of messages that are here already, named by URLs: RFC 4469."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from mailfw.imap import names, urls
from mailfw.imap.commands.decoded import PIECE
from mailfw.imap.commands.sections import cut, section_range, select_fields
from mailfw.imap.grammar_fetch import Section, Text
from mailfw.imap.urls import BadURL, MessageURL
from mailfw.interfaces import IContent
from mailfw.mail.failure import StoreRefusal
from mailfw.mail.mailbox import MailboxInfo, Row, Want
from mailfw.mail.mime import MAX_HEADER
from mailfw.mail.part_table import decode_parts
from mailfw.mail.personal import require
from mailfw.mail.rights import READ

if TYPE_CHECKING:
    from mailfw.imap.server import Session

Sink = Callable[[bytes], Awaitable[None]]


class TooLarge(Exception):
    """The octets are more than there is room for."""


async def copy_octets(session: Session, octets: bytes, room: int, sink: Sink) -> None:
    """Pass what a URL names to `sink`, at most `room` octets.  Raises `BadURL`, and `TooLarge` before the first."""
    url = urls.parse(octets)
    _check_server(session, url)
    try:
        info = await _mailbox(session, url)
        if url.uid_validity not in (None, info.uid_validity):
            raise BadURL
        row = await _row(session, info, url)
        content = await session.store.content(session.account, info.id, url.uid)
    except (StoreRefusal, names.BadName):
        raise BadURL from None
    if content is None:
        raise BadURL
    try:
        await _copy(session, row, content, url.section, room, sink)
    finally:
        await content.close()


def _check_server(session: Session, url: MessageURL) -> None:
    """Nothing is fetched from elsewhere, nor for somebody else."""
    if url.host is not None and url.host.lower() != session.settings.hostname.lower():
        raise BadURL
    if url.user not in (None, session.account):
        raise BadURL


async def _mailbox(session: Session, url: MessageURL) -> MailboxInfo:
    if url.mailbox:
        info = await session.find(names.to_path(url.mailbox))
    elif session.view is not None:  # RFC 4469 section 3: what is relative is so to the selected mailbox
        info = await session.store.mailbox(session.account, session.view.mailbox_id)
    else:
        raise BadURL
    require(info.rights, READ)
    return info


async def _row(session: Session, info: MailboxInfo, url: MessageURL) -> Row:
    want = Want.PARTS if url.section.needs_parts else Want.NOTHING
    rows = [row async for batch in session.store.rows(session.account, info.id, [url.uid], want) for row in batch]
    if not rows:
        raise BadURL
    return rows[0]


async def _copy(session: Session, row: Row, content: IContent, section: Section, room: int, sink: Sink) -> None:
    start, length = 0, content.size
    if section.needs_parts:
        span = section_range(decode_parts(row.parts or b""), section)
        if span is None:
            raise BadURL
        start, length = span
    if section.text in (Text.FIELDS, Text.FIELDS_NOT):
        header = select_fields(await content.read(start, min(length, MAX_HEADER)), section)
        start, length = cut(0, len(header), section)
        if length > room:
            raise TooLarge
        await sink(header[start : start + length])
        return
    start, length = cut(start, length, section)
    if length > room:
        raise TooLarge
    while length:
        octets = await content.read(start, min(length, PIECE))
        if not octets:
            raise EOFError("A message is shorter than it was")
        await sink(octets)
        start += len(octets)
        length -= len(octets)
        await session.stream.give_way()
