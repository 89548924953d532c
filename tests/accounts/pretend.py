"""A reactor whose threads run at once, so that the tests of accounts need no real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


class InlineThreads:
    """
    A thread pool of none: work is done when it is given, or, while `held`, when `let_go` is called.

    `done` counts the work.
    """

    def __init__(self) -> None:
        self.done = 0
        self.held: list[Callable[[], None]] | None = None

    def callInThreadWithCallback(
        self, tell: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any, **options: Any
    ) -> None:
        def do() -> None:
            self.done += 1
            try:
                result = work(*args, **options)
            except Exception:
                tell(False, Failure())
            else:
                tell(True, result)

        if self.held is None:
            do()
        else:
            self.held.append(do)

    def let_go(self) -> None:
        while self.held:
            self.held.pop(0)()
        self.held = None


class PretendReactor(Clock):
    """A clock with threads."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = InlineThreads()

    def getThreadPool(self) -> InlineThreads:
        return self.threads

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)
