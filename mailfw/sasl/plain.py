"""PLAIN (RFC 4616)."""

from __future__ import annotations

from mailfw.sasl.credentials import UsernamePassword
from mailfw.sasl.exchange import Challenge, Malformed, Proof, require_utf8


class Plain:
    """One message with everything in it."""

    def next(self, response: bytes | None) -> Challenge | Proof:
        """Read ``[authzid] NUL authcid NUL passwd``; acting for somebody else is not offered."""
        if response is None:
            return Challenge(b"")
        # message = [authzid] UTF8NUL authcid UTF8NUL passwd         RFC 4616 section 2
        require_utf8(response)
        pieces = response.split(b"\0")
        if len(pieces) != 3 or not pieces[1] or not pieces[2]:
            raise Malformed
        authorise, name, password = pieces
        if authorise and authorise.lower() != name.lower():
            raise Malformed
        return Proof(UsernamePassword(name, password))
