"""A keeper of a memory store at one end of a socket; run as a program, its argument is the descriptor."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory

from mailfw.cluster.channel import Answering
from mailfw.cluster.desk import StoreDesk
from mailfw.interfaces import IMailStore
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import MemoryContent


async def make_draft(size_hint: int) -> MemoryContent:
    return MemoryContent()


def adopt(reactor: Any, descriptor: int, protocol: Any) -> Any:
    factory: Any = Factory.forProtocol(lambda: protocol)
    factory.noisy = False
    reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, factory)
    return protocol


def answer(
    reactor: Any, descriptor: int, on_lost: Callable[[], object] = lambda: None, store: IMailStore | None = None
) -> Answering:
    """Serve a memory store on a connected socket."""
    channel: list[Answering] = []
    desk = StoreDesk(store or MemoryStore(), make_draft, lambda *said: channel[0].tell(*said))

    def lost() -> None:
        desk.leave()
        on_lost()

    channel.append(Answering(desk, desk.listeners(), lost))
    adopted: Answering = adopt(reactor, descriptor, channel[0])
    return adopted


if __name__ == "__main__":
    from twisted.internet import reactor

    running: Any = reactor
    answer(running, int(sys.argv[1]), running.stop)
    running.run()
