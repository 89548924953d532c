"""The report card: ``python -m mailfw.testing``, as a plug-in's author runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailfw

ROOT = Path(mailfw.__file__).parent.parent


class CardTests(SynchronousTestCase):
    def card(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "mailfw.testing", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def test_store_that_is_right(self) -> None:
        status, printed = self.card("store", "memory:quota=0")
        self.assertEqual(status, 0, printed)
        self.assertIn("test_uid_is_never_given_again ", printed)
        self.assertIn("PASSED", printed)

    def test_source_that_is_wrong(self) -> None:
        status, printed = self.card("source", "tests.testing.test_source.ForgetsDrops")
        self.assertEqual(status, 1, printed)
        self.assertIn("test_scans_follow_every_change", printed)
        self.assertIn("FAILED", printed)

    def test_unknown_plug_in(self) -> None:
        for name in ("nothing", "no.such.module", "memory:no=option"):
            status, printed = self.card("store", name)
            self.assertEqual(status, 2, printed)
            self.assertNotIn("Traceback", printed)
