"""What mailboxes are called at a store that comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailfw.mail.mailbox import Path
from mailfw.transfer.account import Box

#: What is in no name of a mailbox here: the delimiter, and what RFC 5198 section 2 keeps out of texts.
_UNSPEAKABLE = re.compile(r"[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def fitting(path: Path) -> Path:
    """Return a path that every client can say; the hierarchy here has ``/`` in between, whatever others have."""
    return tuple(_UNSPEAKABLE.sub("_", name) for name in path)


def fitting_names(boxes: Sequence[Box]) -> dict[str, Path]:
    """
    Return, by key, what each mailbox is called here: as at the origin, unless no client could say that.

    No two are called the same.
    """
    plain = {each.path for each in boxes}
    names: dict[str, Path] = {}
    for box in boxes:
        path = wanted = fitting(box.path)
        number = 1
        while path != box.path and (path in plain or path in names.values()):
            number += 1
            path = (*wanted[:-1], f"{wanted[-1]}~{number}")
        names[box.key] = path
    return names
