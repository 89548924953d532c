"""Looking whether a backup is whole, with nothing at hand but its files.  Everything here blocks."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path

from mailfw.mail.mailbox import Path as BoxPath
from mailfw.transfer.account import TransferRefused
from mailfw.transfer.backup import Backup, Saved, SavedBox
from mailfw.transfer.digests import CHUNK
from mailfw.transfer.engine import Outcome, Progress, name


def check(backup: Backup, progress: Progress) -> Outcome:
    """Read all of an account's backup and compare it with its lists; what is not as they say is in the outcome."""
    outcome = Outcome()
    try:
        manifest = backup.manifest()
    except TransferRefused as reason:
        outcome.add_fault(str(reason))
        return outcome
    if manifest.finished is None:
        outcome.add_fault("its last run did not come to its end")
    for box in manifest.boxes:
        _check_box(backup, box, manifest.finished is not None, outcome, progress)
    return outcome


def _check_box(backup: Backup, box: SavedBox, is_finished: bool, outcome: Outcome, progress: Progress) -> None:
    try:
        folder = backup.folder(box.directory)
    except TransferRefused as reason:
        outcome.add_fault(str(reason))
        return
    listed = backup.listed(box.directory)
    if is_finished:
        for fault in _list_faults(backup, box, listed):
            outcome.add_fault(fault)
    outcome.mailboxes += 1
    outcome.messages += len(listed)
    progress.begin(name(box.path), len(listed))
    try:
        _check_messages(folder, box.path, listed, outcome, progress)
    finally:
        progress.end()


def list_faults(backup: Backup, box: SavedBox) -> list[str]:
    """Return what is not as it should be of the list of a mailbox, when the last run came to its end."""
    return _list_faults(backup, box, backup.listed(box.directory))


def _list_faults(backup: Backup, box: SavedBox, listed: Mapping[tuple[int, int], Saved]) -> list[str]:
    faults = []
    if backup.list_digest(box.directory) != box.list_digest:
        faults.append(f"{name(box.path)}: its list is not the one that was written last")
    held = sum(1 for each in listed.values() if not each.gone)
    if not box.gone and held != box.messages:
        faults.append(f"{name(box.path)}: {box.messages} messages were saved, {held} are in its list")
    return faults


def _check_messages(
    folder: Path, path: BoxPath, listed: Mapping[tuple[int, int], Saved], outcome: Outcome, progress: Progress
) -> None:
    for _, each in sorted(listed.items()):
        fault = _fault_of(folder / each.file, each)
        if fault:
            outcome.add_fault(f"{name(path)}, {each.file}: {fault}")
        else:
            outcome.verified += 1
            outcome.octets += each.size
        progress.advance(1, each.size)


def _fault_of(file: Path, saved: Saved) -> str:
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            return "it is no file"
        size, digest = digest_of(file)
    except FileNotFoundError:
        return "the file is missing"
    except OSError as reason:
        return f"it cannot be read: {reason.strerror}"
    if size != saved.size:
        return f"it has {size} octets, and had {saved.size}"
    return "" if digest == saved.digest else "its octets are not what they were"


def digest_of(path: Path) -> tuple[int, str]:
    """Return the size of a file, and its SHA-256.  Raises `OSError`."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while octets := file.read(CHUNK):
            digest.update(octets)
            size += len(octets)
    return size, digest.hexdigest()
