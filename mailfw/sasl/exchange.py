"""The steps of an exchange."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer


class Malformed(Exception):
    """The client's response does not follow its mechanism."""


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


@dataclass(frozen=True, slots=True)
class Proof:
    """The exchange is over: `credentials` (a `twisted.cred` credentials object) are for the portal to judge."""

    credentials: Any


@implementer(IUsernamePassword)
class UsernamePassword:
    """A name and a password, both UTF-8 octets, that never show themselves in a log."""

    def __init__(self, username: bytes, password: bytes) -> None:
        self.username = username
        self.password = password

    def checkPassword(self, password: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.password, password)

    def __repr__(self) -> str:
        return f"UsernamePassword({self.username!r}, …)"
