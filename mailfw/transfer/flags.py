"""Flags that come from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailfw.mail.mailbox import SYSTEM_FLAGS, Flags

_SYSTEM = {flag.lower(): flag for flag in SYSTEM_FLAGS}
#: flag-keyword = atom                                                      RFC 3501 section 9
_KEYWORD = re.compile(r"""[^\x00-\x20\x7f-\uffff(){%*"\\\]]{1,250}""")


def flags_of(words: Iterable[str]) -> Flags:
    """Return what of foreign flags a store can keep: system flags as the RFC spells them, and keywords."""
    found = set()
    for word in words:
        if word.startswith("\\"):
            found.add(_SYSTEM.get(word.lower(), ""))
        elif _KEYWORD.fullmatch(word):
            found.add(word)
    return frozenset(found - {""})
