"""SHA-256 of messages, many in one visit to a thread, and none of them in memory as a whole because of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mailfw.disk import Disk
from mailfw.interfaces import IContent
from mailfw.mail.content import BlockingRead, blocking_reader, read_whole, read_whole_now

#: Octets that are read at once.
CHUNK = 256 * 1024


async def digests(disk: Disk, contents: Sequence[IContent]) -> list[str]:
    """Return the SHA-256 of each content.  Raises `ValueError` for one that ends before its size."""
    found: dict[int, str] = {}
    readers = [(place, blocking_reader(content), content.size) for place, content in enumerate(contents)]
    direct = [(place, read, size) for place, read, size in readers if read is not None]
    if direct:
        found = dict(await disk.run(lambda: [(place, _digest_now(read, size)) for place, read, size in direct]))
    return [found[place] if place in found else await _digest(content) for place, content in enumerate(contents)]


def _digest_now(read: BlockingRead, size: int) -> str:
    digest = hashlib.sha256()
    for offset in range(0, size, CHUNK):
        digest.update(read_whole_now(read, offset, min(CHUNK, size - offset)))
    return digest.hexdigest()


async def _digest(content: IContent) -> str:
    digest = hashlib.sha256()
    for offset in range(0, content.size, CHUNK):
        digest.update(await read_whole(content, offset, min(CHUNK, content.size - offset)))
    return digest.hexdigest()
