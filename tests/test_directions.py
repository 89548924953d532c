"""The direction rules of the design: which room may know of which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent / "mailfw"
SHARED = {"mail", "interfaces", "site", "allowance", "network", "turns", "patience", "optional", "generations"}
KEEPING = SHARED | {"disk"}
PROTOCOL = {"wire", "sasl", "mail", "interfaces", "optional", "allowance", "network"}

#: What each room may import of mailfw beside itself; a room not named here may import what it likes.
ROOMS = {
    "mail": set[str](),
    "interfaces": {"mail"},
    "optional": {"mail", "interfaces"},
    "site": set[str](),
    "allowance": set[str](),
    "network": set[str](),
    "turns": set[str](),
    "patience": set[str](),
    "generations": set[str](),
    "fetch": set[str](),
    "wire": {"allowance", "network"},
    "sasl": {"mail", "interfaces"},
    "smtp": PROTOCOL,
    "pop3": PROTOCOL,
    "imap": PROTOCOL,
    "disk": {"mail", "interfaces"},
    "stores": KEEPING,
    "spools": KEEPING,
    "policies": SHARED,
    "dns": SHARED,
    "routing": SHARED | {"fetch"},
    "queue": KEEPING,
    "transfer": KEEPING,
    "accounts": SHARED | {"sasl", "fetch"},
    "couriers": SHARED | {"smtp.client", "sasl", "tls", "wire"},
    "sharing": SHARED,
    "cluster": SHARED | {"sasl", "wire.listening"},
    "tls": set[str](),
    "http": set[str](),
    "plugins": {"site"},
    "configuration": {"mail", "plugins", "network", "imap.capabilities"},
}
#: Rooms that know of a library or two, and of nothing else outside the standard library.
LIBRARIES = {
    "mail": set[str](),
    "interfaces": {"zope"},
    "optional": {"zope"},
    "wire": {"twisted", "zope"},
    "sasl": {"twisted", "zope"},
}
#: Pure files: no coroutine, no Twisted.
PURE = {"grammar", "lexer", "responses", "replies", "schedule", "view"}
OUTSIDE = {"twisted", "zope", "argon2", "cryptography", "OpenSSL", "hypothesis", "dns", "idna"}


def files() -> Iterator[tuple[Path, str, ast.Module]]:
    """Yield each source file, its room and its tree."""
    for path in sorted(ROOT.rglob("*.py")):
        yield path, path.relative_to(ROOT).parts[0].removesuffix(".py"), ast.parse(path.read_text("utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of everything that is imported anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def permits(allowed: set[str], name: str) -> bool:
    return any(name == each or name.startswith(each + ".") for each in allowed)


class DirectionTests(SynchronousTestCase):
    def test_rooms_know_only_the_rooms_they_may(self) -> None:
        wrong = [
            f"{path.relative_to(ROOT)}: {name}"
            for path, room, tree in files()
            for name in imports(tree)
            if name.startswith("mailfw.") and room in ROOMS and name != "mailfw.__version__"
            if not permits(ROOMS[room] | {room}, name.removeprefix("mailfw."))
        ]
        self.assertEqual(wrong, [])

    def test_the_inner_rooms_know_no_other_library(self) -> None:
        wrong = [
            f"{path.relative_to(ROOT)}: {name}"
            for path, room, tree in files()
            for name in imports(tree)
            if room in LIBRARIES and permits(OUTSIDE - LIBRARIES[room], name)
        ]
        self.assertEqual(wrong, [])

    def test_nobody_imports_the_reactor_at_module_level(self) -> None:
        wrong = [
            str(path.relative_to(ROOT))
            for path, _, tree in files()
            for node in tree.body
            if "twisted.internet.reactor" in imports(node) and not isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
        self.assertEqual(wrong, [])

    def test_nobody_builds_on_twisteds_mail(self) -> None:
        wrong = [str(path) for path, _, tree in files() if any(permits({"twisted.mail"}, n) for n in imports(tree))]
        self.assertEqual(wrong, [])

    def test_pure_files_have_no_coroutine_and_no_twisted(self) -> None:
        wrong = [
            str(path.relative_to(ROOT))
            for path, _, tree in files()
            if path.stem in PURE
            if any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree))
            or any(permits({"twisted"}, name) for name in imports(tree))
        ]
        self.assertEqual(wrong, [])

    def test_no_file_is_a_monster(self) -> None:
        long = [
            str(path.relative_to(ROOT)) for path, _, _ in files() if len(path.read_text("utf-8").splitlines()) > 450
        ]
        self.assertEqual(long, [])
