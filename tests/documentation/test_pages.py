"""What the pages say can be followed: links lead somewhere, configurations are right, examples keep their contracts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailfw.configuration import Source, configure

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))

#: A block of code, behind the last file that the text before it names.
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w/]+\.py)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def blocks(page: Path, kind: str) -> Iterator[tuple[str, str]]:
    """Yield what stands between a block and the one before it, and the block."""
    text, end = page.read_text("utf-8"), 0
    for found in _BLOCK.finditer(text):
        if found[1] == kind:
            yield text[end : found.start()], found[2]
        end = found.end()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class LinkTests(SynchronousTestCase):
    def test_links_lead_somewhere(self) -> None:
        for page in PAGES:
            for target, anchor in _LINK.findall(page.read_text("utf-8")):
                there = (page.parent / target) if target else page
                self.assertTrue(there.exists(), f"{page.name}: {target}")
                if anchor:
                    self.assertIn(anchor, anchors(there), f"{page.name}: {target}")

    def test_every_page_is_listed(self) -> None:
        index = ROOT / "docs" / "README.md"
        listed = {(index.parent / target).resolve() for target, _ in _LINK.findall(index.read_text("utf-8"))}
        self.assertEqual({page.resolve() for page in PAGES} - {index.resolve()} - listed, set())


class ConfigurationTests(SynchronousTestCase):
    def test_the_configurations_are_right(self) -> None:
        count = 0
        secret = Path(self.mktemp()).resolve()
        secret.write_text("secret\n")
        for page in PAGES:
            for _, block in blocks(page, "toml"):
                if "[build-system]" in block:
                    continue
                path = Path(self.mktemp())
                path.write_text(block.replace("/etc/mailfw/smarthost", str(secret)), "utf-8")
                configure(Source.read(path))
                count += 1
        self.assertGreater(count, 10)


class ExampleTests(SynchronousTestCase):
    """The code of a page is written to the files that it names, and its tests are run as the page says."""

    def try_page(self, name: str) -> None:
        folder = Path(self.mktemp())
        for before, code in blocks(ROOT / "docs" / "howto" / f"{name}.md", "python"):
            named = _FILE.findall(before)
            file = folder / next(each for each in reversed(named) if not each.endswith("__init__.py"))
            file.parent.mkdir(parents=True, exist_ok=True)
            if "twisted" not in file.parts:
                (file.parent / "__init__.py").touch()
            file.write_text(code, "utf-8")
        path = os.pathsep.join([str(folder.resolve()), str(ROOT)])
        done = subprocess.run(
            [sys.executable, "-m", "twisted.trial", "tests"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"PASSED \((skips=\d+, )?successes=\d+\)")

    def test_a_policy(self) -> None:
        self.try_page("write-a-policy")

    def test_a_router(self) -> None:
        self.try_page("write-a-router")

    def test_a_courier(self) -> None:
        self.try_page("write-a-courier")

    def test_a_spool(self) -> None:
        self.try_page("write-a-spool")
