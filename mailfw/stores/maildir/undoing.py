"""Taking files back that a process brought into a folder before it died.  Blocks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from mailfw.stores.index.ledger import Expected
from mailfw.stores.maildir.admission import Arrival
from mailfw.stores.maildir.folder import MaildirFolder


def undo(target: MaildirFolder, messages: Sequence[Expected], source: MaildirFolder | None) -> None:
    """
    Remove these messages from a folder; with a `source` they were moved from there, and go back to it.

    What is not where it was expected another program has taken, or it never came.
    """
    with target.uidlist.lock():
        for each in messages:
            with suppress(KeyError):
                if source is None:
                    target.reach(each.new, lambda name: target.disk.unlink(target.path(name)))
                else:
                    target.reach(each.new, partial(_move_back, target, source, each))
    folders = [target] if source is None else [target, source]
    for folder in folders:
        folder.disk.sync_all([folder.path("cur"), folder.path("new")], [folder.directory])
        folder.forget()


def _move_back(target: MaildirFolder, source: MaildirFolder, message: Expected, name: str) -> None:
    """Give a message the name that its flags make in the folder where it was."""
    flags = frozenset(message.flags)
    source.learn(flags)
    back = source.name_for(Arrival(message.old, flags, _nothing, _nothing))
    target.disk.rename(target.path(name), source.path(back))


def _nothing(path: str) -> None:
    """Bring nothing."""
