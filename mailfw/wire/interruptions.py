"""How a session's reading and draining can end otherwise than with what it waits for."""

from __future__ import annotations


class Disconnected(Exception):
    """The peer left, or we closed the stream."""


class TimedOut(Exception):
    """The peer let a deadline pass."""


class LineTooLong(Exception):
    """No line end within the limit; what was read of the line is dropped, and the rest will be."""


class ShuttingDown(Exception):
    """The server stops, and the session is between two commands."""


class Woken(Exception):
    """`Stream.wake` was called while the session was between two commands."""
