"""Reading a folder's directories while other programs give files other names.  Everything here blocks."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from mailfw.stores.maildir.names import base_of, is_message
from mailfw.stores.maildir.signature import GRAIN, Signature

#: How often a listing is taken again because files were renamed under it (a directory's reader may miss those).
LISTINGS = 10

#: Names with ``cur/`` or ``new/``, by what never changes of them.
Names = dict[str, str]


def listed(directory: str, subdirectory: str) -> Names:
    """Return the messages in one subdirectory of a folder."""
    with os.scandir(f"{directory}/{subdirectory}") as entries:
        return {
            base_of(entry.name): f"{subdirectory}/{entry.name}"
            for entry in entries
            if is_message(entry.name) and entry.is_file(follow_symlinks=False)
        }


def listing(directory: str) -> Names:
    """Return the messages of a folder.  A file on its way from ``new`` to ``cur`` is seen in one of them."""
    return {**listed(directory, "new"), **listed(directory, "cur")}


def stable_listing(directory: str) -> tuple[Names, Signature]:
    """Return the messages of a folder as its signature says that it was."""
    before = Signature.of(directory)
    found = listing(directory)
    for _ in range(LISTINGS):
        after = Signature.of(directory)
        if after.is_same(before):
            break
        # What one reading missed the other has; what is truly gone the next survey finds.
        before, found = after, {**found, **listing(directory)}
    return found, before


def sought(directory: str, wanted: Collection[str]) -> tuple[Names, Signature]:
    """
    Return what `stable_listing` does, and those of `wanted` that it missed and that are there.

    A directory's reader may miss a file that gets another name meanwhile, and two changes may have the same date:
    only where the last one is some time ago, nothing can have been missed.
    """
    found, signature = stable_listing(directory)
    for _ in range(LISTINGS):
        if signature.is_settled() or all(base in found for base in wanted):
            break
        time.sleep(GRAIN)
        more, signature = stable_listing(directory)
        found = {**found, **more}
    return found, signature
