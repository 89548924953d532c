"""What the DNS says, and how sure that is."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")


class Finding(enum.Enum):
    """What kind of answer it is; to take one for another loses mail (RFC 5321 section 5.1)."""

    FOUND = "found"
    NO_DATA = "no data"  #: the name exists, without such records
    NO_NAME = "no such name"  #: NXDOMAIN
    FAILED = "failed"  #: SERVFAIL, time-out, nonsense, or not validated: nothing is known, try again later


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """
    The records of one question, CNAMEs followed; `name` is where that led to.

    `secure` says that a validating resolver vouches for it, whichever way it turned out (the AD bit, RFC 4035 section
    3.2.3).  `ttl` is in seconds.  `why` says what failed.
    """

    finding: Finding
    records: tuple[R, ...] = ()
    secure: bool = False
    ttl: int = 0
    name: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class MX:
    """A mail exchanger (RFC 5321 section 5.1); `host` without the final dot, ``""`` for the Null MX of RFC 7505."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class TLSA:
    """What a certificate must match (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes
