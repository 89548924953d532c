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
        status, printed = self.card("store", "memory", "--many", "2000", "--verbose")
        self.assertEqual(status, 0, printed)
        self.assertIn("  change ", printed)
        self.assertIn(
            "After an expunge of the newest, or of all, new messages have UIDs above every one before.", printed
        )
        self.assertIn("rows of one in 500: calls ", printed)
        self.assertIn(" 0 failed, ", printed)

    def test_crashes_of_a_store_on_disk(self) -> None:
        status, printed = self.card("store", "maildir", "--only", "crash", "--crashes", "2", "--seed", "5")
        self.assertEqual(status, 0, printed)
        self.assertIn("killed 2 times, ", printed)
        self.assertIn("1 passed, 0 failed, 0 not offered, 0 skipped", printed)

    def test_store_that_is_wrong(self) -> None:
        status, printed = self.card("store", "tests.testing.test_store.ReusesUids", "--only", "change")
        self.assertEqual(status, 1, printed)
        self.assertIn("FAILED  change: test_uid_is_never_given_again\n", printed)
        self.assertIn("not greater than", printed)
        self.assertNotIn("  mailbox ", printed)

    def test_source_that_is_wrong(self) -> None:
        status, printed = self.card("source", "tests.testing.test_source.ForgetsDrops")
        self.assertEqual(status, 1, printed)
        self.assertIn("test_scans_follow_every_change\n", printed)
        self.assertIn("FAILED", printed)

    def test_unknown_plug_in(self) -> None:
        for name in ("nothing", "no.such.module", "memory:no=option"):
            status, printed = self.card("store", name)
            self.assertEqual(status, 2, printed)
            self.assertNotIn("Traceback", printed)

    def test_nothing_to_try(self) -> None:
        status, printed = self.card("store", "memory", "--only", "no such case")
        self.assertEqual(status, 2, printed)
        self.assertIn("no case", printed)
