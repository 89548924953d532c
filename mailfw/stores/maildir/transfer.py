"""Copy and move between the folders of one maildir: a second link, or another name, for the same file."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial

from mailfw.mail.mailbox import Flags
from mailfw.stores.index.ledger import Outdated
from mailfw.stores.maildir.admission import Arrival
from mailfw.stores.maildir.content import CHUNK, open_message
from mailfw.stores.maildir.folder import MaildirFolder

#: A key and a UID, or None for a message that is gone.
Landed = tuple[str, int | None] | None


def transfer(
    source: MaildirFolder,
    messages: Sequence[tuple[str, Flags, str, int]],
    target: MaildirFolder,
    move: bool,
    names: Sequence[str],
) -> list[Landed]:
    """
    Bring messages (base, flags, email id, date) from one folder to another, all or none of those that are there.

    A message gets a new name even if it moves, since it may come back, and a UID is not given twice.
    """
    try:
        ours = source.is_as_surveyed()
        arrivals = [
            _arrival(source, base, flags, email_id, move, name)
            for (base, flags, email_id, _), name in zip(messages, names, strict=True)
        ]
        uids = iter(target.admit([arrival for arrival in arrivals if arrival is not None]))
    except KeyError:
        # It went between our asking and our taking it; the caller looks again.
        raise Outdated(source.directory)
    except FileNotFoundError:
        if source.is_in_place() and target.is_in_place():
            raise
        raise Outdated(source.directory)
    if move:
        source.released([base for base, *_ in messages], ours)
    return [(arrival.base, next(uids)) if arrival is not None else None for arrival in arrivals]


def name_of_copy(name: str, base: str) -> str:
    """Return a new name with what the old one says of sizes."""
    _, comma, sizes = base.partition(",")
    return name + comma + sizes


def _arrival(source: MaildirFolder, base: str, flags: Flags, email_id: str, move: bool, name: str) -> Arrival | None:
    with suppress(KeyError):
        source.reach(base, lambda name: os.stat(source.path(name), follow_symlinks=False))  # noqa: PTH116 -- one call
        bring = partial(_move if move else _copy, source, base)
        undo = partial(_move_back, source, base) if move else source.disk.unlink
        return Arrival(name, flags, bring, undo, {"G": email_id})
    return None


def _move(source: MaildirFolder, base: str, target: str) -> None:
    source.reach(base, lambda name: source.disk.rename(source.path(name), target))


def _move_back(source: MaildirFolder, base: str, target: str) -> None:
    """Any name in ``cur/`` will do for a message that had none we knew of; a survey follows a failure."""
    source.disk.rename(target, source.path(source.name_of(base) or f"cur/{base}:2,"))


def _copy(source: MaildirFolder, base: str, target: str) -> None:
    source.reach(base, lambda name: _link(source, source.path(name), target))


def _link(source: MaildirFolder, old: str, new: str) -> None:
    try:
        source.disk.link(old, new)
    except OSError as error:
        # Too many links, another's file under fs.protected_hardlinks, or a file system without links.
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.ENOTSUP):
            raise
        _duplicate(source, old, new)


def _duplicate(source: MaildirFolder, old: str, new: str) -> None:
    """Copy the octets and the date, through ``tmp/``."""
    draft = f"{source.directory}/tmp/{new.rpartition('/')[2].partition(':')[0]}"  # noqa: S108 -- the maildir's own
    with ExitStack() as undoing, ExitStack() as opened:
        reading = open_message(old)
        opened.callback(os.close, reading)
        writing = source.disk.create(draft)
        opened.callback(source.disk.close, writing)
        undoing.callback(_remove, source, draft)
        while octets := os.read(reading, CHUNK):
            source.disk.write(writing, octets)
        source.disk.date(writing, int(os.fstat(reading).st_mtime))
        source.disk.sync(writing)
        source.disk.rename(draft, new)
        undoing.pop_all()


def _remove(source: MaildirFolder, draft: str) -> None:
    """Give back the room of a copy that failed, maybe because there was none."""
    with suppress(OSError):
        source.disk.unlink(draft)
