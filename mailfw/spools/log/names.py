"""What a message is called in files and tables, and how its files end."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from twisted.logger import Logger

from mailfw.disk import Disk

log = Logger()

#: An id that is a file name as it stands; of any other the digest is used.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def key_of(name: str) -> bytes:
    """Return an id as octets, which sort as the text does, whatever is in it."""
    return name.encode("utf-8", "surrogatepass")


def name_of(key: bytes) -> str:
    """Return the id of a key."""
    return key.decode("utf-8", "surrogatepass")


def file_name(name: str) -> str:
    """Return a file name for an id: no id can name a file elsewhere, or one of another message."""
    if _PLAIN_ID.fullmatch(name):
        return f"{name}.eml"
    return f".{hashlib.sha256(key_of(name)).hexdigest()}.eml"


def discard(disk: Disk, path: Path) -> None:
    """Remove a file that nobody needs; what stays is removed when the spool is opened again."""
    try:
        disk.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("{path} cannot be removed: {error}", path=str(path), error=str(error))
