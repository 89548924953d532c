"""Cases of the store's contract: columns say what rows say."""

from __future__ import annotations

from collections.abc import Sequence

from mailfw.mail.columns import Columns, columns_of
from mailfw.mail.mailbox import Want
from mailfw.optional import IColumns
from mailfw.testing.contents import SAMPLES
from mailfw.testing.store.conversations import letter
from mailfw.testing.store.fixture import ANN, StoreFixture

#: All that columns can have.
COLUMNS = Want.SENT | Want.SORT | Want.THREAD


class ColumnCases(StoreFixture):
    """What `IColumns` says."""

    async def columns(self, uids: Sequence[int], want: Want) -> Columns:
        """Return the columns of some messages, all batches joined.  Raises `not_offered`."""
        self.demand(IColumns, "this store has rows only")
        found: tuple[list[object], ...] = ([], [], [], [], [], [])
        async for batch in IColumns(self.store).columns(ANN, self.inbox, uids, want):
            for column, more in zip(found, _listed(batch), strict=True):
                column += more
        return Columns(*found)  # type: ignore[arg-type] # each has what is in that column

    async def compare(self, uids: Sequence[int], want: Want = COLUMNS) -> None:
        """Compare what columns say of messages with what rows do."""
        expected = columns_of(await self.rows(uids, want), want)
        self.assertEqual(_listed(await self.columns(uids, want)), _listed(expected), want)

    async def test_columns_say_what_rows_say(self) -> None:
        """Whatever is wanted, asked for once or again, of all messages or some, of which some are gone."""
        uids = [await self.add_octets(octets) for octets in SAMPLES.values()]
        for number in range(40):
            [new] = await self.append([letter(f"Re: {number % 7}", str(number), str(number - 1))])
            uids.append(new.uid)
        for want in (Want.NOTHING, Want.SENT, Want.THREAD, COLUMNS):
            await self.compare(uids[::5], want)
            await self.compare(uids, want)
        await self.remove(uids[3:30:4])
        uids += await self.add(3)
        for asked in (uids, uids[::2], uids[3:4], uids[-3:], [*uids, uids[-1] + 1000], []):
            await self.compare(asked)

    async def test_columns_while_messages_go(self) -> None:
        """Expunging between two batches does no harm: no message comes twice, and what stays is there."""
        uids = await self.add(1200)
        await self.columns(uids[:1], Want.SORT)
        seen: list[int] = []
        async for batch in IColumns(self.store).columns(ANN, self.inbox, uids, Want.SORT):
            self.assertEqual(len(batch.sort), len(batch.uids))
            if not seen:
                await self.remove(uids[::2])
            seen += batch.uids
        self.assertEqual(seen, sorted(set(seen)))
        self.assertLessEqual(set(uids[1::2]), set(seen))


def _listed(columns: Columns) -> list[list[object]]:
    found = (columns.uids, columns.received, columns.sizes, columns.sent, columns.sort, columns.ids)
    return [list(column) for column in found]
