"""The IMAP URLs that name octets of the own account's messages: RFC 5092, as far as CATENATE needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from mailfw.imap import grammar_fetch, names
from mailfw.imap.grammar_fetch import Section
from mailfw.imap.lexer import BadSyntax

# "imap://" [iuserinfo "@"] host [":" port] "/"; iuserinfo = enc-user [iauth] / [enc-user] iauth
_SERVER = re.compile(rb"imap://(?:([^/@;]*)(?:;AUTH=[^/@]*)?@)?([^/@:\[\]]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/", re.I)
# iuid = "/;UID=" nz-number     isection = "/;SECTION=" enc-section     ipartial = "/;PARTIAL=" partial-range
_MESSAGE = re.compile(
    rb"([^;]*?)(?:;UIDVALIDITY=([1-9][0-9]{0,9}))?/?;UID=([1-9][0-9]{0,9})"
    rb"(?:/;SECTION=([^;]*?))?(?:/;PARTIAL=([0-9]{1,10})(?:\.([1-9][0-9]{0,9}))?)?\Z",
    re.I,
)
#: No URL that a client makes is longer: a mailbox name of 2,000 characters, and its octets in %XX.
LONGEST = 30_000


class BadURL(Exception):
    """The URL names nothing that can be had here."""


@dataclass(frozen=True, slots=True)
class MessageURL:
    """
    Octets of a message: `mailbox` is a decoded name, empty for the selected one.

    `section` has the partial range too.  `user` and `host` are those of an absolute URL, else None.
    """

    mailbox: str
    uid_validity: int | None
    uid: int
    section: Section
    user: str | None = None
    host: str | None = None


def parse(octets: bytes) -> MessageURL:
    """Read an absolute URL, an absolute path or a path relative to the selected mailbox.  Raises `BadURL`."""
    if len(octets) > LONGEST or not octets.isascii():
        raise BadURL
    user = host = None
    found = _SERVER.match(octets)
    if found is not None:
        user = unquote_to_bytes(found[1] or b"").decode("utf-8", "replace") or None
        host = found[2].decode("ascii")
        octets = octets[found.end() :]
    elif octets.startswith(b"/"):
        octets = octets[1:]
    elif octets[:1] != b";":
        raise BadURL
    message = _MESSAGE.match(octets)
    if message is None or (host is not None and not message[1]):
        raise BadURL
    validity = int(message[2]) if message[2] else None
    return MessageURL(_mailbox(message[1]), validity, int(message[3]), _section(message), user, host)


def _mailbox(octets: bytes) -> str:
    """RFC 5092 section 8: names in URLs are UTF-8, each octet that is special written as %XX."""
    try:
        return names.decode(unquote_to_bytes(octets), utf8=True) if octets else ""
    except names.BadName:
        raise BadURL from None


def _section(message: re.Match[bytes]) -> Section:
    try:
        return grammar_fetch.url_section(unquote_to_bytes(message[4] or b""), message[5], message[6])
    except BadSyntax:
        raise BadURL from None
