"""XCLIENT: a trusted server in front of us says whose connection it is: https://www.postfix.org/XCLIENT_README.html."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mailfw.mail.xtext import decode_xtext
from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, word
from mailfw.smtp.grammar import parse_helo
from mailfw.smtp.replies import Rejected

#: What may be told; names and what the client connected to are read, and not used.
ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
_UNKNOWN = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
# attribute-name "=" attribute-value, the value in xtext
_ATTRIBUTE = re.compile(r"([A-Za-z]+)=(\S+)")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Told:
    """What a server in front of us has told of its client; None was not told, or is not known there."""

    address: str | None = None
    port: int | None = None
    helo: str | None = None
    extended: bool | None = None
    login: str | None = None


def parse_xclient(argument: str) -> Told:
    """Read the attributes, or raise `Rejected`."""
    if not argument:
        raise Rejected(replies.NO_ARGUMENT)
    found = _attributes(argument)
    _port(found.get("DESTPORT"))
    _address(found.get("DESTADDR"))
    helo, protocol = found.get("HELO"), found.get("PROTO")
    if protocol is not None and protocol.upper() not in ("SMTP", "ESMTP"):
        raise Rejected(replies.BAD_ARGUMENT)
    return Told(
        _address(found.get("ADDR")),
        _port(found.get("PORT")),
        parse_helo(helo) if helo is not None else None,
        protocol.upper() == "ESMTP" if protocol is not None else None,
        found.get("LOGIN"),
    )


def _attributes(argument: str) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for each in argument.split():
        parsed = _ATTRIBUTE.fullmatch(each)
        name = parsed[1].upper() if parsed is not None else ""
        if parsed is None or name not in ATTRIBUTES or name in found:
            raise Rejected(replies.BAD_ARGUMENT)
        try:
            value = decode_xtext(parsed[2])
        except ValueError:
            raise Rejected(replies.BAD_ARGUMENT)
        found[name] = None if value.upper() in _UNKNOWN else value
    return found


def _address(text: str | None) -> str | None:
    """Read an IPv4 address, or an IPv6 address behind its tag."""
    if text is None:
        return None
    try:
        if text[:5].upper() == "IPV6:":
            return str(ipaddress.IPv6Address(text[5:]))
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise Rejected(replies.BAD_ARGUMENT)


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise Rejected(replies.BAD_ARGUMENT)
    return int(text)


def _available(offer: Offer) -> bool:
    return offer.xclient


XCLIENT = Extension(word(" ".join(("XCLIENT", *ATTRIBUTES))), _available)
