"""What the console commands and a running server agree on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

#: Of the words they use; a server and a command that do not agree on it do not talk.
VERSION = 1
#: Octets of a request: so many ids, or recipients.
REQUEST_LIMIT = 1024 * 1024
#: The socket, in the data directory.
SOCKET = "control.sock"
#: The socket by which commands that move mail work with the store.
STORE_SOCKET = "store.sock"
#: What a process has locked that works on the queue there.
LOCK = "server.lock"
#: Octets of a socket's path that every system takes (unix(7): 108, on BSD 104).
_PATH_LIMIT = 100


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give a socket's path as one that is short enough for the system."""
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
