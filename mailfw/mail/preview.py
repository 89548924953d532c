"""The beginning of a message's text, for lists of messages: RFC 8970 section 3.2, and `preview` of RFC 8621."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailfw.mail.text import part_text

#: RFC 8970 section 3.3: 200 characters should do, and there must not be more than 256.
LENGTH = 200

#: Octets of a text that are kept until its preview is made; HTML may begin with very much that nobody sees.
PLAIN_OCTETS, HTML_OCTETS = 4 * 1024, 16 * 1024

#: Octets that are tried first, by encoding: they nearly always have enough.
_FIRST = {"base64": 900, "quoted-printable": 1800}
_FIRST_PLAIN = 400

#: How many texts of a message are looked at.
TEXTS = 2

# "-- " on a line of its own begins a signature                        RFC 3676 section 4.3
_SIGNATURE = re.compile(r"(?:^|\n)-- \r?(?:\n|\Z)")
# The header of a text that is signed in the clear                     RFC 9580 section 7
_ARMOR = re.compile(r"\s*-----BEGIN PGP SIGNED MESSAGE-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n")
# What senders fill a preview with so that the rest is not seen: white space, and what joins or parts characters.
_INVISIBLE = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufffd"
_HIDING = re.compile(f"[{_INVISIBLE}]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x9f]")


@dataclass(slots=True)
class Excerpt:
    """The first octets of a ``text/plain`` or ``text/html`` part, encoded; `group` is what it is an alternative in."""

    subtype: str
    charset: str
    encoding: str
    group: object = None
    octets: bytearray = field(default_factory=bytearray)

    @property
    def room(self) -> int:
        """How many more octets it has use for."""
        return (HTML_OCTETS if self.subtype == "html" else PLAIN_OCTETS) - len(self.octets)


def preview(texts: Sequence[Excerpt]) -> str:
    """Return the first of these texts that is not empty, the plain one where a reader may choose; never raises."""
    ordered = list(texts)
    if len(ordered) > 1 and ordered[0].subtype == "html" and ordered[1].group is ordered[0].group is not None:
        ordered.reverse()
    for text in ordered:
        if found := text_preview(bytes(text.octets), text.subtype, text.encoding, text.charset):
            return found
    return ""


def text_preview(octets: bytes, subtype: str, encoding: str, charset: str) -> str:
    """Return the beginning of the text in the first octets of a part."""
    if subtype != "html":
        first = _FIRST.get(encoding, _FIRST_PLAIN)
        found = _plain(octets[:first], encoding, charset)
        if len(found) < LENGTH and len(octets) > first:
            found = _plain(octets[:PLAIN_OCTETS], encoding, charset)
        return found[:LENGTH].rstrip()
    if len(octets) >= HTML_OCTETS and encoding != "base64" and octets.rfind(b"<") > octets.rfind(b">"):
        octets = octets[: octets.rfind(b"<")]  # a tag that is cut in two is no text
    return _collapsed(part_text(octets, "html", encoding, charset))[:LENGTH].rstrip()


def _plain(octets: bytes, encoding: str, charset: str) -> str:
    text = part_text(octets, "plain", encoding, charset)
    if "-----BEGIN PGP" in text:
        text = _ARMOR.sub("", text)
    if "-- " in text and (signature := _SIGNATURE.search(text)) is not None:
        text = text[: signature.start()]
    return _collapsed(text)


def _collapsed(text: str) -> str:
    """Return words with one space between them; those of which nothing is seen go."""
    joined = " ".join(text.split())
    if joined.isprintable() and (joined.isascii() or _HIDING.search(joined) is None):
        return joined
    words = _CONTROLS.sub(" ", joined).split()
    return " ".join([word for word in words if word.isascii() or word.strip(_INVISIBLE)]).rstrip("\ufffd")
