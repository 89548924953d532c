"""What messages are found, sorted and threaded by, from whatever store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from mailfw.imap.view import View
from mailfw.mail.columns import Columns, columns_of
from mailfw.mail.mailbox import Want
from mailfw.optional import IColumns

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def columns(session: Session, view: View, uids: Sequence[int], want: Want) -> AsyncGenerator[Columns, None]:
    """Iterate, in batches, over those of these messages that are there; others have their turn in between."""
    store, account, mailbox = session.store, session.account, view.mailbox_id
    if IColumns.providedBy(store):
        async for batch in store.columns(account, mailbox, uids, want):
            yield batch
            await session.stream.give_way()
    else:
        async for rows in store.rows(account, mailbox, uids, want):
            yield columns_of(rows, want)
            await session.stream.give_way()
