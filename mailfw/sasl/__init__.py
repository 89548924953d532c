"""SASL (RFC 4422): one mechanism a file, each a pure exchange that ends in credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.cred.credentials import IUsernamePassword

from mailfw.sasl.exchange import Challenge, Malformed, Proof
from mailfw.sasl.login import Login
from mailfw.sasl.plain import Plain

__all__ = ["MECHANISMS", "Challenge", "Malformed", "Mechanism", "Proof"]


class Mechanism(Protocol):
    """One exchange.  `next` is called with None when the client sent no initial response."""

    def next(self, response: bytes | None) -> Challenge | Proof:
        """Answer the client's response (decoded from base64).  Raises `Malformed`."""


#: Mechanisms by name, in the order in which they are advertised.
MECHANISMS: Mapping[str, Callable[[], Mechanism]] = {"PLAIN": Plain, "LOGIN": Login}

#: What a portal must accept for each of them to be of use.
CREDENTIALS = {"PLAIN": IUsernamePassword, "LOGIN": IUsernamePassword}
