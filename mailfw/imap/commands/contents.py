"""Opening the messages that a command needs, several at once where the store can."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TYPE_CHECKING

from mailfw.interfaces import IContent
from mailfw.mail.mailbox import Row
from mailfw.optional import IManyContents

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def opened(
    session: Session, rows: Sequence[Row], mailbox: str = ""
) -> AsyncGenerator[Sequence[tuple[Row, IContent]], None]:
    """
    Iterate over messages, of the selected mailbox if none is named, and their octets; what is gone is left out.

    They come in batches of bounded size.  Each content is closed for the caller, who must close the iterator
    (`contextlib.aclosing`).
    """
    rows_by_uid = {row.uid: row for row in rows}
    async for batch in _batches(session, mailbox or session.selected.mailbox_id, list(rows_by_uid)):
        try:
            yield [(rows_by_uid[uid], content) for uid, content in batch]
        finally:
            for _, content in batch:
                await content.close()


async def _batches(
    session: Session, mailbox: str, uids: Sequence[int]
) -> AsyncIterator[Sequence[tuple[int, IContent]]]:
    store, account = session.store, session.account
    if len(uids) > 1 and IManyContents.providedBy(store):
        many: IManyContents = store
        async for batch in many.contents(account, mailbox, uids):
            yield batch
        return
    for uid in uids:
        content = await store.content(account, mailbox, uid)
        if content is not None:
            yield [(uid, content)]
