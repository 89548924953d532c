"""Keys of nobody: a stranger who asks for an account's salt must not learn whether there is such an account."""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable

from mailfw.sasl.keys import ITERATIONS, SALT_OCTETS, ScramKeys


class PretendKeys:
    """Makes the same keys for the same name each time, which no password belongs to."""

    def __init__(self, secret: Callable[[], Awaitable[bytes]] | None = None) -> None:
        self._secret = secret
        self._random = os.urandom(32)

    async def keys(self, name: str, mechanism: str) -> ScramKeys:
        """Return what looks like the keys of an account of this name."""
        secret = await self._secret() if self._secret is not None else self._random
        salt = hmac.digest(secret, f"{mechanism} {name}".encode("utf-8", "surrogatepass"), "sha256")[:SALT_OCTETS]
        return ScramKeys(mechanism, ITERATIONS, salt, os.urandom(32), os.urandom(32))
