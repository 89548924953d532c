"""
The Sender Rewriting Scheme: a forwarded message gets a sender of ours that still leads back to the first one.

``SRS0=hash=day=domain=local`` is the first forwarder's address, ``SRS1=hash=first=…`` that of those behind it, who lead
back to the first forwarder alone.  The hash keeps anybody else from making an address that we would relay to.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from mailfw.mail.address import Address, ascii_domain, normalise_domain

#: Days that a rewritten address leads back: longer than any queue keeps a message and its report.
VALIDITY = 21
#: RFC 5321 section 4.5.3.1.3, without the angle brackets.
_PATH_LIMIT = 254
#: Thirty bits; the digits of base32, as hosts on the way may change the case of letters.
_HASH_LENGTH = 6
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
#: What two digits can count.
_DAYS = 1024
_DAY = 86_400

# SRS0 sep hash "=" day "=" domain "=" local ; sep = "=" / "+" / "-"
_SRS0 = re.compile(r"SRS0[=+-]([A-Z2-7]+)=([A-Z2-7]{2})=([^=]+)=(.+)", re.IGNORECASE | re.DOTALL)
# SRS1 sep hash "=" domain "=" what followed "SRS0" there
_SRS1 = re.compile(r"SRS1[=+-]([A-Z2-7]+)=([^=]+)=([=+-].+)", re.IGNORECASE | re.DOTALL)
_FOREIGN_SRS0 = re.compile(r"SRS0([=+-].+=.+=.+)", re.IGNORECASE | re.DOTALL)
_FOREIGN_SRS1 = re.compile(r"SRS1[=+-][^=]+=([^=]+)=([=+-].+)", re.IGNORECASE | re.DOTALL)


class NotSRS(ValueError):
    """The address is not a rewritten one."""


class Forged(ValueError):
    """The address looks like one we rewrote; we did not, or too long ago."""


def rewrite(sender: Address, domain: str, secret: bytes, now: float) -> Address:
    """
    Return the sender under which a forwarder with this domain may pass the message on.

    Our own stays as it is, and so does one that would become too long for a path; a local part of more than the 64
    octets of RFC 5321 section 4.5.3.1.1 is written, as every forwarder does.
    """
    if sender.domain == domain or not sender.domain:
        return sender
    if (first := _FOREIGN_SRS0.fullmatch(sender.local)) is not None:
        local = _srs1(_plain(sender.domain), first[1], secret)
    elif (later := _FOREIGN_SRS1.fullmatch(sender.local)) is not None:
        local = _srs1(later[1], later[2], secret)
    else:
        local = _srs0(_plain(sender.domain), sender.local, secret, now)
    rewritten = Address(local, domain)
    return rewritten if len(str(rewritten).encode("utf-8", "surrogatepass")) <= _PATH_LIMIT else sender


def reverse(address: Address, secret: bytes, now: float, validity: int = VALIDITY) -> Address:
    """
    Return the address that was rewritten; `validity` is in days.  Raises `NotSRS`, `Forged`.

    That `address` is in a domain of ours is for the caller to know.  What was rewritten may have come back with
    letters in another case, and then so is the local part returned.
    """
    if (match := _SRS0.fullmatch(address.local)) is not None:
        stated, day, domain, local = match.groups()
        _check(stated, _hash(secret, day, domain, local))
        if (_today(now) - _number(day) + 1) % _DAYS > validity + 1:  # a day ahead is another clock's
            raise Forged(f"Expired: {address}")
        return Address(local, _domain(domain))
    if (match := _SRS1.fullmatch(address.local)) is not None:
        stated, domain, rest = match.groups()
        _check(stated, _hash(secret, "", domain, rest))
        return Address(f"SRS0{rest}", _domain(domain))
    raise NotSRS(str(address))


def _srs0(domain: str, local: str, secret: bytes, now: float) -> str:
    today = _today(now)
    day = _DIGITS[today // 32] + _DIGITS[today % 32]
    return f"SRS0={_hash(secret, day, domain, local)}={day}={domain}={local}"


def _srs1(domain: str, rest: str, secret: bytes) -> str:
    return f"SRS1={_hash(secret, '', domain, rest)}={domain}={rest}"


def _today(now: float) -> int:
    return int(now // _DAY) % _DAYS


def _number(day: str) -> int:
    high, low = (_DIGITS.index(digit) for digit in day.upper())
    return high * 32 + low


def _hash(secret: bytes, *words: str) -> str:
    """Sign words whatever the case of their letters; none but the last can have a NUL in it, so none can be moved."""
    said = "\0".join(words).lower().encode("utf-8", "surrogatepass")
    return base64.b32encode(hmac.digest(secret, said, hashlib.sha256)).decode("ascii")[:_HASH_LENGTH]


def _check(stated: str, right: str) -> None:
    if not hmac.compare_digest(stated.upper().encode("ascii"), right.encode("ascii")):
        raise Forged("The hash is not ours")


def _plain(domain: str) -> str:
    """Write a domain in A-labels where it has any, so that a rewritten ASCII local part needs no SMTPUTF8."""
    try:
        return ascii_domain(domain)
    except ValueError:
        return domain


def _domain(written: str) -> str:
    try:
        return normalise_domain(written)
    except ValueError:
        raise Forged(f"Not a domain: {written!r}") from None
