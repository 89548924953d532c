"""The header of a message, measured while it passes."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.reply import Reply
from mailfw.smtp import replies
from mailfw.smtp.gauge import HeaderGauge

HEADER = b"Subject: a\r\n b\r\nTo: x\r\nX: y\r\n\tz\r\n"
MESSAGE = HEADER + b"\r\nBody: no field\r\n" * 9


def measure(message: bytes, size: int, fields: int, cuts: list[int], strictly: bool = False) -> Reply | None:
    """Look at a message in pieces, none of which ends between CR and LF."""
    gauge = HeaderGauge(size, fields)
    edges = [0, *(cut for cut in sorted(set(cuts)) if 0 < cut < len(message) and message[cut - 1] != 13), len(message)]
    for start, end in itertools.pairwise(edges):
        wrong = gauge.look_at(message[start:end], strictly)
        if wrong is not None:
            return wrong
        if gauge.is_over:
            break
    return None


class GaugeTests(SynchronousTestCase):
    def test_limits(self) -> None:
        for cut in range(len(MESSAGE)):
            self.assertIsNone(measure(MESSAGE, len(HEADER), 3, [cut]))
            self.assertEqual(measure(MESSAGE, len(HEADER) - 1, 3, [cut]), replies.HEADER_TOO_LARGE)
            self.assertEqual(measure(MESSAGE, len(HEADER), 2, [cut]), replies.TOO_MANY_FIELDS)

    @given(st.lists(st.integers(0, len(MESSAGE))), st.integers(0, 60), st.integers(0, 5))
    def test_any_split(self, cuts: list[int], size: int, fields: int) -> None:
        whole = measure(MESSAGE, size, fields, [])
        self.assertEqual(measure(MESSAGE, size, fields, cuts) is None, whole is None)

    def test_no_header(self) -> None:
        self.assertIsNone(measure(b"\r\n" + b"x\r\n" * 50, 0, 0, []))
        self.assertIsNone(measure(b"\r\n\r\n" + b"x\r\n" * 50, 0, 0, [2]))

    def test_a_header_without_end(self) -> None:
        self.assertEqual(measure(b"x" * 1000, 500, 5, list(range(1000))), replies.HEADER_TOO_LARGE)

    @given(st.binary(max_size=20), st.data())
    def test_strictly(self, body: bytes, data: Any) -> None:
        """What a binary body holds is its own affair; in the header lines are lines."""
        self.assertIsNone(measure(HEADER + b"\r\n" + body, 1000, 10, [], strictly=True))
        at = data.draw(st.sampled_from([3, 8, 20]))
        for wrong in (b"\0", b"\n", b"\r"):
            broken = HEADER[:at] + wrong + HEADER[at:]
            self.assertEqual(measure(broken + b"\r\n", 1000, 10, [], strictly=True), replies.BARE_LINE_END)
