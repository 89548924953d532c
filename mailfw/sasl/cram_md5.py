"""CRAM-MD5 (RFC 2195): for what is too old for anything else; whoever checks it must keep the password itself."""

from __future__ import annotations

import re
import secrets

from mailfw.sasl.credentials import CramDigest
from mailfw.sasl.exchange import Challenge, Malformed, Proof, require_utf8

# The response is the name, a space, and a digest in 16 octets as hexadecimal digits         RFC 2195 section 2
_RESPONSE = re.compile(rb"([^\x00]+) ([0-9A-Fa-f]{32})", re.DOTALL)


class CramMD5:
    """One challenge, which nobody has heard before, and one answer."""

    def __init__(self, challenge: bytes | None = None) -> None:
        self._challenge = challenge or b"<" + secrets.token_hex(16).encode("ascii") + b"@mailfw>"
        self._asked = False

    def next(self, response: bytes | None) -> Challenge | Proof:
        """Read the name and the digest."""
        if not self._asked:
            if response is not None:
                raise Malformed  # RFC 4422 section 3.3: the server speaks first
            self._asked = True
            return Challenge(self._challenge)
        parsed = _RESPONSE.fullmatch(response or b"")
        if parsed is None:
            raise Malformed
        require_utf8(parsed[1])
        return Proof(CramDigest(parsed[1], self._challenge, parsed[2]))
