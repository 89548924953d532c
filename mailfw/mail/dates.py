"""The dates of header fields: RFC 5322 section 3.3, and what else mailers write."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from functools import lru_cache

from mailfw.mail.fields import without_comments

#: The years 1 to 9999, in seconds since the epoch: there is no way to write others.
FIRST_TIME, LAST_TIME = -62_135_596_800, 253_402_300_799

# date-time = [ day-of-week "," ] date time [CFWS]                      RFC 5322 section 3.3
# Seconds are optional there, and section 4.3 has comments (spaces by then) around the colons; the comma, spaces and
# colons are forgiven where mailers replace them.
_DATE_TIME = re.compile(
    rb"(?:[A-Za-z]+[.,]?\s*,?\s*)?(\d{1,2})[\s-]+([A-Za-z]{3})[A-Za-z]*\.?,?[\s-]+(\d{2,4})"
    rb"(?:[\s,T]+(\d{1,2})\s*[:.]\s*(\d{1,2})(?:\s*[:.]\s*(\d{1,2})(?:\.\d+)?)?\s*([AaPp][Mm]\b)?\s*([+-]\d{2}:?\d{2}|[A-Za-z]{1,5})?)?"
)
# The output of asctime, which some programs put into Date fields.
_ASCTIME = re.compile(
    rb"(?:[A-Za-z]{3,9},?\s+)?([A-Za-z]{3})[A-Za-z]*\.?\s+(\d{1,2}),?\s+(?:(\d{1,2}):(\d{2})(?::(\d{2}))?\s+)?"
    rb"(?:([A-Za-z]{1,5}|[+-]\d{4})\s+)?(\d{4})"
)
# date-time of RFC 3339 section 5.6
_ISO = re.compile(
    rb"(\d{4})-(\d{2})-(\d{2})(?:[T\s]+(\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?", re.IGNORECASE
)
_MONTHS = {month: at for at, month in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)}
# obs-zone, in minutes                                                 RFC 5322 section 4.3
_ZONES = {
    b"EST": -300,
    b"EDT": -240,
    b"CST": -360,
    b"CDT": -300,
    b"MST": -420,
    b"MDT": -360,
    b"PST": -480,
    b"PDT": -420,
}


_EPOCH = dt.date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Moment:
    """
    A date as a header says it: `face` is what its clock showed, in seconds since the epoch, and `offset` the
    seconds by which that clock was ahead of UTC (0 where the zone is unknown).
    """

    face: int
    offset: int = 0

    @property
    def epoch(self) -> int:
        """Seconds since the epoch."""
        return self.face - self.offset


def parse_date(value: bytes) -> Moment | None:
    """Return the moment a Date field names, None if it cannot be read."""
    value = without_comments(value[:1000]).strip()
    if (match := _DATE_TIME.match(value)) is not None:
        day, month, year, hour, minute, second, half, zone = match.groups()
        return _moment(year, _MONTHS.get(month.lower()), day, hour, minute, second, zone, half)
    if (match := _ISO.match(value)) is not None:
        year, month, day, hour, minute, second, zone = match.groups()
        return _moment(year, int(month), day, hour, minute, second, zone)
    if (match := _ASCTIME.match(value)) is not None:
        month, day, hour, minute, second, zone, year = match.groups()
        return _moment(year, _MONTHS.get(month.lower()), day, hour, minute, second, zone)
    return None


def _moment(
    year: bytes,
    month: int | None,
    day: bytes,
    hour: bytes | None,
    minute: bytes | None,
    second: bytes | None,
    zone: bytes | None,
    half: bytes | None = None,
) -> Moment | None:
    hours, minutes, seconds = int(hour or 0), int(minute or 0), min(int(second or 0), 59)
    if half:
        hours = hours % 12 + (12 if half.lower() == b"pm" else 0)
    if month is None or hours > 24 or minutes > 59:
        return None
    days = _days(_full_year(year), month, int(day))
    if days is None:
        return None
    return Moment(((days * 24 + hours) * 60 + minutes) * 60 + seconds, _zone_offset(zone))


@lru_cache(maxsize=64)
def _days(year: int, month: int, day: int) -> int | None:
    """Return the days from the epoch to a date, None if there is no such date."""
    try:
        return dt.date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


def _full_year(year: bytes) -> int:
    """RFC 5322 section 4.3: years of two digits are of this century below 50, three digits count from 1900."""
    number = int(year)
    if len(year) == 2:
        return number + (2000 if number < 50 else 1900)
    return number + 1900 if len(year) == 3 else number


def _zone_offset(zone: bytes | None) -> int:
    if zone is None or zone[:1] not in b"+-":
        return 60 * _ZONES.get((zone or b"").upper(), 0)
    digits = zone[1:].replace(b":", b"")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -60 * minutes if zone[:1] == b"-" else 60 * minutes
