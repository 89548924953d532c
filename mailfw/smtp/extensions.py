"""What EHLO announces and which parameters that allows; an extension is one entry of `EXTENSIONS`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailfw.smtp import replies
from mailfw.smtp.replies import Rejected


@dataclass(frozen=True, slots=True)
class Offer:
    """What a listener has to offer at this moment of a connection."""

    max_size: int
    starttls: bool
    mechanisms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MailOptions:
    """The parameters of MAIL, by their keywords in lower case; `size` 0 is unknown."""

    size: int = 0
    body: str = "7BIT"
    smtputf8: bool = False
    auth: None = None


#: Reads one parameter's value (None: it has none) or raises `Rejected`.
Parser = Callable[[str | None], Any]


@dataclass(frozen=True, slots=True)
class Extension:
    """
    One service extension: its EHLO line (None where it is not offered), and the parameters it adds.

    A parser's result becomes the field of `MailOptions` that has the keyword's name in lower case.
    """

    announce: Callable[[Offer], str | None]
    mail: Mapping[str, Parser] = field(default_factory=dict)
    rcpt: Mapping[str, Parser] = field(default_factory=dict)


def _always(line: str) -> Callable[[Offer], str | None]:
    return lambda offer: line


def _starttls(offer: Offer) -> str | None:
    return "STARTTLS" if offer.starttls else None


def _auth(offer: Offer) -> str | None:
    return " ".join(("AUTH", *offer.mechanisms)) if offer.mechanisms else None


def _read_size(value: str | None) -> int:
    # size-value = 1*20DIGIT                                        RFC 1870 section 4
    if value is None or not re.fullmatch(r"[0-9]{1,20}", value):
        raise Rejected(replies.BAD_PARAMETER)
    return int(value)


def _read_body(value: str | None) -> str:
    # body-value = "7BIT" / "8BITMIME"                              RFC 6152 section 2
    body = (value or "").upper()
    if body not in ("7BIT", "8BITMIME"):
        raise Rejected(replies.BAD_PARAMETER)
    return body


def _read_smtputf8(value: str | None) -> bool:
    if value is not None:  # RFC 6531 section 3.1, item 4
        raise Rejected(replies.BAD_PARAMETER)
    return True


def _read_auth(value: str | None) -> None:
    # AUTH=xtext or AUTH=<>, which we read as RFC 4954 section 5 lets a server do that trusts nobody's word
    # xtext = *( xchar / hexchar )                                  RFC 3461 section 4
    if value is None or not re.fullmatch(r"<>|(?:[!-*,-<>-~]|\+[0-9A-F]{2})+", value):
        raise Rejected(replies.BAD_PARAMETER)


#: In the order of their announcement.
EXTENSIONS: tuple[Extension, ...] = (
    Extension(_always("PIPELINING")),
    Extension(lambda offer: f"SIZE {offer.max_size}", mail={"SIZE": _read_size}),
    Extension(_starttls),
    Extension(_auth, mail={"AUTH": _read_auth}),
    Extension(_always("ENHANCEDSTATUSCODES")),
    Extension(_always("8BITMIME"), mail={"BODY": _read_body}),
    Extension(_always("SMTPUTF8"), mail={"SMTPUTF8": _read_smtputf8}),
)

_MAIL: Mapping[str, Parser] = {word: parser for each in EXTENSIONS for word, parser in each.mail.items()}
_RCPT: Mapping[str, Parser] = {word: parser for each in EXTENSIONS for word, parser in each.rcpt.items()}

_NO_OPTIONS = MailOptions()


def announce(offer: Offer) -> list[str]:
    """Return the lines of an EHLO reply behind the first."""
    return [line for extension in EXTENSIONS if (line := extension.announce(offer)) is not None]


def read_mail_options(parameters: Mapping[str, str | None]) -> MailOptions:
    """Read the parameters of MAIL."""
    return MailOptions(**_read(parameters, _MAIL)) if parameters else _NO_OPTIONS


def read_rcpt_options(parameters: Mapping[str, str | None]) -> dict[str, Any]:
    """Read the parameters of RCPT, of which there are none yet."""
    return _read(parameters, _RCPT)


def _read(parameters: Mapping[str, str | None], parsers: Mapping[str, Parser]) -> dict[str, Any]:
    found = {}
    for keyword, value in parameters.items():
        if keyword not in parsers:
            raise Rejected(replies.UNKNOWN_PARAMETER)
        found[keyword.lower()] = parsers[keyword](value)
    return found
