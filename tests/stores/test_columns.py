"""What is kept of columns, in the index and of search files: bounded, and never older than what it was made of."""

from __future__ import annotations

import sqlite3
from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.stores.index.columns import KeptColumns
from mailfw.stores.index.search_columns import FieldTexts, KeptTexts


class KeptColumnsTests(SynchronousTestCase):
    """`KeptColumns`."""

    def test_what_was_added_is_there(self) -> None:
        """A column grows."""
        kept = KeptColumns()
        self.assertEqual(kept.of("a"), {})
        self.assertEqual(kept.add("a", {1: b"one"}), {1: b"one"})
        kept.add("a", {2: b"two"})
        self.assertEqual((kept.of("a"), kept.of("b")), ({1: b"one", 2: b"two"}, {}))

    def test_memory_is_bounded(self) -> None:
        """What nobody asks for goes, what is asked for stays; a column too large is given and not kept."""
        kept = KeptColumns(capacity=100_000)
        for number in range(100):
            kept.add(number, {uid: bytes(850) for uid in range(10)})
            self.assertEqual(len(kept.of(0)), 10)
        there = [number for number in range(100) if kept.of(number)]
        self.assertEqual((len(there), there[-1]), (10, 99))
        self.assertEqual(len(kept.add("large", {uid: bytes(850) for uid in range(101)})), 101)
        self.assertEqual(kept.of("large"), {})


class FieldTextsTests(SynchronousTestCase):
    """`FieldTexts` and `KeptTexts`."""

    @given(st.lists(st.text("ab\n", max_size=5), max_size=12), st.text("ab\0", min_size=1, max_size=3))
    def test_it_finds_what_contains_a_text(self, values: list[str], text: str) -> None:
        """Nothing is found across the end of a value."""
        texts = FieldTexts(array("Q", range(5, 5 + len(values))), [value.encode() for value in values])
        right = {row for row, value in enumerate(values, 5) if text in value}
        self.assertEqual(texts.having(text.encode()), right)

    def setUp(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(self.connection.close)
        self.connection.execute("CREATE TABLE email (row INTEGER PRIMARY KEY, sender TEXT)")

    def put(self, row: int, sender: str | None) -> None:
        """Put a message into the file."""
        self.connection.execute("INSERT INTO email VALUES (?, ?)", (row, sender))

    def find(self, kept: KeptTexts, text: bytes, file: Any = "file") -> set[int] | None:
        """Return what has a text, None where the column is not kept."""
        texts = kept.of(file, self.connection, "sender")
        return texts.having(text) if texts is not None else None

    def test_changes_are_seen(self) -> None:
        """What was changed in the file is never looked for in what was kept before."""
        kept = KeptTexts()
        self.put(1, "ann")
        self.put(2, None)
        self.assertEqual(self.find(kept, b"n"), {1})
        self.put(3, "dan")
        self.assertEqual(self.find(kept, b"n"), {1, 3})
        self.connection.execute("DELETE FROM email WHERE row = 1")
        self.assertEqual(self.find(kept, b"n"), {3})

    def test_it_is_read_once(self) -> None:
        """As long as nothing changes; a file that was closed is read again."""
        kept = KeptTexts()
        self.put(1, "ann")
        asked: list[str] = []
        self.connection.set_trace_callback(asked.append)
        self.find(kept, b"n")
        self.find(kept, b"a")
        self.assertEqual(len(asked), 1)
        kept.forget("file")
        self.find(kept, b"a")
        self.assertEqual(len(asked), 2)

    def test_what_is_too_large_is_not_kept(self) -> None:
        """Neither alone nor together do columns take more than their capacity."""
        kept = KeptTexts(capacity=4000)
        self.put(1, "n" * 900)
        found = [self.find(kept, b"n", file) for file in range(10)]
        self.assertEqual(found, [{1}] * 10)
        self.assertLess(kept._weight, 4000)
        self.put(2, "n" * 900)
        self.assertIsNone(self.find(kept, b"n"))
