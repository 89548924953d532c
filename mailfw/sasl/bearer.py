"""OAUTHBEARER (RFC 7628): an access token, and a last word that says why it was refused."""

from __future__ import annotations

import json
import re

from mailfw.sasl import messages
from mailfw.sasl.credentials import BearerToken
from mailfw.sasl.exchange import Challenge, Malformed, Proof

# credentials = "Bearer" 1*SP b64token
# b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="                    RFC 6750 section 2.1
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
# gs2-header = ["F,"] gs2-cb-flag "," [gs2-authzid] ","; no channel binding here  RFC 7628 section 3.1, RFC 5801
_GS2_HEADER = re.compile(rb"[ny],(?:a=([^,]+))?,")
# kvpair = key "=" value kvsep; kvsep = %x01                                                 RFC 7628 section 3.1
_SEPARATOR = b"\x01"

_REFUSAL = json.dumps({"status": "invalid_token"}).encode("ascii")


class OAuthBearer:
    """One message with the token in it."""

    def next(self, response: bytes | None) -> Challenge | Proof:
        """Read ``gs2-header kvsep *kvpair kvsep``; where the client means to connect to is its own affair."""
        if response is None:
            return Challenge(b"")
        header, *pairs = response.split(_SEPARATOR)
        parsed = _GS2_HEADER.fullmatch(header)
        if parsed is None or pairs[-2:] != [b"", b""]:
            raise Malformed
        username = messages.unescape(parsed[1]) if parsed[1] else b""
        return Proof(BearerToken(username, token_in(pairs)), refusal=_REFUSAL)


def token_in(pairs: list[bytes]) -> str:
    """Return the token of the one ``auth`` among pairs of keys and values."""
    values = [pair[len(b"auth=") :] for pair in pairs if pair.startswith(b"auth=")]
    parsed = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    if parsed is None:
        raise Malformed
    return parsed[1].decode("ascii")
