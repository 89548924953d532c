"""How a session's coroutine is driven: its waits, its errors, its context."""

from __future__ import annotations

import contextvars
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailfw.wire.running import Run, Waiter

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[Any] = []

    def run_session(self, coroutine: Any) -> None:
        Run(coroutine, lambda: self.told.append("ended")).go_on()

    def test_waits_of_both_kinds(self) -> None:
        waiter, other = Waiter(), Deferred[int]()

        async def session() -> None:
            await waiter
            self.told.append(await other)
            self.told.append(await succeed(2))

        self.run_session(session())
        self.assertEqual(self.told, [])
        waiter.go_on()
        other.callback(1)
        self.assertEqual(self.told, [1, 2, "ended"])

    def test_errors_of_both_kinds(self) -> None:
        waiter, other = Waiter(), Deferred[int]()

        async def session() -> None:
            for each in (waiter, other):
                try:
                    await each
                except (ZeroDivisionError, KeyError) as error:
                    self.told.append(type(error))

        self.run_session(session())
        waiter.go_on(KeyError())
        other.errback(ZeroDivisionError())
        self.assertEqual(self.told, [KeyError, ZeroDivisionError, "ended"])

    def test_one_that_never_waits(self) -> None:
        async def session() -> None:
            self.told.append(1)

        self.run_session(session())
        self.assertEqual(self.told, [1, "ended"])

    def test_a_thousand_waits_one_inside_the_other(self) -> None:
        """What is answered at once takes no stack."""
        begin = Waiter()

        async def session() -> None:
            await begin
            for _ in range(5000):
                await succeed(None)

        self.run_session(session())
        begin.go_on()
        self.assertEqual(self.told, ["ended"])

    def test_what_cannot_be_awaited(self) -> None:
        """A plug-in for another kind of loop is a fault that is heard of, not a session that hangs."""

        class Foreign:
            def __await__(self) -> Any:
                yield 17

        async def session() -> None:
            for _ in range(2):
                try:
                    await Foreign()
                except TypeError:
                    self.told.append("not here")

        self.run_session(session())
        self.assertEqual(self.told, ["not here", "not here", "ended"])

    def test_a_context_of_its_own(self) -> None:
        waiters = [Waiter(), Waiter()]

        async def session(number: int) -> None:
            VARIABLE.set(number + 1)
            await waiters[number]
            self.told.append(VARIABLE.get())

        for number in range(2):
            self.run_session(session(number))
        self.assertEqual(VARIABLE.get(), 0)
        for waiter in waiters:
            waiter.go_on()
        self.assertEqual(self.told, [1, "ended", 2, "ended"])

    def test_others_may_await_a_waiter(self) -> None:
        for error in (None, KeyError()):
            waiter = Waiter()

            async def wait(on: Waiter = waiter) -> str:
                await on
                return "done"

            result = Deferred.fromCoroutine(wait())
            self.assertNoResult(result)
            waiter.go_on(error)
            if error is None:
                self.assertEqual(self.successResultOf(result), "done")
            else:
                self.failureResultOf(result, KeyError)
