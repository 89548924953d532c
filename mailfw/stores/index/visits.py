"""Visits to a thread: what is to be appended to many accounts at nearly the same time is appended with one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from mailfw.stores.index.database import Indexes
from mailfw.stores.index.deposit import Deposit, deposit_all
from mailfw.stores.threads import Threads

#: Messages of one visit; a mailbox's messages are not parted.
TOGETHER = 256


class Visits:
    """
    Makes deposits, those that come while one visit lasts together with the next.

    The joint visits have a thread of their own: whatever else waits for a disk or a lock does not hold them up.
    """

    def __init__(self, databases: Indexes, depositor: Any, threads: Threads) -> None:
        self._databases = databases
        self._depositor = depositor
        self._threads = threads
        self._own = threads.apart()
        self._waiting: deque[tuple[Callable[[], Deposit], Deferred[Deposit]]] = deque()
        self._is_busy = False

    def make(self, begin: Callable[[], Deposit]) -> Deferred[Deposit]:
        """
        Make the deposit that `begin` returns when the visit begins.

        Where its folder is locked, its failure is `SourceBusy`, at once.
        """
        done: Deferred[Deposit] = Deferred()
        self._waiting.append((begin, done))
        if not self._is_busy:
            self._is_busy = True
            # Whatever else arrived in this turn of the reactor comes along.
            self._own.soon(self._visit)
        return done

    async def make_alone(self, deposit: Deposit) -> Deposit:
        """Make a deposit, waiting for its folder as long as the source finds reasonable."""
        await self._threads.run(deposit_all, self._databases, self._depositor, [deposit], None)
        return deposit

    def _visit(self) -> None:
        taken: list[tuple[Deposit, Deferred[Deposit]]] = []
        messages = 0
        while self._waiting and messages < TOGETHER:
            begin, done = self._waiting.popleft()
            try:
                taken.append((begin(), done))
            except Exception:  # a fault of ours, for which nobody else should wait
                done.errback()
                continue
            messages += len(taken[-1][0].messages)
        if not taken:
            self._is_busy = False
            return
        deposits = [deposit for deposit, _ in taken]
        visiting = self._own.run(deposit_all, self._databases, self._depositor, deposits, 0.0)
        visiting.addBoth(self._leave, taken)

    def _leave(self, result: object, taken: Sequence[tuple[Deposit, Deferred[Deposit]]]) -> None:
        for deposit, done in taken:
            if result is not None:  # a fault of ours: what failed of single deposits is in them
                done.errback(result)  # type: ignore[arg-type] # a Failure
            else:
                done.callback(deposit)
        # Those who were told may have had more to give, which comes along.
        self._visit()

    def close(self) -> None:
        """Let the thread go."""
        self._own.close()
