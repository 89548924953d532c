"""Where couriers compute what takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThreadPool

from mailfw.smtp.client.fitting import Compute


def in_threads(reactor: Any) -> Compute:
    """Return what runs a function in a thread of the reactor's."""

    async def compute(function: Callable[[bytes], bytes], octets: bytes) -> bytes:
        result: bytes = await deferToThreadPool(reactor, reactor.getThreadPool(), function, octets)
        return result

    return compute
