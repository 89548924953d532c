"""Dates, as mail has them."""

import calendar
import datetime as dt

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.dates import Moment, parse_date


def face(*parts: int) -> int:
    return calendar.timegm((*parts, 0, 0, 0)[:6])


class Dates(SynchronousTestCase):
    def test_table(self) -> None:
        then = face(2026, 2, 1, 9, 18, 13)
        for value, moment in (
            (b"Sun, 1 Feb 2026 09:18:13 +0900", Moment(then, 9 * 3600)),
            (b"Sun, 01 Feb 2026 09:18:13 -0330 (NST)", Moment(then, -12600)),
            (b"1 Feb 2026 09:18:13 GMT", Moment(then)),
            (b"1 Feb 2026 09:18:13", Moment(then)),
            (b"1 Feb 2026 09:18:13 EST", Moment(then, -5 * 3600)),
            (b"Sun,1 Feb 2026 09:18:13 +09:00", Moment(then, 9 * 3600)),
            (b"1 February 2026 9:18:13 AM +0000", Moment(then)),
            (b"1 Feb 2026 09:18:13 pm", Moment(then + 12 * 3600)),
            (b"1-Feb-2026 09:18:13 +0000", Moment(then)),
            (b"1 Feb 2026 09:18 +0000", Moment(then - 13)),
            (b"1 Feb 26 09:18:13 +0000", Moment(then)),
            (b"1 Feb 126 09:18:13 +0000", Moment(then)),
            (b"1 (the first) Feb 2026 09:18:13 +0000", Moment(then)),
            (b"1 Feb 2026 09(comment):   18  :  13 +0000", Moment(then)),
            (b"Sun Feb  1 09:18:13 2026", Moment(then)),
            (b"2026-02-01T09:18:13Z", Moment(then)),
            (b"2026-02-01 09:18:13.25 +0900", Moment(then, 9 * 3600)),
            (b"1 Feb 2026", Moment(face(2026, 2, 1))),
            (b"1 Feb 98 00:00:00 +0000", Moment(face(1998, 2, 1))),
            (b"", None),
            (b"yesterday", None),
            (b"31 Feb 2026 09:18:13 +0000", None),
            (b"1 Foo 2026 09:18:13 +0000", None),
            (b"1 Feb 2026 25:18:13 +0000", None),
            (b"2026-13-01", None),
        ):
            self.assertEqual(parse_date(value), moment, value)

    def test_epoch(self) -> None:
        self.assertEqual(Moment(3600, 3600).epoch, 0)

    @given(st.text("019 :+-JanFebMon,T./Z()").map(str.encode) | st.binary())
    def test_never_raises(self, value: bytes) -> None:
        parse_date(value)

    @given(st.datetimes(min_value=dt.datetime(1970, 1, 1), max_value=dt.datetime(2099, 12, 31)))
    def test_what_the_standard_library_writes(self, when: dt.datetime) -> None:
        value = when.strftime("%a, %d %b %Y %H:%M:%S +0000").encode()
        expected = int(when.replace(tzinfo=dt.UTC, microsecond=0).timestamp())
        self.assertEqual(parse_date(value), Moment(expected))
