"""The socket by which commands that move mail work with a running server's store."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import Factory

from mailfw.cluster.channel import Answering, Asking
from mailfw.cluster.loan import BorrowedStore, LendingDesk
from mailfw.cluster.store import Watches
from mailfw.commands.language import STORE_SOCKET, reachable
from mailfw.interfaces import IMailStore
from mailfw.service.ports import CannotStart
from mailfw.service.post import Post


class Lender:
    """Lends `store` to whoever may open the socket, its owner alone; `post` delivers nothing to accounts on hold."""

    def __init__(self, *, data: Path, reactor: Any, store: IMailStore, post: Post) -> None:
        self._path = data / STORE_SOCKET
        self._reactor = reactor
        self._store = store
        self._post = post
        self._port: Any = None
        self._channels: set[Answering] = set()
        self._held = contextlib.ExitStack()

    def listen(self) -> None:
        """Open the socket; one that a killed server has left is replaced.  Raises `CannotStart`."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        before = os.umask(0o077)  # nobody else may connect before the mode is right
        try:
            path = self._held.enter_context(reachable(self._path))
            factory: Any = Factory.forProtocol(self._channel)
            factory.noisy = False
            self._port = self._reactor.listenUNIX(path, factory, mode=0o600, wantPID=False)
        except (CannotListenError, OSError) as reason:
            raise CannotStart(f"{self._path}: {getattr(reason, 'socketError', reason)}")
        finally:
            os.umask(before)

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
        if self._port is None:
            return
        port, self._port = self._port, None
        with contextlib.suppress(FileNotFoundError):  # Twisted removes it, and somebody may have done so before
            await maybeDeferred(port.stopListening)
        self._held.close()
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
