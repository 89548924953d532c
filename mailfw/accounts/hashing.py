"""Password hashing: what it costs, and the one door through which it leaves the reactor."""

from __future__ import annotations

import os
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from mailfw.mail.failure import Overloaded

# The second recommended option of RFC 9106 section 4 takes 64 MiB and four lanes for one login: more than a small
# machine can spare for each of two at once.  Its procedure is to take what memory there is and then as many passes as
# the time allows; 19 MiB, two passes and one lane take about 25 ms of one processor, so that a thousand clients who
# all come back after a restart are in within half a minute.
TIME_COST = 2
MEMORY_COST = 19 * 1024  # KiB
PARALLELISM = 1

#: Hashes under way at once; they share the reactor's thread pool with the disks, and leave most of it to them.
AT_ONCE = 2
#: How many may wait for their turn: about six seconds' worth, less than any client's patience.
MOST_WAITING = 512


def make_hasher() -> PasswordHasher:
    """Return the Argon2id hasher with our parameters."""
    return PasswordHasher(TIME_COST, MEMORY_COST, PARALLELISM)


def matches(hasher: PasswordHasher, stored: str, password: bytes) -> bool:
    """Whether a password belongs to a stored hash.  Blocks for as long as a hash takes."""
    try:
        return hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def dummy_hash(hasher: PasswordHasher) -> str:
    """Return a hash that no password belongs to, and that costs as much to try as a real one."""
    salt, tag = (b64encode(os.urandom(size)).rstrip(b"=").decode() for size in (hasher.salt_len, hasher.hash_len))
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${tag}"


class HashingQueue:
    """Runs hashes in threads, a few at once, in the order in which they were asked for."""

    def __init__(self, reactor: Any, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING) -> None:
        self._reactor = reactor
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._running = 0
        self._waiting: deque[tuple[Callable[[], bool], Callable[[], bool], Deferred[bool]]] = deque()

    async def run(self, work: Callable[[], bool], known: Callable[[], bool]) -> bool:
        """
        Return ``work()``, done in a thread, or True if `known` says so when the turn has come.

        `known` is asked on the reactor's thread: many clients with one password need one hash.  Raises `Overloaded`
        when too many wait.
        """
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("Too many logins at once")
        answer: Deferred[bool] = Deferred()
        self._waiting.append((work, known, answer))
        self._start()
        return await answer

    def _start(self) -> None:
        while self._waiting and self._running < self._at_once:
            work, known, answer = self._waiting.popleft()
            if known():
                answer.callback(True)
                continue
            self._running += 1
            ended = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)
            ended.addCallbacks(answer.callback, answer.errback).addBoth(self._ended)

    def _ended(self, _: object) -> None:
        self._running -= 1
        self._start()
