"""Writing to a socket now; Twisted's own `write` sends in the next turn, at the price of two epoll calls a reply."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp

#: Transports that we write to past their own buffers.
_DIRECT = frozenset({tcp.Server, tcp.Client})


def sent_at_once(transport: Any, octets: bytes) -> bytes:
    """Hand octets to the kernel where nothing waits before them; return what is left for the transport to write."""
    if type(transport) not in _DIRECT:
        return octets
    if transport.TLS or transport.dataBuffer or transport._tempDataBuffer or transport.disconnecting:
        return octets
    try:
        sent = transport.socket.send(octets)
    except OSError:  # no room now, or an end that the transport will see and report as it always does
        return octets
    return octets[sent:]
