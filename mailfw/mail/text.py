"""The content of parts as text to search in."""

from __future__ import annotations

import html
import quopri
import re
from unicodedata import combining, decomposition, normalize

from mailfw.mail.words import decode_b, decode_charset

# Elements whose content nobody reads, comments and declarations; one that is not closed reaches to the end.
_UNSEEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|head|title)\b[^<>]*+>.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
# Elements that end a word; all others may stand in the middle of one.
_BLOCK = re.compile(
    r"</?(?:p|div|br|hr|li|ul|ol|dl|dt|dd|td|th|tr|table|h[1-6]|pre|blockquote|section|article|body|option|img)\b[^<>]*+>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*+>")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


# Two white-space characters or more, or one that is no space; a control character counts as white space.
_BLANKS = re.compile(r"[\s\0-\x1f\x7f]{2,}|[^\S ]|[\0-\x1f\x7f]")
# What nobody sees and mailers strew into words (soft hyphens, zero-width spaces), and halves of characters.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]+")
_HALVES = re.compile("[\ud800-\udfff]")

# What joins the character before it, as it is or taken apart; beyond U+1F000 there is none.
# Taking every character apart would cost each start of a process; most neither join nor can be taken apart.
_MARKS = frozenset(
    character
    for character in map(chr, range(0x300, 0x1F000))
    if (combining(character) or decomposition(character)) and all(map(combining, normalize("NFKD", character)))
)
# UAX #15 section 13: no text has more than 30 of them in a row.  Putting n in order takes n² steps.
_CROWD = re.compile(r"(?![\0-\u02ff])([{0}]{{30}})[{0}]+".format("".join(_MARKS)))

# A number with more digits than Python reads (`sys.int_info.default_max_str_digits` is 4300) is no character's.
_HUGE = re.compile(r"&#[0-9]{4000,}+;?")


def fold(text: str) -> str:
    """
    Return text as it is compared: in compatible composed form (NFKC), without case, white space as one space.

    Hangul and accents written as several characters are composed, full-width letters and ligatures are the plain ones;
    accents stay, up to 30 on one letter.  What is broken over lines is as if there were a space.  Folding twice changes
    nothing.
    """
    if text.isascii():
        return _BLANKS.sub(" ", text.lower())
    text = _INVISIBLE.sub("", _HALVES.sub("\ufffd", text))
    folded = _composed(text)
    while (again := _composed(folded)) != folded:
        folded = again  # for the few characters that become others in several steps
    return _BLANKS.sub(" ", folded)


def _composed(text: str) -> str:
    return _thinned(normalize("NFKC", _thinned(text)).casefold())


def _thinned(text: str) -> str:
    """Return text without what nobody could read of its marks; most text has none."""
    return text if _MARKS.isdisjoint(text) else _CROWD.sub(r"\1", text)


def decode_transfer(octets: bytes, encoding: str) -> bytes:
    """Undo a content transfer encoding (RFC 2045 section 6), as far as it can be; unknown ones stay as they are."""
    if encoding == "base64":
        return decode_b(octets)
    if encoding == "quoted-printable":
        return quopri.decodestring(octets)
    return octets


def html_to_text(markup: str) -> str:
    """Return what a reader sees of HTML, roughly: enough to search in."""
    seen = _TAG.sub("", _BLOCK.sub(" ", _UNSEEN.sub(" ", markup)))
    return html.unescape(_HUGE.sub("\ufffd", seen))


def part_text(octets: bytes, subtype: str, encoding: str, charset: str) -> str:
    """
    Return the text of a ``text/…`` part from its octets as they stand in the message.

    The octets may be cut off anywhere.  HTML that has no charset of its own is asked for one.
    """
    decoded = decode_transfer(octets, encoding)
    if subtype != "html":
        return decode_charset(decoded, charset)
    if charset == "us-ascii" and (stated := _META_CHARSET.search(decoded, 0, 4096)) is not None:
        charset = stated[1].decode("ascii")
    return html_to_text(decode_charset(decoded, charset))
