"""
A backup of a whole site: accounts as ``<domain>/<name>``, and what the data directory has besides mail.

``site.json`` is written when all else is there.  It names the accounts, each with the SHA-256 of its manifest, which
has those of its lists, which have those of the messages; and the files in ``@data``, which no domain can be called.
Everything here blocks.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailfw.disk import Disk
from mailfw.transfer.account import TransferRefused
from mailfw.transfer.backup import MANIFEST
from mailfw.transfer.check import digest_of

SITE = "site.json"
FILES = "@data"
FORMAT = "mailfw site 1"
#: Octets of a file that is kept: what is larger is no configuration.
LARGEST = 64 * 1024 * 1024
#: The directories of the data directory that are kept, besides the files in it.
_FOLDERS = ("tls",)
#: What only means something while a server runs, or is a database that changes under the copy.
_PASSING = re.compile(r".*\.(lock|sock|tmp|draft|pid)|.*\.sqlite(-wal|-shm)?")
#: A path in the list: nothing that leads elsewhere.
_PLAIN = re.compile(r"(?:tls/)?(?!\.{1,2}\Z)[^/\0]+")
_ACCOUNT = re.compile(r"[^./\0][^/\0]*/[^./\0][^/\0]*")


@dataclass(frozen=True, slots=True)
class Site:
    """What ``site.json`` says: digests by account's directory, and by file."""

    accounts: Mapping[str, str]
    files: Mapping[str, str]


class SiteBackup:
    """The files of a site's backup that are nobody's mail."""

    def __init__(self, disk: Disk, root: Path) -> None:
        self._disk = disk
        self._root = root

    def exists(self) -> bool:
        """Whether there is one, finished or not."""
        return not (self._root / MANIFEST).exists() and ((self._root / SITE).exists() or any(self._found()))

    def _found(self) -> Iterator[Path]:
        return (each.parent for each in self._root.glob(f"*/*/{MANIFEST}"))

    def roots(self) -> tuple[list[Path], list[Path]]:
        """Return the accounts' directories: those of the last run that came to its end, and others."""
        found = sorted(self._found())
        if not (self._root / SITE).exists():
            return found, []
        listed = {self._root / each for each in self.read().accounts}
        return sorted(listed), [each for each in found if each not in listed]

    def read(self) -> Site:
        """Read ``site.json``.  Raises `TransferRefused`."""
        path = self._root / SITE
        try:
            told = json.loads(path.read_bytes())
            if told["format"] != FORMAT:
                raise TransferRefused(f"{path}: {told['format']!r} is not what this mailfw writes")
            accounts = {str(each["directory"]): str(each["sha256"]) for each in told["accounts"]}
            files = {str(each["path"]): str(each["sha256"]) for each in told["files"]}
        except OSError as reason:
            raise TransferRefused(f"{path}: {reason.strerror}; no run has come to its end")
        except (ValueError, KeyError, TypeError) as reason:
            raise TransferRefused(f"{path} cannot be read: {reason!r}")
        if not all(_PLAIN.fullmatch(each) for each in files) or not all(_ACCOUNT.fullmatch(each) for each in accounts):
            raise TransferRefused(f"{path} names files that are not in the backup")
        return Site(accounts, files)

    # ------------------------------------------------------------ saving

    def save(self, data: Path, accounts: Iterable[Path]) -> int:
        """Save the files of a data directory that are new or different, then say that all is there; how many."""
        files, count = [], 0
        for path in _files(data):
            octets = (data / path).read_bytes()
            files.append({"path": path, "sha256": hashlib.sha256(octets).hexdigest()})
            count += self._write(self._root / FILES / path, octets)
        told = [self._line(each) for each in accounts]
        site = {"format": FORMAT, "finished": int(time.time()), "accounts": told, "files": files}
        self._write(self._root / SITE, json.dumps(site, indent=1).encode("ascii") + b"\n")
        return count

    def _line(self, account: Path) -> dict[str, Any]:
        _, digest = digest_of(account / MANIFEST)
        return {"directory": str(account.relative_to(self._root)), "sha256": digest}

    def _write(self, path: Path, octets: bytes) -> bool:
        if path.is_file() and path.read_bytes() == octets:
            return False
        self._disk.make_directory(path.parent)
        draft = path.with_name(f"{path.name}.draft")
        draft.unlink(missing_ok=True)
        self._disk.replace_file(path, octets, draft)
        self._disk.sync_directory(path.parent)
        return True

    # ------------------------------------------------------------ looking, and bringing back

    def faults(self) -> list[str]:
        """Return what is not as ``site.json`` says, of its files and of the accounts' manifests."""
        try:
            site = self.read()
        except TransferRefused as reason:
            return [str(reason)]
        wanted = {self._root / FILES / path: digest for path, digest in site.files.items()}
        wanted |= {self._root / path / MANIFEST: digest for path, digest in site.accounts.items()}
        return [fault for path, digest in wanted.items() if (fault := _fault_of(path, digest))]

    def bring(self, data: Path) -> tuple[list[str], list[str]]:
        """Bring back files that the data directory has not; returns those, and those that differ and stay."""
        brought, stayed = [], []
        for path, digest in self.read().files.items() if (self._root / SITE).exists() else ():
            octets = (self._root / FILES / path).read_bytes()
            if hashlib.sha256(octets).hexdigest() != digest:
                raise TransferRefused(f"{self._root / FILES / path}: its octets are not what they were")
            if not (data / path).exists():
                self._write(data / path, octets)
                brought.append(path)
            elif (data / path).read_bytes() != octets:
                stayed.append(path)
        return brought, stayed


def _fault_of(path: Path, digest: str) -> str:
    try:
        _, found = digest_of(path)
    except OSError as reason:
        return f"{path}: {reason.strerror}"
    return "" if found == digest else f"{path}: it is not the one that was written last"


def _files(data: Path) -> Iterator[str]:
    """Yield what is kept of a data directory besides mail and queue."""
    for folder in ("", *_FOLDERS):
        if not (data / folder).is_dir():
            continue
        for each in sorted((data / folder).iterdir()):
            status = each.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST and not _PASSING.fullmatch(each.name):
                yield str(each.relative_to(data))
