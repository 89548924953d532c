"""Mailbox addresses as the envelope carries them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """
    A mailbox: local part (unquoted, case kept) and domain (lower case, U-labels where it has any).

    `domain` is empty only for the bare ``<Postmaster>`` of RFC 5321 section 4.1.1.3.  An address literal
    keeps its brackets: ``[192.0.2.1]``.  The null reverse-path is not an address: it is `None`.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        local = self.local if _DOT_STRING.fullmatch(self.local) else _quote(self.local)
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def is_ascii(self) -> bool:
        """Whether it can be sent without SMTPUTF8 (RFC 6531 section 3.2)."""
        return str(self).isascii()


# Dot-string = Atom *("." Atom)                     RFC 5321 section 4.1.2
# atext                                            RFC 5322 section 3.2.3, with UTF8-non-ascii of RFC 6531 section 3.3
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")


def _quote(local: str) -> str:
    """Quoted-string = DQUOTE *QcontentSMTP DQUOTE, RFC 5321 section 4.1.2."""
    return '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'


def normalise_domain(domain: str) -> str:
    """
    Bring a domain to the one form we compare: lower case, A-labels turned to U-labels, no final dot.

    Raises `ValueError` for a label that IDNA cannot read.
    """
    domain = domain.removesuffix(".").lower()
    if "xn--" not in domain:
        return domain
    try:
        return domain.encode("ascii").decode("idna").lower()
    except UnicodeError as broken:
        raise ValueError(f"not a domain name: {domain}") from broken
