"""Aliases: names that stand for other addresses, as a text file says it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

from twisted.logger import Logger

from mailfw.mail.address import Address, normalise_domain

log = Logger()

#: What each name stands for, as written.  A name is ``local@domain``, ``local`` (in every domain of ours) or
#: ``@domain`` (whatever else comes to that domain), in lower case.
Aliases = Mapping[str, tuple[str, ...]]


def read_aliases(text: str) -> Aliases:
    """
    Read lines of ``name: target, target``; a line that begins with a blank continues the one before it.

    A line that cannot be read is logged and passed over.
    """
    aliases: dict[str, tuple[str, ...]] = {}
    for number, line in _logical_lines(text):
        name, colon, targets = line.partition(":")
        parsed = tuple(target.strip() for target in targets.split(",") if target.strip())
        try:
            if not colon or not parsed:
                raise ValueError("no target")
            for target in parsed:
                parse_target(target, "")
            aliases[alias_name(name.strip())] = parsed
        except ValueError:
            log.warn("Line {number} of the aliases cannot be read, and is passed over", number=number)  # noqa: G010  # Twisted has no longer name
    return aliases


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    gathered: tuple[int, str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t" and gathered is not None:
            gathered = (gathered[0], gathered[1] + line)
            continue
        if gathered is not None:
            yield gathered
        gathered = (number, line)
    if gathered is not None:
        yield gathered


def alias_name(name: str) -> str:
    """Bring the left side to the form it is looked up by.  Raises `ValueError`."""
    local, at, domain = name.rpartition("@")
    if not at:
        local, domain = domain, ""
    if not (local or domain) or not _is_plain(name) or "@" in local:
        raise ValueError("not a name")
    return fold(local) + at + normalise_domain(domain)


def parse_target(target: str, domain: str) -> Address:
    """Read an address; a bare local part is in `domain`.  Raises `ValueError`."""
    local, at, right = target.rpartition("@")
    if not at:
        local, right = right, domain
    if not local or (at and not right) or not _is_plain(target) or "@" in local:
        raise ValueError("not an address")
    return Address(local, normalise_domain(right))


def fold(local: str) -> str:
    """Bring a local part to the form in which ours are compared."""
    return unicodedata.normalize("NFC", local).lower()


def _is_plain(text: str) -> bool:
    """Whether nothing needs quotes, and nothing can break a line or a command."""
    return text.isprintable() and not any(c in ' "<>\\|:,;()' for c in text)
