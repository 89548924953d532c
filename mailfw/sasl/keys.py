"""What SCRAM keeps in place of a password, and the arithmetic of its proofs (RFC 5802 section 3, RFC 7677)."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass

#: Mechanisms and their hash functions.
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
#: RFC 7677 section 4 asks for 4096 at least, and for more where the clients bear it: they compute this at each login.
ITERATIONS = 10_000
SALT_OCTETS = 16


@dataclass(frozen=True, slots=True, repr=False)
class ScramKeys:
    """What a server needs to hold a SCRAM exchange for one account; its text is that of RFC 5803."""

    mechanism: str
    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __str__(self) -> str:
        salt, stored, server = (b64encode(octets).decode() for octets in (self.salt, self.stored_key, self.server_key))
        return f"{self.mechanism}${self.iterations}:{salt}${stored}:{server}"

    def accepts(self, proof: bytes, message: bytes) -> bool:
        """Whether a client that gives this proof of `message` (AuthMessage) knows the password."""
        name = HASHES[self.mechanism]
        client_key = xor(proof, hmac.digest(self.stored_key, message, name))
        return hmac.compare_digest(hashlib.new(name, client_key).digest(), self.stored_key)

    def signature(self, message: bytes) -> bytes:
        """Return what shows the client that we know the account."""
        return hmac.digest(self.server_key, message, HASHES[self.mechanism])


def xor(left: bytes, right: bytes) -> bytes:
    """Combine two strings bit by bit; strings of different lengths give one that proves nothing."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True)) if len(left) == len(right) else b""


def salted_password(mechanism: str, password: bytes, salt: bytes, iterations: int) -> bytes:
    """Compute ``Hi`` of a prepared password: half a microsecond of a processor for each iteration."""
    return hashlib.pbkdf2_hmac(HASHES[mechanism], password, salt, iterations)


def make_keys(mechanism: str, password: bytes, salt: bytes | None = None, iterations: int = ITERATIONS) -> ScramKeys:
    """Compute the keys for a prepared password.  Takes milliseconds of a processor."""
    name = HASHES[mechanism]
    salt = os.urandom(SALT_OCTETS) if salt is None else salt
    salted = salted_password(mechanism, password, salt, iterations)
    stored_key = hashlib.new(name, client_key(mechanism, salted)).digest()
    return ScramKeys(mechanism, iterations, salt, stored_key, hmac.digest(salted, b"Server Key", name))


def client_key(mechanism: str, salted: bytes) -> bytes:
    """Return what only the client knows."""
    return hmac.digest(salted, b"Client Key", HASHES[mechanism])


def parse_keys(text: str) -> ScramKeys:
    """Read ``scheme$iterations:salt$StoredKey:ServerKey`` (RFC 5803 section 4).  Raises `ValueError`."""
    mechanism, information, keys = text.split("$")
    iterations, salt = information.split(":")
    stored, server = keys.split(":")
    if mechanism not in HASHES:
        raise ValueError("a mechanism that is not known")
    try:
        octets = [b64decode(piece, validate=True) for piece in (salt, stored, server)]
    except binascii.Error:
        raise ValueError("not base64")
    return ScramKeys(mechanism, int(iterations), *octets)
