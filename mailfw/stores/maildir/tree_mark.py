"""How one tells, mostly without reading it, that the root of a maildir has other folders or subscriptions."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from mailfw.stores.maildir.signature import TICK, identity
from mailfw.stores.maildir.subscriptions import NAME


@dataclass(frozen=True, slots=True)
class TreeMark:
    """
    A number that stands for folders and subscriptions, and is another in another process.

    `changed` is when a name in the root last did, in nanoseconds, and `looked` when that was looked at, in seconds; 0
    where there may be other folders without any change of that.
    """

    number: int
    changed: int = field(compare=False)
    looked: float = field(compare=False)


def tree_mark(root: str, before: object) -> TreeMark:
    """Return a mark, given the last one; names are read only where one may have changed.  Blocks."""
    now = time.time()
    try:
        changed = os.stat(root).st_mtime_ns  # noqa: PTH116 -- asked of all who are watched
        if isinstance(before, TreeMark) and before.changed == changed and before.looked > changed / 1e9 + TICK:
            return before
        folders, is_settled = _folders(root)
    except FileNotFoundError:
        return TreeMark(0, 0, 0.0)
    number = hash((frozenset(folders), identity(f"{root}/{NAME}")))
    return TreeMark(number, changed, now if is_settled else 0.0)


def _folders(root: str) -> tuple[list[tuple[str, int]], bool]:
    """Return the folders by name and inode, and whether no other program is about to make one: "cur" comes last."""
    with os.scandir(root) as entries:
        found = [
            (entry.name, entry.inode(), os.path.isdir(f"{entry.path}/cur"))  # noqa: PTH112 -- as above
            for entry in entries
            if entry.name[:1] == "." and entry.name[:2] != ".." and entry.is_dir(follow_symlinks=False)
        ]
    return [(name, inode) for name, inode, is_whole in found if is_whole], all(is_whole for *_, is_whole in found)
