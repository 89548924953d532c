"""The order of text that is the same in any case: ``i;unicode-casemap`` of RFC 5051."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


def casemap(text: str) -> bytes:
    """
    Return text so prepared that comparing octets compares as RFC 5051 section 2 says.

    What is equal there gives the same octets.
    """
    if text.isascii():
        return text.upper().encode("ascii")
    return "".join(map(_prepared, text)).encode("utf-8", "replace")


@lru_cache(maxsize=4096)
def _prepared(character: str) -> str:
    """Return a character in title case, then taken apart, as UnicodeData.txt says of single characters."""
    titled = character.title()
    if len(titled) != 1:  # a mapping of SpecialCasing.txt, which the RFC does not use
        titled = character
    if "\uac00" <= titled <= "\ud7a3":  # Hangul syllables have no decomposition in UnicodeData.txt
        return titled
    return unicodedata.normalize("NFKD", titled)
