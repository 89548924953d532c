"""The steps of an exchange, and how it can end otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mailfw.sasl.keys import ScramKeys


class Malformed(Exception):
    """The peer's words do not follow the mechanism."""


class NotBase64(Malformed):
    """They cannot even be decoded."""


class Cancelled(Exception):
    """The client gave the exchange up."""


class Refused(Exception):
    """The client did not prove who it is; nobody is told why."""


class Throttled(Refused):
    """Too much was refused of late: nothing was judged, and the client may come back later."""


class Unavailable(Exception):
    """Whoever judges logins cannot do so at the moment."""


def require_utf8(octets: bytes) -> None:
    """Raise `Malformed` unless the octets are UTF-8, as names and passwords must be."""
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed


@dataclass(frozen=True, slots=True)
class Challenge:
    """What to send next, before base64."""

    octets: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """
    All that the client has to say: `credentials` (a `twisted.cred` credentials object) are for the portal to judge.

    `confirmation` and `refusal` are last challenges, where the mechanism has them, for the one outcome and the other;
    the client's answer to either says nothing.
    """

    credentials: Any
    confirmation: bytes | None = None
    refusal: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class KeysWanted:
    """The exchange needs an account's keys to go on; `resume` takes them."""

    mechanism: str
    username: bytes
    resume: Callable[[ScramKeys], Challenge]


Step = Challenge | Proof | KeysWanted


class Mechanism(Protocol):
    """One exchange.  `next` is called with None when the client sent no initial response."""

    def next(self, response: bytes | None) -> Step:
        """Answer the client's response (decoded from base64).  Raises `Malformed` and `Refused`."""
