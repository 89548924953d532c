"""SCRAM (RFC 5802, RFC 7677): the password stays with the client, which learns that we know the account."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from mailfw.sasl import messages
from mailfw.sasl.credentials import ScramProof
from mailfw.sasl.exchange import Challenge, KeysWanted, Malformed, Proof, Refused, Step
from mailfw.sasl.keys import ScramKeys
from mailfw.sasl.saslprep import saslprep


class Scram:
    """
    One exchange under a hash function.

    `plus` says that the client chose to bind it to the channel; `bindings` is the channel's data by type, and not empty
    where the -PLUS mechanism was offered.
    """

    def __init__(self, mechanism: str, plus: bool, bindings: Mapping[str, bytes], nonce: bytes | None = None) -> None:
        self._mechanism = mechanism
        self._plus = plus
        self._bindings = bindings
        self._nonce = nonce or messages.new_nonce()
        self._keys: ScramKeys | None = None
        self._username = self._gs2_header = self._binding = self._first_bare = self._server_first = b""

    def next(self, response: bytes | None) -> Step:
        """Take the name, then the proof."""
        if response is None:
            if self._gs2_header:
                raise Malformed
            return Challenge(b"")
        if self._keys is not None:
            return self._proof(response, self._keys)
        if self._gs2_header:
            raise Malformed
        return self._begin(response)

    def _begin(self, client_first: bytes) -> KeysWanted:
        """Read ``gs2-header client-first-message-bare``."""
        # gs2-header = gs2-cbind-flag "," [ authzid ] ","            RFC 5802 section 7
        pieces = client_first.split(b",", 2)
        if len(pieces) != 3:
            raise Malformed
        flag, authorise, self._first_bare = pieces
        self._gs2_header = flag + b"," + authorise + b","
        self._binding = self._bound(flag)
        name, nonce = messages.attributes(self._first_bare, "nr")
        self._nonce = messages.nonce(nonce) + self._nonce
        self._username = _prepared(name)
        if authorise and (authorise[:2] != b"a=" or _prepared(authorise[2:]).lower() != self._username.lower()):
            raise Malformed  # acting for somebody else is not offered
        return KeysWanted(self._mechanism, self._username, self._challenge)

    def _bound(self, flag: bytes) -> bytes:
        """Return the channel's data that the client must know.  RFC 5802 section 6 says when to refuse."""
        if flag.startswith(b"p="):
            data = self._bindings.get(flag[2:].decode("ascii", "replace"))
            if not self._plus or data is None:
                raise Refused
            return data
        if flag not in (b"n", b"y"):
            raise Malformed
        if self._plus or (flag == b"y" and self._bindings):
            raise Refused  # with "y" somebody between us has struck -PLUS out of what we offered
        return b""

    def _challenge(self, keys: ScramKeys) -> Challenge:
        self._keys = keys
        salt, count = b64encode(keys.salt), str(keys.iterations).encode()
        self._server_first = b"r=" + self._nonce + b",s=" + salt + b",i=" + count
        return Challenge(self._server_first)

    def _proof(self, client_final: bytes, keys: ScramKeys) -> Proof:
        """Read ``client-final-message-without-proof "," proof``."""
        without_proof, comma, proof = client_final.rpartition(b",p=")
        channel, nonce = messages.attributes(without_proof, "cr")
        if not comma or nonce != self._nonce:
            raise Malformed
        if messages.decoded(channel) != self._gs2_header + self._binding:
            raise Refused  # our channel is not the client's: somebody is between us
        message = b",".join((self._first_bare, self._server_first, without_proof))
        credentials = ScramProof(self._username, self._mechanism, message, messages.decoded(proof))
        return Proof(credentials, confirmation=b"v=" + b64encode(keys.signature(message)))


def _prepared(saslname: bytes) -> bytes:
    try:
        return saslprep(messages.unescape(saslname).decode("utf-8")).encode("utf-8")
    except ValueError:
        raise Malformed
