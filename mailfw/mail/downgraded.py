"""
Messages with UTF-8 in their headers (RFC 6532), for clients that know only ASCII there: RFC 6857.

Bodies stay as they are.  What is no UTF-8 stays too: it is text of a charset that nobody has named.
"""

from __future__ import annotations

import re

from mailfw.mail.address import ascii_domain
from mailfw.mail.address_list import MAX_ADDRESSES, NO_DOMAIN, NO_MAILBOX, MailAddress, parse_addresses
from mailfw.mail.fields import field_value
from mailfw.mail.mime import BLANK_LINE, end_of_header
from mailfw.mail.plain_fields import plain_field
from mailfw.mail.seven_bit import SevenBit
from mailfw.mail.words import encode_words

#: Fields of addresses                                                                   RFC 6857 section 3.2.1
_ADDRESSES = frozenset(
    b"from sender to cc bcc reply-to resent-from resent-sender resent-to resent-cc resent-bcc resent-reply-to "
    b"return-path delivered-to disposition-notification-to mail-followup-to".split()
)
#: Fields whose values nothing in ASCII could stand for; they get other names            RFC 6857 section 3.1.10
_RENAMED = frozenset(b"message-id resent-message-id in-reply-to references original-recipient final-recipient".split())
# For = CFWS "FOR" FWS ( Path / Mailbox ); ID = CFWS "ID" FWS ( Atom / msg-id )                RFC 5321 section 4.4
# Here those with a local part or an id that is no ASCII, which go                         RFC 6857 section 3.2.4
_CLAUSE = re.compile(
    rb"(?<![ \t\r\n])[ \t\r\n]++(?:for[ \t\r\n]++<?[!-:=?A-\x7f]*+|id[ \t\r\n]++<?[!-:=?-\x7f]*+)"
    rb"[\x80-\xff][^\s;<>]*+>?",
    re.IGNORECASE,
)
_PLAIN, _ANY = rb"[^\s\0-\x1f\"(),;<>@\x80-\xff]", rb"[^\s\0-\x1f\"(),;<>@]"
#: A comment without others in it.
_COMMENT = re.compile(rb"\((?:[^()\\]|\\.)*+\)", re.DOTALL)
#: The same, or a word that is no ASCII.
_COMMENT_OR_DOMAIN = re.compile(_COMMENT.pattern + rb"|(?<!%b)%b*+[\x80-\xff]%b*+" % (_ANY, _PLAIN, _ANY), re.DOTALL)
_LONGEST_DOMAIN = 255  # RFC 5321 section 4.5.3.1.2
# dot-atom-text                                                                             RFC 5322 section 3.2.3
_DOT_ATOM = re.compile(rb"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
# A display name that needs no quotes: atoms, and the spaces between them.
_PLAIN_NAME = re.compile(rb"[\w!#$%&'*+/=?^`{|}~ -]+", re.ASCII)
#: So many hyphens are looked at one by one: finding one octet is by far the quickest, and in base64 there is none.
_FEW = 16


def downgrader_of(beginning: bytes) -> SevenBit | None:
    """
    Return what downgrades a message that begins so, None where its header is ASCII.

    The headers of parts are looked at as far as `beginning` reaches.
    """
    end = end_of_header(beginning)
    header = beginning if end is None else beginning[:end]
    if header.isascii() and (b"multipart/" not in header.lower() or not _has_such_part(beginning)):
        return None
    return SevenBit(downgraded_field, keeps_bodies=True)


def _has_such_part(octets: bytes) -> bool:
    """Whether the header behind anything that looks like a delimiter is no ASCII."""
    start = _delimiter(octets, 0)
    while start >= 0:
        blank = BLANK_LINE.search(octets, start)
        end = blank.start() if blank is not None else len(octets)
        if not octets[start:end].isascii():
            return True
        start = _delimiter(octets, end)
    return False


def _delimiter(octets: bytes, start: int) -> int:
    """Return where the next line begins that looks like a delimiter, with the LF before it; -1 if none does."""
    at = start
    for _ in range(_FEW):
        at = octets.find(b"-", at + 1)
        if at < 0 or octets[at - 1 : at + 2] == b"\n--":
            return max(at - 1, -1)
    return octets.find(b"\n--", at)


def downgraded_field(raw: bytes) -> bytes:
    """Return one raw field, folds and line end included, in ASCII; one that is so already as it is."""
    if raw.isascii() or not _is_utf_8(raw):
        return raw
    name = raw.partition(b":")[0].rstrip(b" \t")
    kind = name.lower()
    if kind in _RENAMED and not _COMMENT.sub(b"", raw).isascii():
        return b"Downgraded-" + name + b": " + _words(field_value(raw)) + b"\r\n"
    if kind in _ADDRESSES:
        addresses = parse_addresses(field_value(raw))
        if len(addresses) >= MAX_ADDRESSES or not all(map(_is_whole, addresses)):
            return plain_field(raw)
        return name + b": " + b",\r\n ".join(_written(addresses)) + b"\r\n"
    return plain_field(_received(raw) if kind == b"received" else raw)


def _received(raw: bytes) -> bytes:
    """Leave out what cannot be said in ASCII, and write domains in A-labels: RFC 6857 section 3.2.4."""
    return _COMMENT_OR_DOMAIN.sub(_domain_or_comment, _CLAUSE.sub(b"", raw))


def _domain_or_comment(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0].startswith(b"(") else _ascii_host(match[0])


def _ascii_host(host: bytes) -> bytes:
    """Return a domain in A-labels (RFC 6857 section 3.1.6), as it is where it has none; long ones take long."""
    if host.isascii() or len(host) > _LONGEST_DOMAIN:
        return host
    try:
        return ascii_domain(host.decode("utf-8").lower()).encode("ascii")
    except ValueError:
        return host


def _is_utf_8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_whole(address: MailAddress) -> bool:
    return address.mailbox != NO_MAILBOX and address.host != NO_DOMAIN


def _words(octets: bytes) -> bytes:
    """Return encoded words, one a line."""
    return encode_words(octets.decode("utf-8")).encode("ascii").replace(b" ", b"\r\n ")


def _written(addresses: list[MailAddress]) -> list[bytes]:
    """Write addresses; one that is no ASCII becomes the name of an empty group (RFC 6857 section 3.1.8)."""
    found: list[bytes] = []
    group: list[MailAddress] | None = None
    name: bytes | None = None
    for address in addresses:
        if address.host is None and address.mailbox is not None:
            name, group = address.mailbox, []
        elif address.host is None:
            found.append(_group(name or b"", group or []))
            group = None
        elif group is not None:
            group.append(address)
        else:
            found.append(_mailbox(address))
    return found


def _group(name: bytes, members: list[MailAddress]) -> bytes:
    if all(_spec(member).isascii() for member in members):
        return _name(name) + b": " + b", ".join(map(_mailbox, members)) + b";"
    text = b", ".join((each.name + b" <%b>" % _spec(each)) if each.name else _spec(each) for each in members)
    return _hidden(name, text)  # RFC 6857 section 3.1.7


def _mailbox(address: MailAddress) -> bytes:
    spec = _spec(address)
    if not spec.isascii():
        return _hidden(address.name or b"", spec)
    return _name(address.name) + b" <" + spec + b">" if address.name else spec


def _hidden(name: bytes, text: bytes) -> bytes:
    """Return an empty group that says in its name what ASCII cannot; between encoded words no space would be seen."""
    if not name.isascii():
        return _words(name + b" " + text) + b" :;"
    return (_name(name) + b" " if name else b"") + _words(text) + b" :;"


def _spec(address: MailAddress) -> bytes:
    """Return ``addr-spec``; a local part that is no ASCII keeps its domain as it is."""
    mailbox, host = address.mailbox or b"", address.host or b""
    if not mailbox.isascii():
        return mailbox + b"@" + host
    if _DOT_ATOM.fullmatch(mailbox) is None:
        mailbox = _quoted(mailbox)
    return mailbox + b"@" + _ascii_host(host)


def _name(name: bytes) -> bytes:
    if not name.isascii():
        return _words(name)
    return name if _PLAIN_NAME.fullmatch(name) else _quoted(name)


def _quoted(octets: bytes) -> bytes:
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
