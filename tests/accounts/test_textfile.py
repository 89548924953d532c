from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailfw.accounts.textfile import PATIENCE, WatchedFile


class SlowReactor(Clock):
    """Does what is given to a thread when a test says so, and is its own pool."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Callable[[], None]] = []

    def getThreadPool(self) -> SlowReactor:
        return self

    def callFromThread(self, act: Callable[..., Any], *args: Any, **options: Any) -> None:
        act(*args, **options)

    def callInThreadWithCallback(self, tell: Callable[..., Any], work: Callable[..., Any], *args: Any) -> None:
        def do() -> None:
            try:
                result = work(*args)
            except Exception as error:
                tell(False, Failure(error))
            else:
                tell(True, result)

        self.given.append(do)

    def do_all(self) -> None:
        given, self.given = self.given, []
        for do in given:
            do()


class WatchedFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text("one")
        self.reactor = SlowReactor()
        self.file = WatchedFile(self.path, str, self.reactor)

    def ask(self) -> Deferred[str]:
        return Deferred.fromCoroutine(self.file.current())

    def known(self) -> None:
        asked = self.ask()
        self.reactor.do_all()
        self.successResultOf(asked)

    def test_one_look_for_all(self) -> None:
        asked = [self.ask() for _ in range(100)]
        self.assertEqual(len(self.reactor.given), 1)
        self.reactor.do_all()
        self.assertEqual({self.successResultOf(each) for each in asked}, {"one"})

    def test_never_older_than_patience(self) -> None:
        self.known()
        self.path.write_text("two!")
        self.reactor.advance(PATIENCE)
        asked = self.ask()
        self.assertNoResult(asked)
        self.reactor.do_all()
        self.assertEqual(self.successResultOf(asked), "two!")

    def test_nobody_waits_while_there_are_questions(self) -> None:
        self.known()
        self.path.write_text("two!")
        self.reactor.advance(PATIENCE * 0.6)
        self.assertEqual([self.successResultOf(self.ask()) for _ in range(3)], ["one"] * 3)
        self.assertEqual(len(self.reactor.given), 1)
        self.reactor.do_all()
        self.reactor.advance(PATIENCE * 0.45)
        self.assertEqual(self.successResultOf(self.ask()), "two!")

    def test_a_look_that_began_before_forget_counts_for_nothing(self) -> None:
        self.known()
        self.reactor.advance(PATIENCE * 0.6)
        self.successResultOf(self.ask())
        self.reactor.do_all()  # has seen "one"
        self.reactor.advance(PATIENCE * 0.6)
        self.successResultOf(self.ask())
        [late] = self.reactor.given
        self.reactor.given = []
        self.path.write_text("two!")
        self.file.forget()
        asked = self.ask()
        late()
        self.assertNoResult(asked)
        self.reactor.do_all()
        self.assertEqual(self.successResultOf(asked), "two!")

    def test_unreadable(self) -> None:
        """All who wait hear of it, and the next question looks again."""
        self.path.unlink()
        self.path.mkdir()
        asked = [self.ask(), self.ask()]
        self.reactor.do_all()
        for each in asked:
            self.failureResultOf(each, OSError)
        self.path.rmdir()
        self.known()

    def test_who_gives_up_is_passed_over(self) -> None:
        asked, other = self.ask(), self.ask()
        asked.cancel()
        self.failureResultOf(asked)
        self.reactor.do_all()
        self.assertEqual(self.successResultOf(other), "one")
