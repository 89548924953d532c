"""What has been moved already, in a file of JSON lines: so that a move that was interrupted reads nothing twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mailfw.disk import Disk

Line = dict[str, Any]


class Journal:
    """
    A file of one JSON object a line, to be added to.

    It is not synced: whoever reads it must be able to do with less than was written.  Everything here blocks.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._descriptor: int | None = None

    def read(self) -> Iterator[Line]:
        """Yield the lines; what was not written to its end, or was not by us, is left out."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for raw in file:
                try:
                    line = json.loads(raw)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line

    def add(self, line: Line) -> None:
        """Add a line."""
        if self._descriptor is None:
            self._descriptor = self._open()
        self._disk.write(self._descriptor, _octets(line))

    def _open(self) -> int:
        """Open the file behind its last line end: a line that was torn off must not take ours with it."""
        self._disk.make_directory(self._path.parent)
        try:
            return self._disk.create(self._path)
        except FileExistsError:
            descriptor = self._disk.append(self._path)
        if self._is_torn():
            self._disk.write(descriptor, b"\n")
        return descriptor

    def _is_torn(self) -> bool:
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            return file.read(1) not in (b"", b"\n")

    def replace(self, lines: Iterator[Line]) -> None:
        """Write the file anew with these lines, durably."""
        self.close()
        draft = self._path.with_name(f"{self._path.name}.draft")
        draft.unlink(missing_ok=True)
        self._disk.make_directory(self._path.parent)
        self._disk.replace_file(self._path, b"".join(_octets(line) for line in lines), draft)
        self._disk.sync_directory(self._path.parent)

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)


def _octets(line: Line) -> bytes:
    # Names in a mailbox may hold what no encoding can: JSON's escapes can.
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
