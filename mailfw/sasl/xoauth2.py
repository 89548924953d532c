"""XOAUTH2: what OAUTHBEARER was made of; Google and Microsoft document it, and their programs send it."""

from __future__ import annotations

import json

from mailfw.sasl.bearer import token_in
from mailfw.sasl.credentials import BearerToken
from mailfw.sasl.exchange import Challenge, Malformed, Proof, require_utf8

_REFUSAL = json.dumps({"status": "401", "schemes": "bearer"}).encode("ascii")


class XOAuth2:
    """One message with the token in it."""

    def next(self, response: bytes | None) -> Challenge | Proof:
        """Read ``user=name ^A auth=Bearer token ^A ^A``."""
        if response is None:
            return Challenge(b"")
        user, *pairs = response.split(b"\x01")
        if not user.startswith(b"user=") or b"\0" in user or pairs[-2:] != [b"", b""]:
            raise Malformed
        require_utf8(user)
        return Proof(BearerToken(user[len(b"user=") :], token_in(pairs)), refusal=_REFUSAL)
