"""
The file ``subscriptions`` in a maildir's root.

Version 2, as Dovecot writes it, has a header ``V<tab>2`` and an empty line, then names whose parts are
separated by tabs; version 1 is names whose parts are separated by dots.  Both are read, version 2 is written.
"""

from __future__ import annotations

from pathlib import Path as FilePath

from mailfw.disk import Disk
from mailfw.mail import utf7
from mailfw.mail.mailbox import INBOX, Path
from mailfw.stores.maildir import layout
from mailfw.stores.maildir.dotlock import dotlock

NAME = "subscriptions"
HEADER = "V\t2\n\n"


def parse(text: str) -> frozenset[Path]:
    """Return the paths that are subscribed; names that cannot be read are left out."""
    found = set()
    if text.startswith("V\t2"):
        rows = [line.split("\t") for line in text.splitlines()[1:] if line]
    else:
        rows = [line.split(".") for line in text.splitlines() if line]
    for row in rows:
        try:
            path = tuple(utf7.decode(name) for name in row)
        except ValueError:
            continue
        found.add(INBOX if layout.is_inbox(path) else path)
    return frozenset(found)


def format_all(paths: frozenset[Path]) -> str:
    """Return the file's text."""
    return HEADER + "".join("\t".join(map(utf7.encode, path)) + "\n" for path in sorted(paths))


def read(root: str) -> frozenset[Path]:
    """Read the file.  Blocks."""
    try:
        return parse(FilePath(f"{root}/{NAME}").read_text("utf-8", "replace"))
    except FileNotFoundError:
        return frozenset()


def change(disk: Disk, root: str, path: Path, subscribed: bool) -> None:
    """Add a path to the file, or take it out; the file is on stable storage when this returns.  Blocks."""
    layout.directory_of(path)
    with dotlock(disk, f"{root}/{NAME}.lock"):
        before = read(root)
        after = before | {path} if subscribed else before - {path}
        if after != before:
            draft = f"{root}/{NAME}.tmp"
            FilePath(draft).unlink(missing_ok=True)
            disk.replace_file(f"{root}/{NAME}", format_all(after).encode(), draft)
            disk.sync_directory(root)
