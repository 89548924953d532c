"""Finding plug-ins by name, and refusing what is wrong with helpful words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import classImplements, implementer

from mailfw import plugins
from mailfw.interfaces import IRouter
from mailfw.mail.address import Address
from mailfw.mail.route import Route
from mailfw.plugins import POINTS, Plugin, PluginRefused, describe_options, find, installed, interface_of, resolve
from mailfw.site import Site

SITE = Site("localhost", frozenset({"localhost"}), Path("var"), Clock())


@implementer(IRouter)
class Everywhere:
    """A router whose options are of every kind."""

    def __init__(
        self,
        site: Site,
        courier: str = "relay",
        tries: int = 1,
        share: float = 0.5,
        strict: bool = False,
        hosts: Sequence[str] = (),
        where: str | None = None,
    ) -> None:
        self.given = (site, courier, tries, share, strict, hosts, where)

    async def route(self, sender: Address | None, recipient: Address) -> Route:
        return Route("relay")


class Nowhere:
    """Will say that it is a router."""


class WrongWay:
    async def route(self) -> str | None:
        return None


declare: Any = classImplements  # not as a decorator: mypy would tell what only running should
declare(Nowhere, IRouter)
declare(WrongWay, IRouter)


def needy(host: str) -> Any:
    return Everywhere(SITE, host)


def failing() -> Any:
    raise OSError("no such machine")


def faulty() -> Any:
    raise KeyError("boom")


HERE = __name__
PLUGINS = [
    Plugin("router", "everywhere", f"{HERE}.Everywhere", "Sends all mail on."),
    Plugin("router", "nowhere", f"{HERE}.Nowhere", "Lacks a method."),
    Plugin("router", "wrongway", f"{HERE}.WrongWay", "Has another signature."),
    Plugin("router", "needy", f"{HERE}.needy", "Needs an option."),
    Plugin("router", "failing", f"{HERE}.failing", "Cannot start."),
    Plugin("router", "faulty", f"{HERE}.faulty", "Has a fault."),
    Plugin("rooter", "elsewhere", f"{HERE}.Everywhere", "Is for no point."),
    Plugin("router", "missing", "nothing.is.here", "Is not there."),
    Plugin("router", "twice", f"{HERE}.Everywhere", "One."),
    Plugin("router", "twice", f"{HERE}.Nowhere", "Another."),
]


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        patched = patch.object(plugins, "getPlugins", lambda interface: iter(PLUGINS))
        patched.start()
        self.addCleanup(patched.stop)

    def refusal(self, *given: Any, **options: Any) -> str:
        return str(self.assertRaises(PluginRefused, find, *given, SITE, **options))


class FindingTests(Case):
    def test_by_name(self) -> None:
        self.assertEqual(find("router", "everywhere", SITE).given, (SITE, "relay", 1, 0.5, False, (), None))

    def test_with_options_as_text(self) -> None:
        spec = r"everywhere:tries=3:share=2:strict=yes:hosts=a,b :courier=x\:y=z:where=there"
        self.assertEqual(find("router", spec, SITE).given, (SITE, "x:y=z", 3, 2.0, True, ["a", "b"], "there"))

    def test_with_options_as_values_which_win(self) -> None:
        product = find("router", "everywhere:tries=3", SITE, tries=4, share=1, strict=True, hosts=["a"])
        self.assertEqual(product.given, (SITE, "relay", 4, 1, True, ["a"], None))

    def test_by_dotted_path(self) -> None:
        self.assertEqual(find("router", f"python:{HERE}.Everywhere:tries=9", SITE).given[2], 9)

    def test_by_any_of_several_points(self) -> None:
        self.assertEqual(resolve(("store", "router"), "everywhere").point, "router")

    def test_every_strcred_checker_can_be_named(self) -> None:
        checker = find("auth", "memory:ann@example.org:secret", SITE)
        self.assertEqual(checker.users, {b"ann@example.org": b"secret"})
        self.assertIn("no option of 'memory'", self.refusal("auth", "memory:a:b", path="x"))

    def test_options_are_described(self) -> None:
        self.assertEqual(
            describe_options(resolve("router", "everywhere")),
            [
                'courier: a string, default "relay"',
                "tries: an integer, default 1",
                "share: a number, default 0.5",
                "strict: true or false, default false",
                "hosts: a list of strings, default []",
                "where: a string, default none",
            ],
        )


class RefusalTests(Case):
    def test_an_unknown_name_hears_what_there_is(self) -> None:
        self.assertEqual(
            self.refusal("router", "everywere"),
            "no router plug-in is called 'everywere'; did you mean 'everywhere'? "
            "(there is: everywhere, failing, faulty, missing, needy, nowhere, twice, wrongway)",
        )
        self.assertIn("(there is: none)", self.refusal("store", "x"))
        self.assertIn("memory", self.refusal("auth", "memry"))

    def test_an_unknown_option_hears_the_known_ones(self) -> None:
        said = "no option of 'everywhere' is called 'trise'; did you mean 'tries'? (there is: courier, hosts, "
        self.assertTrue(self.refusal("router", "everywhere", trise=1).startswith(said))
        self.assertTrue(self.refusal("router", "everywhere:trise=1").startswith(said))
        self.assertIn("'site'", self.refusal("router", "everywhere:site=1"))

    def test_an_option_of_the_wrong_kind(self) -> None:
        for spec, options, said in (
            ("everywhere:tries=many", {}, "tries must be an integer, not 'many'"),
            ("everywhere:strict=perhaps", {}, "strict must be true or false"),
            ("everywhere", {"tries": True}, "tries must be an integer, not True"),
            ("everywhere", {"share": "1"}, "share must be a number"),
            ("everywhere", {"hosts": "a"}, "hosts must be a list of strings"),
            ("everywhere", {"where": 1}, "where must be a string"),
            ("everywhere:tries", {}, "'tries' is no option: write key=value"),
            ("needy", {}, "'needy' needs the option 'host'"),
        ):
            self.assertIn(said, self.refusal("router", spec, **options))

    def test_a_product_that_is_not_what_it_should_be(self) -> None:
        self.assertIn("route", self.refusal("router", "nowhere"))
        self.assertIn("is broken", self.refusal("router", "wrongway"))
        self.assertIn("does not say @implementer(IRouter)", self.refusal("router", "python:builtins.dict"))

    def test_a_factory_that_cannot_be_called_or_found(self) -> None:
        self.assertIn("cannot import nothing.is.here", self.refusal("router", "missing"))
        self.assertIn("cannot import", self.refusal("router", "python:mailfw.nothing"))
        self.assertIn("cannot be called", self.refusal("router", "python:mailfw.__version__"))
        self.assertIn("router plug-in 'failing' cannot start: no such machine", self.refusal("router", "failing"))

    def test_a_fault_of_a_factory_is_named_and_its_traceback_logged(self) -> None:
        self.assertEqual(self.refusal("router", "faulty"), "router plug-in 'faulty' cannot start: KeyError: 'boom'")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_plugin_for_no_point_hears_of_the_nearest(self) -> None:
        [said] = plugins.misplaced()
        self.assertIn("no plug-in point is called 'rooter'; did you mean 'router'?", said)

    def test_two_of_one_name(self) -> None:
        self.assertIn(f"{HERE}.Everywhere and {HERE}.Nowhere", self.refusal("router", "twice"))


class InstalledTests(SynchronousTestCase):
    """What a checkout of mailfw itself installs."""

    def test_every_built_in_can_be_loaded_and_says_what_it_is(self) -> None:
        for plugin in installed():
            plugins.load(plugin)
            self.assertRegex(plugin.help, r"\.$")

    def test_the_issues_built_ins_are_there(self) -> None:
        names = {(plugin.point, plugin.name) for plugin in installed()}
        wanted = {("store", "memory"), ("store", "maildir"), ("auth", "passwords"), ("directory", "accounts")}
        wanted |= {("policy", name) for name in ("clients", "senders", "recipients", "rate", "greylist", "size")}
        self.assertEqual(wanted - names, set())

    def test_every_point_has_an_interface(self) -> None:
        for point in POINTS:
            self.assertTrue(interface_of(point).names())

    def test_the_drop_in_imports_nothing_heavy(self) -> None:
        script = (
            "import sys, twisted.plugins.mailfw_plugin; "
            "print([m for m in ('twisted.internet.reactor', 'OpenSSL', 'sqlite3', 'cryptography', 'mailfw.interfaces') "
            "if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual(done.stdout, "[]\n")
