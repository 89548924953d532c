"""What is kept of a token, so that a delivery tried again is known."""

from __future__ import annotations

import hashlib


def mark_of(token: str) -> str:
    """Return 32 hexadecimal digits: fit for a file's name, and no two tokens have the same."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:32]
