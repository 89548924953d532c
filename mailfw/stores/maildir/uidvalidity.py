"""
The files ``dovecot-uidvalidity`` and ``dovecot-uidvalidity.<8hex>`` in a maildir's root.

The first holds the last UIDVALIDITY given, the name of the second (empty) one repeats it; Dovecot takes the
next by renaming the second.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

from mailfw.disk import Disk

NAME = "dovecot-uidvalidity"
_MARKER = re.compile(re.escape(NAME) + r"\.([0-9a-f]{8})")


def next_uid_validity(disk: Disk, root: str) -> int:
    """Take a UIDVALIDITY that no folder of this maildir has had.  Blocks."""
    markers = {int(found[1], 16): found[0] for found in map(_MARKER.fullmatch, _names(root)) if found}
    last = max([_noted(root), *markers])
    value = max(last + 1, int(time.time()))
    marker = f"{root}/{NAME}.{value:08x}"
    if markers:
        disk.rename(f"{root}/{markers[max(markers)]}", marker)
    else:
        with suppress(FileExistsError):
            disk.close(disk.create(marker))
    draft = f"{root}/{NAME}.tmp"
    Path(draft).unlink(missing_ok=True)
    disk.replace_file(f"{root}/{NAME}", b"%08x" % value, draft)
    disk.sync_directory(root)
    return value


def _names(root: str) -> list[str]:
    return [path.name for path in Path(root).glob(NAME + ".*")]


def _noted(root: str) -> int:
    try:
        return int(Path(f"{root}/{NAME}").read_bytes()[:8], 16)
    except (FileNotFoundError, ValueError):
        return 0
