"""What clients prove themselves with, for the checkers of `twisted.cred`."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from twisted.cred.credentials import ICredentials, IUsernameHashedPassword, IUsernamePassword
from zope.interface import Attribute, Interface, implementer

from mailfw.sasl.keys import ScramKeys


class IScramProof(ICredentials):
    """
    The proof of a SCRAM exchange, which a checker compares with the keys it has; it provides `IScramKeyring` too.

    No checker learns the password from it.
    """

    username: bytes = Attribute("The name as the client gave it, UTF-8.")
    mechanism: str = Attribute("Whose keys are to be compared: SCRAM-SHA-256 or SCRAM-SHA-1.")

    def check_keys(keys: ScramKeys) -> bool:  # noqa: N805  # methods of an Interface have no self
        """Whether the client knows the password of these keys."""


class IScramKeyring(Interface):
    """A checker that takes `IScramProof` and has the keys with which the exchange is held."""

    async def scram_keys(username: bytes, mechanism: str) -> ScramKeys | None:  # noqa: N805  # as above
        """Return an account's keys, None where there is no such account or it has none."""


class IBearerToken(ICredentials):
    """An access token of OAuth 2 (RFC 6750)."""

    username: bytes = Attribute("Whose account the client wants, UTF-8; empty where only the token says it.")
    token: str = Attribute("The token.")


class IClientCertificate(ICredentials):
    """A certificate that TLS has verified."""

    names: tuple[str, ...] = Attribute("The account names it may stand for, in order.")
    username: bytes = Attribute("Which of them the client wants, UTF-8; empty for the first that is an account.")


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
        return f"{type(self).__name__}({self.username!r}, …)"


@implementer(IUsernameHashedPassword)
class CramDigest:
    """A name, and a challenge keyed with the password."""

    def __init__(self, username: bytes, challenge: bytes, digest: bytes) -> None:
        self.username = username
        self._challenge = challenge
        self._digest = digest

    def checkPassword(self, password: bytes) -> bool:
        """Compute the same and compare in constant time."""
        expected = hmac.new(password, self._challenge, hashlib.md5).hexdigest().encode("ascii")
        return hmac.compare_digest(self._digest.lower(), expected)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, …)"


@implementer(IScramProof)
class ScramProof:
    """A name, and what its client has shown to know."""

    def __init__(self, username: bytes, mechanism: str, message: bytes, proof: bytes) -> None:
        self.username = username
        self.mechanism = mechanism
        self._message = message
        self._proof = proof

    def check_keys(self, keys: ScramKeys) -> bool:
        """Compare in constant time."""
        return keys.mechanism == self.mechanism and keys.accepts(self._proof, self._message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, …)"


@implementer(IBearerToken)
class BearerToken:
    """A token, and whose account it is to open."""

    def __init__(self, username: bytes, token: str) -> None:
        self.username = username
        self.token = token

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, …)"


@implementer(IClientCertificate)
class ClientCertificate:
    """The names in a certificate, and which of them the client wants to be."""

    def __init__(self, username: bytes, names: tuple[str, ...]) -> None:
        self.username = username
        self.names = names

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, {self.names!r})"


def account_of(credentials: Any) -> str:
    """Return whose account credentials are for, as the client says it; empty where it does not."""
    username: bytes = getattr(credentials, "username", b"") or b""
    names: tuple[str, ...] = getattr(credentials, "names", ())
    return username.decode("utf-8", "replace") or next(iter(names), "")
