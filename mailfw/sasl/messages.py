"""The text of SCRAM's messages, which server and client both read and write (RFC 5802 section 7)."""

from __future__ import annotations

import binascii
import re
import secrets
from base64 import b64decode

from mailfw.sasl.exchange import Malformed

# nonce = "r=" c-nonce [s-nonce]; c-nonce = printable; printable = %x21-2B / %x2D-7E         RFC 5802 section 7
_NONCE = re.compile(rb"[\x21-\x2b\x2d-\x7e]{1,512}")
# saslname = 1*(value-safe-char / "=2C" / "=3D")                                              RFC 5802 section 7
_SASLNAME = re.compile(rb"(?:[^\x00=,]|=2C|=3D)+")
# posit-number = %x31-39 *DIGIT; more digits than these count for no hash                    RFC 5802 section 7
_POSITIVE = re.compile(rb"[1-9][0-9]{0,9}")


def attributes(message: bytes, names: str) -> list[bytes]:
    """
    Return the values of the attributes that a message begins with, in the order of `names`.

    What follows them is an extension, and may be ignored; a mandatory one (``m=``) in their place is refused.
    """
    pieces = message.split(b",")
    if len(pieces) < len(names):
        raise Malformed
    for name, piece in zip(names, pieces, strict=False):
        if not piece.startswith(name.encode() + b"="):
            raise Malformed
    if any(piece.startswith(b"m=") for piece in pieces[len(names) :]):
        raise Malformed  # RFC 5802 section 5.1: an unsupported mandatory extension
    return [piece[2:] for piece in pieces[: len(names)]]


def nonce(octets: bytes) -> bytes:
    """Check a nonce."""
    if not _NONCE.fullmatch(octets):
        raise Malformed
    return octets


def new_nonce() -> bytes:
    """Return 144 bits of chance."""
    return secrets.token_urlsafe(18).encode("ascii")


def positive(octets: bytes) -> int:
    """Read an iteration count."""
    if not _POSITIVE.fullmatch(octets):
        raise Malformed
    return int(octets)


def decoded(octets: bytes) -> bytes:
    """Read an attribute that is base64."""
    try:
        return b64decode(octets, validate=True)
    except binascii.Error:
        raise Malformed


def escape(name: bytes) -> bytes:
    """Write a saslname."""
    return name.replace(b"=", b"=3D").replace(b",", b"=2C")


def unescape(name: bytes) -> bytes:
    """Read a saslname: ``=`` stands only in ``=2C`` and ``=3D``."""
    if not _SASLNAME.fullmatch(name):
        raise Malformed
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")
