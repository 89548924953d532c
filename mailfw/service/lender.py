"""The socket by which commands that move mail work with a running server's store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory

from mailfw.cluster.channel import Answering, Asking
from mailfw.cluster.loan import BorrowedStore, LendingDesk
from mailfw.cluster.store import Watches
from mailfw.commands.language import STORE_SOCKET, reachable
from mailfw.interfaces import IMailStore
from mailfw.service.post import Post
from mailfw.service.private_socket import PrivateSocket


class Lender:
    """Lends `store` to whoever may open the socket, its owner alone; `post` delivers nothing to accounts on hold."""

    def __init__(self, *, data: Path, reactor: Any, store: IMailStore, post: Post) -> None:
        self._socket = PrivateSocket(data / STORE_SOCKET, reactor)
        self._store = store
        self._post = post
        self._channels: set[Answering] = set()

    def listen(self) -> None:
        """Open the socket; one that a killed server has left is replaced.  Raises `CannotStart`."""
        factory: Any = Factory.forProtocol(self._channel)
        factory.noisy = False
        self._socket.listen(factory)

    def _channel(self) -> Answering:
        """Return the server's end of a new connection."""

        def tell(*said: Any) -> None:
            channel.tell(*said)

        def leave() -> None:
            desk.leave()
            self._channels.discard(channel)

        desk = LendingDesk(self._store, self._post.custody.open_draft, self._post.held, tell)
        channel = Answering(desk, desk.listeners(), leave)
        self._channels.add(channel)
        return channel

    async def close(self) -> None:
        """Lend no more, and take back what is lent: a command that is cut off is typed again."""
        if not await self._socket.close():
            return
        for channel in list(self._channels):
            transport: Any = channel.transport
            if transport is not None:
                transport.abortConnection()


async def borrow(data: Path, reactor: Any) -> BorrowedStore | None:
    """Return the store of the server that runs with a data directory, None if none does.  Raises `StoreRefusal`."""
    watches = Watches()
    asking = Asking(LendingDesk, {"notice": watches.hear})
    factory: Any = Factory.forProtocol(lambda: asking)
    factory.noisy = False
    try:
        with reachable(data / STORE_SOCKET) as path:
            await UNIXClientEndpoint(reactor, path).connect(factory)
    except (ConnectError, OSError):
        return None
    store = BorrowedStore(asking, watches)
    await store.begin()
    return store
