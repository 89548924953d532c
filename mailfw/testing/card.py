"""The report card of a contract: its sections one by one, then what did not hold."""

from __future__ import annotations

import inspect
import io
import re
import sys
import time
import unittest
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from twisted.trial.reporter import Reporter
from twisted.trial.runner import TrialRunner

#: Lines of a failure that are shown.
EXCERPT = 60

#: What can become of a case: as `Marks` has it, and as it is printed.
KINDS = {"passed": "passed", "failed": "failed", "unoffered": "not offered", "skipped": "skipped"}


@dataclass(slots=True)
class Section:
    """The cases of one class of a contract."""

    title: str
    cases: list[unittest.TestCase]


@dataclass(slots=True)
class Marks:
    """What became of a section's cases; texts say why."""

    passed: list[unittest.TestCase] = field(default_factory=list)
    failed: list[tuple[unittest.TestCase, str]] = field(default_factory=list)
    unoffered: list[tuple[unittest.TestCase, str]] = field(default_factory=list)
    skipped: list[tuple[unittest.TestCase, str]] = field(default_factory=list)


class _Notebook(Reporter):
    """Notes what trial finds, and says nothing."""

    def __init__(self, marks: Marks, *args: Any, **options: Any) -> None:
        super().__init__(io.StringIO(), *args, **options)
        self._marks = marks
        self._bad: set[str] = set()

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802 -- trial calls it so
        """Note what held."""
        super().addSuccess(test)
        self._marks.passed.append(test)

    def addError(self, test: unittest.TestCase, error: Any) -> None:  # noqa: N802 -- trial calls it so
        """Note what broke; of one case, the first."""
        super().addError(test, error)
        self._note(test, error)

    def addFailure(self, test: unittest.TestCase, error: Any) -> None:  # noqa: N802 -- trial calls it so
        """Note what did not hold."""
        super().addFailure(test, error)
        self._note(test, error)

    def addSkip(self, test: unittest.TestCase, reason: Any) -> None:  # noqa: N802 -- trial calls it so
        """Note what could not be tried, or has not to be there."""
        super().addSkip(test, reason)
        kind = self._marks.unoffered if getattr(test, "unoffered", "") else self._marks.skipped
        kind.append((test, str(reason)))

    def _note(self, test: unittest.TestCase, error: Any) -> None:
        if test.id() not in self._bad:
            self._bad.add(test.id())
            self._marks.failed.append((test, _told(error)))


def _told(error: Any) -> str:
    """Return the message of a failure, and where it is from."""
    failure = error if hasattr(error, "getTraceback") else None
    message = failure.getErrorMessage() if failure is not None else str(error[1])
    kind = failure.type.__name__ if failure is not None else error[0].__name__
    lines = (message if kind in ("FailTest", "AssertionError") else f"{kind}: {message}").splitlines() or [kind]
    frames = failure.getTraceback(detail="brief").splitlines() if failure is not None else []
    ours = [line.strip() for line in frames if line.strip().startswith(("/", "File"))]
    places = [line for line in ours if "site-packages" not in line and "unittest" not in line][-3:]
    return "\n".join(lines[:EXCERPT] + (["…"] if len(lines) > EXCERPT else []) + places)


def sections_of(contract: type, cases: type[unittest.TestCase], only: str = "") -> list[Section]:
    """Return the classes that a contract is made of, with their cases: the section called `only`, or those cases."""
    parts = {_title(part): part for part in (*_parts(contract), contract)}
    chosen = {only: parts[only]} if only in parts else parts
    sections = [
        Section(
            title, [cases(name) for name in vars(part) if name.startswith("test_") and (only in name or only == title)]
        )
        for title, part in chosen.items()
    ]
    return [section for section in sections if section.cases]


def _parts(contract: type) -> list[type]:
    """Return the classes with cases that a contract is made of; those without may be made of others."""
    found: list[type] = []
    for part in contract.__bases__:
        has_cases = any(name.startswith("test_") for name in vars(part))
        found += [part] if has_cases else _parts(part)
    return found


def _title(part: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", part.__name__.removesuffix("Cases")).lower()


class Card:
    """Tries a contract and prints its marks on `out`."""

    def __init__(self, directory: Path, out: TextIO | None = None, verbose: bool = False) -> None:
        self._directory = directory
        self._out = out or sys.stdout
        self._verbose = verbose

    def _say(self, line: str = "") -> None:
        print(line, file=self._out, flush=True)

    def fill(self, sections: Sequence[Section]) -> bool:
        """Try all sections, print a line for each, and return whether all held."""
        all_marks = []
        self._say(f"  {'section':<14}" + "".join(f"{kind:>13}" for kind in (*KINDS.values(), "seconds")))
        for section in sections:
            start = time.monotonic()
            marks = self._try(section)
            counts = "".join(f"{len(getattr(marks, kind)):>13}" for kind in KINDS)
            self._say(f"  {section.title:<14}{counts}{time.monotonic() - start:>13.1f}")
            self._tell(marks)
            all_marks.append((section, marks))
        for section, marks in all_marks:
            for case, why in marks.failed:
                self._say(f"\nFAILED  {section.title}: {_name(case)}\n  {_promise(case)}")
                self._say("\n".join(f"    {line}" for line in why.splitlines()))
        totals = {kind: sum(len(getattr(marks, kind)) for _, marks in all_marks) for kind in KINDS}
        self._say("\n" + ", ".join(f"{totals[kind]} {name}" for kind, name in KINDS.items()))
        return not totals["failed"]

    def _try(self, section: Section) -> Marks:
        marks = Marks()
        runner = TrialRunner(
            lambda stream, *args, **options: _Notebook(marks, *args, **options),
            stream=io.StringIO(),
            workingDirectory=str(self._directory / section.title.replace(" ", "-")),
        )
        with redirect_stdout(io.StringIO()):
            runner.run(unittest.TestSuite(section.cases))
        return marks

    def _tell(self, marks: Marks) -> None:
        if self._verbose:
            for case in marks.passed:
                self._say(f"      {_promise(case)}")
        for case in (*marks.passed, *(case for case, _ in marks.failed)):
            for line in getattr(case, "notes", ()):
                self._say(f"      {line}")
        for why in dict.fromkeys(why for _, why in marks.unoffered):
            self._say(f"      not offered: {why}")
        for case, why in marks.skipped:
            self._say(f"      skipped {_name(case)}: {why}")


def _name(case: unittest.TestCase) -> str:
    return str(case.id()).rpartition(".")[2]


def _promise(case: unittest.TestCase) -> str:
    documentation = inspect.getdoc(getattr(case, _name(case))) or ""
    return documentation.partition("\n\n")[0].replace("\n", " ")
