"""What is kept of rows: found while it is young, forgotten when it is old, joined when more of it is read."""

from __future__ import annotations

from array import array

from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.mailbox import Want
from mailfw.stores.index.journal import positions
from mailfw.stores.index.queries import Lasting
from mailfw.stores.index.recent import RecentRows

ENVELOPE, FIELDS = Want.ENVELOPE.value, Want.FIELDS.value


def row(envelope: bytes | None = None, fields: bytes | None = None) -> Lasting:
    """Make what lasts of a row with some columns."""
    there = (ENVELOPE if envelope is not None else 0) | (FIELDS if fields is not None else 0)
    return there, 7, "M7", envelope, None, None, None, fields, None, None, None, None, None


class RecentRowsTests(SynchronousTestCase):
    """`RecentRows`."""

    def test_only_what_has_all_that_is_wanted_is_found(self) -> None:
        """A row that lacks a column is read again."""
        rows = RecentRows()
        rows.keep(1, row(envelope=b"(e)"))
        self.assertEqual(rows.find(1, ENVELOPE), row(envelope=b"(e)"))
        self.assertIsNone(rows.find(1, ENVELOPE | FIELDS))
        self.assertIsNone(rows.find(2, 0))

    def test_columns_are_joined(self) -> None:
        """What was read at two times is found together."""
        rows = RecentRows()
        rows.keep(1, row(envelope=b"(e)"))
        rows.keep(1, row(fields=b"f"))
        self.assertEqual(rows.find(1, ENVELOPE | FIELDS), row(b"(e)", b"f"))

    def test_memory_is_bounded(self) -> None:
        """What nobody asks for goes, what is asked for stays."""
        rows = RecentRows(capacity=100_000)
        for number in range(1000):
            rows.keep(number, row(envelope=bytes(1000)))
            self.assertIsNotNone(rows.find(0, ENVELOPE))
        there = [number for number in range(1000) if rows.find(number, ENVELOPE) is not None]
        self.assertLess(len(there), 110)
        self.assertIn(999, there)


class PositionsTests(SynchronousTestCase):
    """`positions`, which has a short way for runs."""

    def test_runs_gaps_and_strangers(self) -> None:
        """Only what is there has a position."""
        ordered = array("I", [2, 3, 5, 8, 9])
        for wanted, expected in (
            ([], []),
            ([3, 5, 8], [1, 2, 3]),
            ([3, 8], [1, 3]),
            ([1, 2, 4, 9, 10], [0, 4]),
            ([10], []),
        ):
            self.assertEqual(positions(ordered, wanted), expected)
