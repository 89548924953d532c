"""
The files ``dovecot-uidvalidity`` and ``dovecot-uidvalidity.<8hex>`` in a maildir's root.

The first holds the last UIDVALIDITY given, the name of the second (empty) one repeats it; Dovecot takes the
next by renaming the second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mailfw.disk import Disk
from mailfw.stores.index.ledger import SourceBusy

NAME = "dovecot-uidvalidity"
_MARKER = re.compile(re.escape(NAME) + r"\.([0-9a-f]{8})")

#: How often one is taken again because another program was quicker.
ATTEMPTS = 10


def next_uid_validity(disk: Disk, root: str) -> int:
    """Take a UIDVALIDITY that no folder of this maildir has had.  Blocks."""
    for _ in range(ATTEMPTS):
        markers = _markers(root)
        last = max([_noted(root), *markers])
        with suppress(FileNotFoundError, FileExistsError):  # Dovecot has just taken one
            return _note(disk, root, max(last + 1, int(time.time())), markers)
    raise SourceBusy(root)


def note_uid_validity(disk: Disk, root: str, value: int) -> None:
    """See to it that no folder gets a UIDVALIDITY that one has brought along, nor a lower one.  Blocks."""
    markers = _markers(root)
    if value > max([_noted(root), *markers]):
        _note(disk, root, value, markers)


def _note(disk: Disk, root: str, value: int, markers: Mapping[int, str]) -> int:
    marker = f"{root}/{NAME}.{value:08x}"
    if markers:
        disk.rename(f"{root}/{markers[max(markers)]}", marker)
    else:
        disk.close(disk.create(marker))
    draft = f"{root}/{NAME}.tmp"
    Path(draft).unlink(missing_ok=True)
    disk.replace_file(f"{root}/{NAME}", b"%08x" % value, draft)
    disk.sync_directory(root)
    return value


def _markers(root: str) -> dict[int, str]:
    names = [path.name for path in Path(root).glob(NAME + ".*")]
    return {int(found[1], 16): found[0] for found in map(_MARKER.fullmatch, names) if found}


def _noted(root: str) -> int:
    try:
        return int(Path(f"{root}/{NAME}").read_bytes()[:8], 16)
    except (FileNotFoundError, ValueError):
        return 0
