"""Add up what trial and the other checks said, and print `N passed, N failed, N skipped` as the last line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: The last line of trial: ``PASSED (skips=1, successes=5)`` or ``FAILED (failures=2, errors=1, successes=3)``.
LAST_LINE = re.compile(r"^(PASSED|FAILED)(?: \((.*)\))?$", re.MULTILINE)
#: What counts as which; an unexpected success is a test that does not say what is true.
PASSED = ("successes", "expectedFailures")
FAILED = ("failures", "errors", "unexpectedSuccesses")


def count_trial(output: str) -> tuple[int, int, int]:
    """Return passed, failed, skipped.  Output without a last line is one failure: trial itself broke."""
    verdicts = LAST_LINE.findall(output)
    if not verdicts:
        return 0, 1, 0
    counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", verdicts[-1][1])}
    passed = sum(counts.get(name, 0) for name in PASSED)
    failed = sum(counts.get(name, 0) for name in FAILED)
    return passed, max(failed, int(verdicts[-1][0] == "FAILED")), counts.get("skips", 0)


def count_checks(results: str, trial_failed: int) -> tuple[int, int]:
    """Return passed and failed of the checks; where `make test` failed for its tests, those were counted already."""
    lines = results.splitlines()
    if trial_failed and "failed make test" in lines:
        lines.remove("failed make test")
    failed = [line for line in lines if line.startswith("failed ")]
    return len(lines) - len(failed), len(failed)


def skipped_tests(output: str) -> list[tuple[str, str]]:
    """Return the tests that were skipped, each with its reason."""
    blocks = re.findall(r"^\[SKIPPED\]\n(.*?)\n\n((?:[\w.]+\n)+)", output, re.MULTILINE | re.DOTALL)
    return [(test, " ".join(reason.split())) for reason, tests in blocks for test in tests.split()]


def main() -> int:
    """Print the sum."""
    results, output = (Path(name).read_text("utf-8", "replace") if Path(name).exists() else "" for name in sys.argv[1:])
    passed, failed, skipped = count_trial(output)
    checks_passed, checks_failed = count_checks(results, failed)
    for line in results.splitlines():
        if line.startswith("failed "):
            print(f"FAILED: {line.removeprefix('failed ')}")
    reasons = skipped_tests(output)
    for test, reason in reasons:
        print(f"skipped: {test}: {reason}")
    # Everything else that the tests need was installed; the corpus is no part of the repository.
    lacking = skipped - sum("corpus" in reason for _, reason in reasons)
    if lacking:
        print(f"FAILED: {lacking} skipped, and in CI they may not be")
    print(f"{passed + checks_passed} passed, {failed + checks_failed} failed, {skipped} skipped")
    return 1 if failed + checks_failed + lacking else 0


if __name__ == "__main__":
    sys.exit(main())
