"""FUTURERELEASE: mail that is handed in now and sent later (RFC 4865); for our own users."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter
from mailfw.smtp.replies import Rejected

# future-release-integer = %x31-39 *8DIGIT                           RFC 4865 section 3
_INTERVAL = re.compile(r"[1-9][0-9]{0,8}")
# future-release-date-time = Internet-style-date-time-UTC            RFC 4865 section 3
_DATE_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")


def _line(offer: Offer) -> str:
    longest = offer.settings.longest_hold
    last = datetime.fromtimestamp(int(offer.now) + longest, UTC)
    return f"FUTURERELEASE {longest} {last:%Y-%m-%dT%H:%M:%SZ}"


def _available(offer: Offer) -> bool:
    return offer.is_submission and offer.settings.longest_hold > 0


def _read_for(value: str | None, offer: Offer) -> float:
    if value is None or not _INTERVAL.fullmatch(value):
        raise Rejected(replies.BAD_PARAMETER)
    return _within(offer.now + int(value), offer)


def _read_until(value: str | None, offer: Offer) -> float:
    if value is None or not _DATE_TIME.fullmatch(value):
        raise Rejected(replies.BAD_PARAMETER)
    try:
        when = datetime.fromisoformat(value).timestamp()
    except ValueError:
        raise Rejected(replies.BAD_PARAMETER)
    return _within(when, offer)


def _within(when: float, offer: Offer) -> float:
    if when > offer.now + offer.settings.longest_hold:
        raise Rejected(replies.HELD_TOO_LONG)
    return when


# Both fill the same field: section 4 allows one of them.
FUTURERELEASE = Extension(
    _line,
    _available,
    mail={"HOLDFOR": Parameter("release", _read_for), "HOLDUNTIL": Parameter("release", _read_until)},
)
