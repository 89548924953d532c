"""
The unique-ids of POP3 that messages brought along from another server: ``P`` in the lines of ``dovecot-uidlist``.

Dovecot notes them there when it takes over mail (``pop3_save_uidl``, its migration plug-in), and keeps them for ever.
"""

from __future__ import annotations

import re
from pathlib import Path

from mailfw.stores.maildir.uidlist import NAME

# unique-id = 1*70 characters from 0x21 to 0x7E (RFC 1939 section 7)
_NOTED = re.compile(rb"^([0-9]{1,10})(?: [A-OQ-Z][^ \n]*)* P([!-~]{1,70})(?= )", re.MULTILINE)


def read_unique_ids(directory: str) -> dict[int, str]:
    """Return by UID what is noted of a folder's messages; two never have the same.  Blocks."""
    try:
        octets = Path(f"{directory}/{NAME}").read_bytes()
    except FileNotFoundError:
        return {}
    if b" P" not in octets:
        return {}
    found: dict[bytes, int] = {}
    for noted in _NOTED.finditer(octets):
        found.setdefault(noted[2], int(noted[1]))
    return {uid: unique.decode("ascii") for unique, uid in found.items()}
