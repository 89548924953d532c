"""What is open for accounts, and no more of it than a process can have."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """Something with a lock that is held while it is used; any thread may do so."""

    lock: threading.Lock

    def close(self) -> None:
        """Close it; the lock is held."""


C = TypeVar("C", bound=Closable)


class Pool(Generic[C]):
    """
    One of what `new` makes for each name, and of more than `size` closes those that were asked for longest ago.

    One that is in use then stays until another is asked for.
    """

    def __init__(self, new: Callable[[str], C], size: int) -> None:
        self._new = new
        self._size = size
        self._guard = threading.Lock()
        self._open: OrderedDict[str, C] = OrderedDict()

    def of(self, name: str) -> C:
        """Return what is open for a name, or make it."""
        with self._guard:
            found = self._open.get(name)
            if found is None:
                found = self._open[name] = self._new(name)
                self._close_some()
            self._open.move_to_end(name)
            return found

    def _close_some(self) -> None:
        """Close as many as there are too many, the newest never, which somebody is about to use."""
        for name, oldest in list(self._open.items())[:-1]:
            if len(self._open) <= self._size:
                return
            if oldest.lock.acquire(blocking=False):
                try:
                    oldest.close()
                    del self._open[name]
                finally:
                    oldest.lock.release()

    def let_go(self, name: str) -> None:
        """Close what is open for a name, once nobody uses it."""
        with self._guard:
            found = self._open.pop(name, None)
        if found is not None:
            with found.lock:
                found.close()

    def close(self) -> None:
        """Close all."""
        for name in list(self._open):
            self.let_go(name)
