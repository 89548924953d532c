"""How long anybody waits for an answer of a plug-in."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Overdue(Exception):
    """An answer took longer than it may."""


async def within(clock: Any, seconds: float, asked: Coroutine[Any, Any, T]) -> T:
    """
    Return what a coroutine returns; only one that has to wait costs a timer.

    Raises `Overdue` when its time is up, though it should ignore that it is cancelled then.  `clock` provides
    `IReactorTime`.
    """
    try:
        waiting_for = asked.send(None)
    except StopIteration as answered:
        result: T = answered.value
        return result
    return await _in_time(clock, seconds, Deferred.fromCoroutine(_rest(asked, waiting_for)))


def _in_time(clock: Any, seconds: float, asked: Deferred[T]) -> Deferred[T]:
    answer: Deferred[T] = Deferred(lambda _: asked.cancel())

    def expire() -> None:
        if not answer.called:
            answer.errback(Overdue(f"No answer within {seconds} s"))
        asked.cancel()

    def settle(result: Any) -> None:
        if not timer.active():
            return
        timer.cancel()
        if answer.called:  # whoever waited has given up
            return
        if isinstance(result, Failure):
            answer.errback(result)
        else:
            answer.callback(result)

    timer = clock.callLater(seconds, expire)
    asked.addBoth(settle)
    return answer


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, Any], waiting_for: Any) -> Generator[Any, Any, Any]:
    """Drive a coroutine whose first step has been made to its end, as ``await`` would."""
    try:
        while True:
            try:
                result = yield waiting_for
            except Exception as error:
                waiting_for = coroutine.throw(error)
            else:
                waiting_for = coroutine.send(result)
    except StopIteration as ended:
        return ended.value
    finally:
        coroutine.close()
