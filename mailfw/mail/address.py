"""Mailbox addresses as the envelope carries them."""

from __future__ import annotations

import re
import unicodedata
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

    Raises `ValueError` for a label that IDNA cannot read, and for an empty one at the end.
    """
    domain = domain.removesuffix(".").lower()
    if domain.endswith("."):
        raise ValueError(f"not a domain name: {domain}.")
    if "xn--" not in domain:
        return domain
    try:
        return ".".join([_u_label(label) for label in domain.split(".")])
    except ValueError as broken:
        raise ValueError(f"not a domain name: {domain}") from broken


def ascii_domain(domain: str) -> str:
    """Write a domain in A-labels, so that `normalise_domain` brings it back.  Raises `ValueError`."""
    return ".".join([_a_label(label) for label in domain.split(".")])


def _a_label(label: str) -> str:
    if label.isascii():
        return label
    try:
        written = label.encode("idna").decode("ascii")
    except UnicodeError:
        written = ""
    if not written.startswith("xn--") or _u_label(written) != label:
        written = "xn--" + label.encode("punycode").decode("ascii")
    if _u_label(written) != label:
        raise ValueError(f"not a label: {label}")
    return written


def _u_label(label: str) -> str:
    """
    Read one label.

    Python's codec is of IDNA 2003, which maps away what RFC 5892 permits: sharp s, final sigma and the joiners.
    """
    if not label.startswith("xn--"):
        return label
    try:
        if read := label.encode("ascii").decode("idna").lower():
            return read
    except UnicodeError:
        pass
    punycode = label[4:].encode("ascii")
    written = punycode.decode("punycode")
    is_one = written.encode("punycode") == punycode and written == unicodedata.normalize("NFC", written.lower())
    if not (is_one and written and all(map(_can_be_in_label, written))):
        raise ValueError(label)
    return written


def _can_be_in_label(character: str) -> bool:
    """Whether it is a letter, a mark, a digit, a hyphen or a joiner, as RFC 5892 section 2 asks."""
    return character in "-\u200c\u200d" or unicodedata.category(character)[0] in "LMN"
