"""The time that the queue goes by."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.base import ReactorBase


def steady_clock(reactor: Any) -> Callable[[], float]:
    """
    Return a clock of seconds since the epoch that nobody can set.

    Lives of messages are in the time of the day, which has to survive a restart; but when somebody sets the machine's
    clock a week ahead, no message has become a week older.  So it goes by the time of day at the start, and from then
    on by what has passed, sleep included.  A reactor whose time is pretended has one clock for both.
    """
    if not isinstance(reactor, ReactorBase):
        seconds: Callable[[], float] = reactor.seconds
        return seconds
    return elapsing(time.time(), _passed)


def steady_timers(reactor: Any) -> None:
    """
    Have a reactor's timers go by this clock.

    Twisted's go by the time of the day: with the machine's clock set back, what was to happen at once would wait until
    that time has come again.  A reactor that keeps its timers in its own way is left alone.
    """
    if isinstance(reactor, ReactorBase) and type(reactor).callLater is ReactorBase.callLater:
        reactor.seconds = steady_clock(reactor)


def day_clock(reactor: Any) -> Callable[[], float]:
    """Return the time of the day in seconds since the epoch, which anybody may set."""
    seconds: Callable[[], float] = time.time if isinstance(reactor, ReactorBase) else reactor.seconds
    return seconds


def steady_from(start: float) -> Callable[[], float]:
    """Return the same, of another process on this machine, whose clock was at `start` now."""
    return elapsing(start, _passed)


def elapsing(start: float, passed: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that was at `start` now."""
    shift = start - passed()
    return lambda: passed() + shift


_passed = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
