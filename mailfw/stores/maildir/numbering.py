"""
Messages that bring their UIDs along, and folders that get another UIDVALIDITY.  Blocks.

Such a message is numbered before it is placed, still in ``tmp/``: if the process dies in between, whoever reads the
list next places it.  Placed first, it would get whichever UID is next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mailfw.stores.index.ledger import Outdated
from mailfw.stores.maildir.uidlist import Entry
from mailfw.stores.maildir.uidvalidity import note_uid_validity

if TYPE_CHECKING:
    from mailfw.stores.maildir.folder import MaildirFolder
    from mailfw.stores.maildir.root import MaildirRoot


def renumber(maildir: MaildirRoot, key: str, uid_validity: int | None, uid_next: int) -> int:
    """
    Give a folder another UIDVALIDITY, a new one for None, and next UID; returns the UIDVALIDITY.

    Raises `Outdated` when another program has written to its list since the last survey.
    """
    value = maildir.new_validity() if uid_validity is None else uid_validity
    note_uid_validity(maildir.disk, maildir.root, value)
    uids = maildir.folder(key).uidlist
    with uids.lock():
        if not uids.is_current():
            raise Outdated(key)
        uids.renumber(value, uid_next)
    return value


def bring_in(folder: MaildirFolder, root: str | None, entries: Mapping[str, Entry]) -> None:
    """Bring in files whose admission was cut off when they had UIDs: those that bring some along get them first."""
    directory = f"{root}/tmp"  # noqa: S108 -- the maildir's own
    drafts = set(folder.disk.names(directory)) if root is not None else set()
    found = {base: name for base in entries if (name := base.partition(",")[0]) in drafts} if drafts else {}
    for base, name in found.items():
        folder.disk.rename(f"{directory}/{name}", folder.path(f"new/{base}"))
    if found:
        folder.disk.sync_all([folder.path("new"), directory], [folder.directory])
