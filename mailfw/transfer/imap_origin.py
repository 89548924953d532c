"""An account of another server, read by IMAP: the blocking connection behind the interface of an origin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import aclosing
from typing import IO

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailfw.disk import Disk, FileContent
from mailfw.interfaces import IContent
from mailfw.mail.content import Octets
from mailfw.mail.mailbox import Path
from mailfw.transfer.account import Batches, Box, Entry
from mailfw.transfer.batches import ahead, parts
from mailfw.transfer.imap_server import LARGE, LISTED, ImapServer
from mailfw.transfer.shares import NO_SHARES, Shares
from mailfw.turns import Turns

Opened = list[tuple[Entry, IContent]]


@implementer(IContent)
class _InMemory(Octets):
    """A message that is in memory as a whole."""


class ImapOrigin:
    """
    Reads an account of another server, which may be in use meanwhile; nothing is changed there.

    A server lists sizes as it likes: a message is as long as what it gives.
    """

    def __init__(self, server: ImapServer, name: str, disk: Disk) -> None:
        self.name = name
        self._server = server
        self._disk = disk
        self._turns = Turns()

    async def boxes(self) -> Sequence[Box]:
        """Return the mailboxes."""
        async with self._turns:
            return await self._disk.run(self._server.boxes)

    async def subscriptions(self) -> frozenset[Path]:
        """Return the subscribed paths."""
        async with self._turns:
            return await self._disk.run(self._server.subscriptions)

    async def entries(self, box: Box) -> Sequence[Entry]:
        """Return the messages."""
        async with self._turns:
            uids = await self._disk.run(self._server.uids, box)
            found: list[Entry] = []
            for start in range(0, len(uids), LISTED):
                found += await self._disk.run(self._server.entries, box, uids[start : start + LISTED])
        return found

    async def shares(self, box: Box, entries: Sequence[Entry]) -> Shares:
        """Return none: its users are others."""
        return NO_SHARES

    async def contents(self, box: Box, entries: Sequence[Entry]) -> Batches:
        """Fetch messages, the next while the last are kept."""

        async def fetch(part: list[Entry]) -> Opened:
            async with self._turns:
                return await self._disk.run(self._fetch, box, part)

        async with aclosing(ahead(list(parts(entries, octets=LARGE)), fetch, _let_go)) as batches:
            async for batch in batches:
                yield batch

    def _fetch(self, box: Box, part: list[Entry]) -> Opened:
        if part[0].size >= LARGE:
            file = self._server.file(box, part[0].uid)
            return [(part[0], self._file_content(file))] if file is not None else []
        octets = self._server.octets(box, [entry.uid for entry in part])
        return [(entry, _InMemory(octets[entry.uid])) for entry in part if entry.uid in octets]

    def _file_content(self, file: IO[bytes]) -> IContent:
        with file:
            return FileContent(self._disk, self._disk.duplicate(file.fileno()), os.fstat(file.fileno()).st_size)

    def interrupt(self) -> None:
        """Let what waits for the server fail, so that the process can end."""
        self._server.interrupt()

    async def close(self) -> None:
        """Let the connection go."""
        async with self._turns:
            await self._disk.run(self._server.close)


def _let_go(opened: Opened) -> None:
    """Close what nobody has taken."""
    for _, content in opened:
        Deferred.fromCoroutine(content.close())
