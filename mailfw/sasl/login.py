"""LOGIN: obsolete, never standardised, and still what Outlook sends (draft-murchison-sasl-login)."""

from __future__ import annotations

from mailfw.sasl.credentials import UsernamePassword
from mailfw.sasl.exchange import Challenge, Malformed, Proof, require_utf8


class Login:
    """Two challenges whose text is fixed, since clients look at it."""

    def __init__(self) -> None:
        self._name: bytes | None = None

    def next(self, response: bytes | None) -> Challenge | Proof:
        """Take the name, then the password."""
        if response is None:
            return Challenge(b"Username:")
        require_utf8(response)
        if not response or b"\0" in response:
            raise Malformed
        if self._name is None:
            self._name = response
            return Challenge(b"Password:")
        return Proof(UsernamePassword(self._name, response))
