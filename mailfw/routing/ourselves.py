"""Which addresses are this machine's: the system knows, and tells without sending anything."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

from mailfw.routing.names import ip_text


class Ourselves:
    """
    Knows our own servers by name and address.

    `listening` is as in `HopSettings`; so are `own_addresses`.
    """

    def __init__(
        self, hostname: str, listening: Iterable[tuple[str, int]] = (), own_addresses: Iterable[str] = ()
    ) -> None:
        self._hostname = hostname.lower()
        listening = tuple(listening)
        self._everywhere = {port for interface, port in listening if not interface}
        self._somewhere = {(ip_text(interface), port) for interface, port in listening if interface}
        self._own = {ip_text(each) for each in own_addresses}

    def has_name(self, host: str) -> bool:
        """Whether a host, in A-labels, is called like us."""
        return host.lower() == self._hostname

    def has_address(self, address: str, port: int) -> bool:
        """Whether it is one of our own servers that listens there."""
        address = ip_text(address) or address
        if (address, port) in self._somewhere or address in self._own:
            return True
        return port in self._everywhere and is_local(address)


def is_local(address: str) -> bool:
    """Whether an address is one of this machine's: the system lets nobody else be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.bind((address, 0))
    except OSError:
        return False
    return True


def source_towards(address: str) -> str:
    """Return the address we would have in the eyes of another, ``""`` if there is no way there; nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as trial:
        trial.connect((address, 25))
        return str(trial.getsockname()[0])
    return ""
