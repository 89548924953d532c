"""What the log says, and when it is written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, textFileLogObserver
from twisted.python.logfile import LogFile
from twisted.python.threadable import registerAsIOThread
from twisted.trial.unittest import SynchronousTestCase

from mailfw.service.text_log import TextLog, text_log


class Turns(Clock):
    """A reactor that runs, or does not."""

    running = True


def event(form: str, **facts: Any) -> LogEvent:
    return {"log_format": form, "log_level": LogLevel.info, "log_namespace": "here", "log_time": 1000000000.5, **facts}


class TextLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        registerAsIOThread()
        self.reactor = Turns()
        self.file = io.StringIO()
        self.log = TextLog(self.file, self.reactor)

    def written(self) -> str:
        return self.file.getvalue()

    def twisteds(self, one: LogEvent) -> str:
        file = io.StringIO()
        textFileLogObserver(file)(one)
        return file.getvalue()

    def check(self, one: LogEvent) -> None:
        self.log(one)
        self.log.flush()
        self.assertEqual(self.written(), self.twisteds(one))
        self.file.seek(0)
        self.file.truncate()

    def test_it_writes_what_twisted_writes(self) -> None:
        self.check(event("{a} and {b.real} and {c[0]} {d!r:>10}", a=1, b=2, c=[3], d="x"))
        self.check(event("{f()} is called", f=lambda: "it"))
        self.check(event("two\nlines {a}", a="three\nfour"))
        self.check(event("{nothing} is missing"))
        self.check(event("{broken"))
        self.check(event(""))
        self.check({"log_format": "bare"})
        self.check(event("of another system", log_system="elsewhere"))
        self.check({"log_time": 5.0})

    def test_a_failure_has_its_traceback(self) -> None:
        said: list[LogEvent] = []
        try:
            raise ZeroDivisionError("here")
        except ZeroDivisionError:
            Logger(observer=said.append).failure("It broke")  # type: ignore[arg-type]  # any callable does
        self.check(said[0])
        self.flushLoggedErrors(ZeroDivisionError)

    @given(some.text(some.characters(exclude_characters="\r")))
    def test_any_text(self, text: str) -> None:
        self.check(event("{a}", a=text.encode("utf-8", "ignore").decode()))

    def test_what_is_no_text_is_written_in_a_file_all_the_same(self) -> None:
        path = Path(self.mktemp()).absolute()
        log = TextLog(LogFile.fromFullPath(str(path)), self.reactor)
        log(event("{a}", a="\udcff"))
        log.flush()
        self.assertIn(b"\\udcff", path.read_bytes())

    def test_the_lines_of_one_turn_are_written_together(self) -> None:
        self.log(event("one"))
        self.log(event("two"))
        self.assertEqual(self.written(), "")
        self.reactor.advance(0)
        self.assertEqual(self.written().count("\n"), 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.log(event("three"))
        self.reactor.advance(0)
        self.assertEqual(self.written().count("\n"), 3)

    def test_an_error_is_written_at_once_with_what_came_before(self) -> None:
        self.log(event("one"))
        self.log(event("two", log_level=LogLevel.error))
        self.assertEqual(self.written().count("\n"), 2)
        self.reactor.advance(0)
        self.assertEqual(self.written().count("\n"), 2)

    def test_so_is_everything_while_no_reactor_runs(self) -> None:
        self.log(event("one"))
        self.reactor.running = False
        self.log(event("two"))
        self.assertEqual(self.written().count("\n"), 2)

    def test_so_is_much(self) -> None:
        self.log(event("x" * 300_000))
        self.assertEqual(len(self.written().splitlines()), 1)


class WhereItIsWrittenTests(SynchronousTestCase):
    def test_who_logs_otherwise_is_left_alone(self) -> None:
        reactor = Turns()
        for options in (
            {},
            {"logfile": "x", "syslog": True},
            {"logfile": "x", "logger": object()},
            {"logfile": "-", "nodaemon": False},
        ):
            self.assertIsNone(text_log(options, reactor))

    def test_a_file_is_where_it_says(self) -> None:
        path = Path(self.mktemp()).absolute()
        log = text_log({"logfile": str(path), "nodaemon": False}, reactor=Turns())
        assert log is not None
        log(event("here"))
        log.flush()
        self.assertIn("[here#info] here", path.read_text())
