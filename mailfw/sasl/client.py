"""Logging in at another server: which of its mechanisms to use, and what to say."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from mailfw.sasl import messages
from mailfw.sasl.exchange import Malformed
from mailfw.sasl.keys import HASHES, ScramKeys, client_key, salted_password, xor
from mailfw.sasl.saslprep import prepare_password

#: Iterations that we compute for a server, about half a second's worth; more is an attack on us.
MOST_ITERATIONS = 1_000_000
#: And those below which a proof tells the password to whoever listens (RFC 7677 section 4).
LEAST_ITERATIONS = 4096
#: Types of channel binding, the best first (RFC 9266 section 1, RFC 5929).
_BINDINGS = ("tls-exporter", "tls-unique", "tls-server-end-point")
_NO_BINDINGS: Mapping[str, bytes] = MappingProxyType({})


class ServerNotTrusted(Exception):
    """The server could not prove that it knows the account: whoever it is, it gets no mail from us."""


class ClientExchange(Protocol):
    """
    Our side of one login.

    `first` is the initial response, None where the server speaks first (RFC 4954 section 4 sends ``=`` for an
    empty one).  `next` answers a challenge, both without base64.  A success counts only when `is_complete`: until then
    a server that should prove itself has not.  Raises `Malformed` and `ServerNotTrusted`.
    """

    name: str
    is_complete: bool

    def first(self) -> bytes | None:
        """Return the initial response; called once, before `next`."""

    def next(self, challenge: bytes) -> bytes:
        """Answer; SCRAM computes for milliseconds here, and up to half a second: call it in a thread."""


def client_exchange(
    mechanisms: Iterable[str],
    user: str,
    password: str,
    secure: bool,
    bindings: Mapping[str, bytes] = _NO_BINDINGS,
) -> ClientExchange | None:
    """
    Choose the best of a server's mechanisms, None where there is none to use.

    `secure` says that we are under TLS with the right server: only then does anything leave from which the password
    could be read or cheaply guessed.  `bindings` is the channel's binding data by type, for the -PLUS mechanisms.
    """
    offered = {name.upper() for name in mechanisms}
    name_octets, secret = user.encode("utf-8"), password.encode("utf-8")
    kind = next((each for each in _BINDINGS if each in bindings), "")
    for scram in HASHES:
        if kind and scram + "-PLUS" in offered:
            return ScramClient(scram, name_octets, secret, f"p={kind}".encode(), bindings[kind])
    for scram in HASHES:
        if scram in offered:
            return ScramClient(scram, name_octets, secret, b"y" if kind else b"n", b"")
    for name, make in _IN_PRIVATE.items():
        if secure and name in offered:
            return make(name_octets, secret)
    return None


class PlainClient:
    """PLAIN (RFC 4616)."""

    name = "PLAIN"

    def __init__(self, user: bytes, password: bytes) -> None:
        self._message = b"\0" + user + b"\0" + password
        self.is_complete = False

    def first(self) -> bytes | None:
        """Say everything at once."""
        self.is_complete = True
        return self._message

    def next(self, challenge: bytes) -> bytes:
        """Refuse: there is nothing left to say."""
        raise Malformed


class LoginClient:
    """LOGIN (draft-murchison-sasl-login): two questions, which we answer in order whatever their words."""

    name = "LOGIN"

    def __init__(self, user: bytes, password: bytes) -> None:
        self._answers = [password, user]
        self.is_complete = False

    def first(self) -> bytes | None:
        """Let the server ask: some take no initial response for this."""
        return None

    def next(self, challenge: bytes) -> bytes:
        """Give the name, then the password."""
        if not self._answers:
            raise Malformed
        answer = self._answers.pop()
        self.is_complete = not self._answers
        return answer


class CramMD5Client:
    """CRAM-MD5 (RFC 2195): better than nothing, and by now not by much."""

    name = "CRAM-MD5"

    def __init__(self, user: bytes, password: bytes) -> None:
        self._user = user
        self._password = password
        self.is_complete = False

    def first(self) -> bytes | None:
        """Let the server ask."""
        return None

    def next(self, challenge: bytes) -> bytes:
        """Give the keyed digest of the challenge."""
        if self.is_complete:
            raise Malformed
        self.is_complete = True
        return self._user + b" " + hmac.new(self._password, challenge, hashlib.md5).hexdigest().encode()


class ScramClient:
    """SCRAM (RFC 5802, RFC 7677): the password does not leave us, and the server proves that it knows the account."""

    def __init__(
        self, scram: str, user: bytes, password: bytes, flag: bytes, binding: bytes, nonce: bytes | None = None
    ) -> None:
        self.name = scram + "-PLUS" if flag.startswith(b"p=") else scram
        self.is_complete = False
        self._scram = scram
        self._password = prepare_password(password)
        self._gs2_header = flag + b",,"
        self._binding = binding
        self._nonce = nonce or messages.new_nonce()
        self._first_bare = b"n=" + messages.escape(prepare_password(user)) + b",r=" + self._nonce
        self._signature: bytes | None = None

    def first(self) -> bytes | None:
        """Say who we are."""
        return self._gs2_header + self._first_bare

    def next(self, challenge: bytes) -> bytes:
        """Prove that we know the password, then see whether the server does."""
        if self.is_complete:
            raise Malformed
        if self._signature is None:
            return self._prove(challenge)
        self._check(challenge, self._signature)
        self.is_complete = True
        return b""

    def _prove(self, server_first: bytes) -> bytes:
        nonce, salt, count = messages.attributes(server_first, "rsi")
        iterations = messages.positive(count)
        if not nonce.startswith(self._nonce) or messages.nonce(nonce) == self._nonce:
            raise ServerNotTrusted("The server's nonce is not made of ours")
        if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise ServerNotTrusted(f"The server asks for {iterations} iterations")
        salted = salted_password(self._scram, self._password, messages.decoded(salt), iterations)
        without_proof = b"c=" + b64encode(self._gs2_header + self._binding) + b",r=" + nonce
        message = b",".join((self._first_bare, server_first, without_proof))
        key, name = client_key(self._scram, salted), HASHES[self._scram]
        stored, server = hashlib.new(name, key).digest(), hmac.digest(salted, b"Server Key", name)
        self._signature = ScramKeys(self._scram, iterations, salt, stored, server).signature(message)
        return without_proof + b",p=" + b64encode(xor(key, hmac.digest(stored, message, name)))

    @staticmethod
    def _check(server_final: bytes, signature: bytes) -> None:
        if server_final.startswith(b"e="):
            raise ServerNotTrusted("The server refuses: " + ascii(server_final[2:80].decode("utf-8", "replace")))
        (value,) = messages.attributes(server_final, "v")
        if not hmac.compare_digest(messages.decoded(value), signature):
            raise ServerNotTrusted("The server does not know the account it speaks for")


#: What gives the password to the server, or to whoever listens and guesses a little; the best first.
_IN_PRIVATE: Mapping[str, Callable[[bytes, bytes], ClientExchange]] = {
    "PLAIN": PlainClient,
    "LOGIN": LoginClient,
    "CRAM-MD5": CramMD5Client,
}
