"""What a server says it can do, in its answer to EHLO (RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Recipients of one message where the server says nothing of it (RFC 5321 section 4.5.3.1.8).
USUAL_RECIPIENTS = 100
#: And the most that we give one message where it claims to take more.
MOST_RECIPIENTS = 1000

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """
    The extensions of one server; the default is what HELO leaves, nothing.

    `size` is the largest message, 0 where none is known (RFC 1870).  `recipients` and `domains` are how many of them
    one message may have, `messages` how many one connection (LIMITS, RFC 9422); 0 is no limit of the latter two.
    `by_minimum` is the shortest time of DELIVERBY in seconds (RFC 2852 section 2).
    """

    keywords: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    mechanisms: frozenset[str] = frozenset()
    size: int = 0
    recipients: int = USUAL_RECIPIENTS
    domains: int = 0
    messages: int = 0
    by_minimum: int = 0
    pipelining: bool = False
    chunking: bool = False
    eight_bit: bool = False
    binary: bool = False
    utf8: bool = False
    dsn: bool = False

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords


def read_capabilities(lines: Iterable[str]) -> Capabilities:
    """
    Read the lines behind the greeting, ``KEYWORD parameters`` each; what makes no sense is passed over.

    ``AUTH=LOGIN`` is the form that servers of the last century announce; it is read like ``AUTH LOGIN``.
    """
    keywords: dict[str, str] = {}
    mechanisms: set[str] = set()
    for line in lines:
        # ehlo-line = ehlo-keyword *( SP ehlo-param )                RFC 5321 section 4.1.1.1
        keyword, _, parameters = line.strip().partition(" ")
        keyword = keyword.upper()
        if keyword.startswith("AUTH="):
            keyword, parameters = "AUTH", f"{keyword[5:]} {parameters}"
        if keyword == "AUTH":
            mechanisms.update(parameters.upper().split())
        if keyword:
            keywords[keyword] = parameters.strip()
    limits = _limits(keywords.get("LIMITS", ""))
    chunking = "CHUNKING" in keywords
    return Capabilities(
        keywords,
        frozenset(mechanisms),
        _number(keywords.get("SIZE", "")),
        min(limits.get("RCPTMAX", 0) or USUAL_RECIPIENTS, MOST_RECIPIENTS),
        limits.get("RCPTDOMAINMAX", 0),
        limits.get("MAILMAX", 0),
        _number(keywords.get("DELIVERBY", "")),
        "PIPELINING" in keywords,
        chunking,
        "8BITMIME" in keywords,
        chunking and "BINARYMIME" in keywords,  # RFC 3030 section 3: BINARYMIME needs CHUNKING
        "SMTPUTF8" in keywords,
        "DSN" in keywords,
    )


def _limits(parameters: str) -> dict[str, int]:
    """Read limit = name "=" value                                      RFC 9422 section 3."""
    limits = {}
    for word in parameters.upper().split():
        name, _, value = word.partition("=")
        limits[name] = _number(value)
    return limits


def _number(text: str) -> int:
    """Return a count, 0 for what is none: 20 digits are enough for every one of them (RFC 1870 section 3)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
