"""What CI counts, and what the README promises."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from mailfw.configuration import Source, configure
from mailfw.configuration.choices import choose
from mailfw.interfaces import IDeliveryPolicy

ROOT = Path(__file__).parent.parent.parent


def summary() -> ModuleType:
    path = ROOT / ".ci" / "summary.py"
    if not path.exists():
        raise SkipTest("the source distribution has no .ci")
    specification = importlib.util.spec_from_file_location("summary", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class SummaryTests(SynchronousTestCase):
    def test_trials_last_line_is_read(self) -> None:
        count = summary().count_trial
        for line, counts in (
            ("PASSED (successes=5)", (5, 0, 0)),
            ("PASSED (skips=2, expectedFailures=1, successes=5)", (6, 0, 2)),
            ("FAILED (skips=1, failures=2, errors=1, successes=3)", (3, 3, 1)),
            ("FAILED (unexpectedSuccesses=1, successes=1)", (1, 1, 0)),
            ("Killed", (0, 1, 0)),
        ):
            self.assertEqual(count(f"Ran 9 tests in 1s\n\n{line}\nmake: done\n"), counts)

    def test_the_sum_and_the_exit_code(self) -> None:
        summary()
        bad = "FAILED (failures=1, successes=5)"
        for results, output, line, code in (
            ("passed make test\npassed b\n", "PASSED (successes=5)", "7 passed, 0 failed, 0 skipped", 0),
            ("failed make test\npassed a\nfailed b\n", bad, "6 passed, 2 failed, 0 skipped", 1),
            ("failed make test\n", "PASSED (successes=5)", "5 passed, 1 failed, 0 skipped", 1),
            ("failed a\n", "", "0 passed, 2 failed, 0 skipped", 1),
            ("passed a\n", self.skipped("no swaks"), "6 passed, 0 failed, 1 skipped", 1),
            ("passed a\n", self.skipped("../shared/corpus is not here"), "6 passed, 0 failed, 1 skipped", 0),
        ):
            folder = Path(self.mktemp())
            folder.mkdir(parents=True)
            (folder / "results").write_text(results)
            (folder / "trial").write_text(output + "\n")
            command = [sys.executable, str(ROOT / ".ci" / "summary.py"), str(folder / "results"), str(folder / "trial")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.stdout.splitlines()[-1], done.returncode, done.stderr), (line, code, ""))

    def skipped(self, reason: str) -> str:
        return (
            f"{'=' * 79}\n[SKIPPED]\n{reason}\n\ntests.a.B.test_c\n{'-' * 79}\nRan 6\n\nPASSED (skips=1, successes=5)"
        )


class ReadmeTests(SynchronousTestCase):
    """The blocks of README.md are what they say."""

    def setUp(self) -> None:
        self.text = (ROOT / "README.md").read_text("utf-8")

    def block(self, kind: str) -> str:
        (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        return str(found)

    def test_the_policy_is_one(self) -> None:
        names: dict[str, object] = {}
        exec(self.block("python"), names)
        made = names["NoSelfMail"]
        assert callable(made)
        self.assertTrue(verifyObject(IDeliveryPolicy, made("Nice try")))

    def test_the_configuration_is_right(self) -> None:
        path = Path(self.mktemp())
        path.write_text(self.block("toml"), "utf-8")
        source = Source.read(path)
        configuration = configure(source)
        self.assertEqual(choose(source, configuration).policy[0][1].name, "greylist")
        self.assertEqual(configuration.listen.imaps, ("tcp:993",))

    def test_nothing_it_links_to_is_missing(self) -> None:
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/reference/configuration.md"):
            page = ROOT / name
            for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
                self.assertTrue((page.parent / target).exists(), f"{name}: {target}")
