"""The console command, run as a user runs it."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sys
from pathlib import Path
from unittest.mock import patch

from argon2 import PasswordHasher
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from mailfw import __version__
from mailfw.commands.console import main
from mailfw.options import Options
from mailfw.plugins import POINTS

CONFIGURATION = """\
hostname = "mail.example.org"
domains = ["example.org"]

[store]
plugin = "memory"
retention = 5.0

[[policy]]
plugin = "size"
octets = 1000
"""


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        # Argon2id at its real cost would make these tests slow.
        cheap = patch("mailfw.accounts.passwords.make_hasher", lambda: PasswordHasher(1, 8, 1))
        cheap.start()
        self.addCleanup(cheap.stop)

    def run_command(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch.object(sys, "stdin", io.StringIO(typed)),
        ):
            exited = self.assertRaises(SystemExit, main, list(arguments))
        assert isinstance(exited.code, int)
        return exited.code, out.getvalue(), err.getvalue()

    def file(self, text: str = CONFIGURATION) -> str:
        path = self.folder / "mailfw.toml"
        path.write_text(text, "utf-8")
        return str(path)

    def user(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        return self.run_command(f"--set=data={self.folder / 'var'}", "user", *arguments, typed=typed)


class UserTests(Case):
    def test_accounts_are_added_listed_and_removed(self) -> None:
        self.assertEqual(self.user("add", "Ann", typed="secret\n"), (0, "ann@localhost added\n", ""))
        self.assertEqual(self.user("add", "bob@localhost", typed="other")[0], 0)
        self.assertEqual(self.user("list"), (0, "ann@localhost\nbob@localhost\n", ""))
        code, out, _ = self.user("remove", "ann")
        self.assertEqual((code, out), (0, f"ann@localhost removed; its mail is still in {self.folder / 'var'}\n"))
        self.assertEqual(self.user("list")[1], "bob@localhost\n")

    def test_passwords_are_hashed_and_can_be_changed(self) -> None:
        self.user("add", "ann", typed="secret\n")
        before = (self.folder / "var" / "passwords").read_text()
        self.assertNotIn("secret", before)
        self.assertEqual(self.user("passwd", "ann", typed="terces\n"), (0, "ann@localhost has a new password\n", ""))
        self.assertNotEqual((self.folder / "var" / "passwords").read_text(), before)

    def test_what_cannot_be_is_refused(self) -> None:
        self.user("add", "ann", typed="secret\n")
        for arguments, typed, said in (
            (("add", "ann"), "x\n", "There is an account ann@localhost already"),
            (("add", "eve"), "", "no password on standard input"),
            (("add", "a b"), "x\n", "An account's name is an address"),
            (("add", "../x@localhost"), "x\n", "An account's name is an address"),
            (("passwd", "eve"), "x\n", "there is no account eve@localhost"),
            (("remove", "eve"), "", "eve@localhost"),
        ):
            code, out, err = self.user(*arguments, typed=typed)
            self.assertEqual((code, out), (1, ""), arguments)
            self.assertIn(f"mailfw: {said}" if said[0] != "e" else said, err)

    def test_a_foreign_domain_is_remarked_upon(self) -> None:
        code, _, err = self.user("add", "ann@example.net", typed="x\n")
        self.assertEqual(code, 0)
        self.assertIn("ann@example.net is in none of our domains: localhost", err)

    def test_a_password_is_never_an_argument(self) -> None:
        code, _, err = self.user("add", "ann", "secret")
        self.assertEqual(code, 2)
        self.assertIn("unrecognized arguments: secret", err)

    def test_accounts_that_are_kept_elsewhere_cannot_be_edited(self) -> None:
        code, _, err = self.run_command('--set=auth=[{plugin="memory:ann:x"}]', "user", "list")
        self.assertEqual((code, err[:8]), (1, "mailfw: "))
        self.assertIn("no [[auth]] plug-in", err)

    def test_on_a_terminal_it_asks_twice(self) -> None:
        self.assertEqual(self.type_on_terminal("secret", "secret"), 0)
        self.assertEqual(self.user("list")[1], "ann@localhost\n")

    def test_on_a_terminal_two_different_passwords_are_refused(self) -> None:
        self.assertEqual(self.type_on_terminal("secret", "terces"), 1)
        self.assertEqual(self.user("list")[1], "")

    def type_on_terminal(self, first: str, second: str) -> int:
        """Run ``user add ann`` on a terminal of its own, typing two passwords; return the exit code."""
        pid, terminal = pty.fork()
        if pid == 0:  # the child: whatever happens, it must not go on as a second trial
            code = 70
            try:
                main([f"--set=data={self.folder / 'var'}", "user", "add", "ann"])
            except SystemExit as exited:
                code = int(exited.code or 0)
            finally:
                os._exit(code)
        shown = b""
        for prompt, answer in ((b"Password: ", first), (b"Again: ", second)):
            while prompt not in shown:
                shown += os.read(terminal, 1000)
            os.write(terminal, answer.encode() + b"\n")
        with contextlib.suppress(OSError):  # Linux's way to say that nobody holds the other end
            while piece := os.read(terminal, 1000):
                shown += piece
        os.close(terminal)
        self.assertNotIn(first.encode(), shown)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class ConfigTests(Case):
    def test_a_right_configuration(self) -> None:
        path = self.file()
        self.assertEqual(self.run_command("--config", path, "config", "check"), (0, f"{path}: right\n", ""))
        self.assertEqual(self.run_command("config", "check")[0], 0)

    def test_a_wrong_configuration(self) -> None:
        for text, said in (
            ("hostnam = 1\n", ":1: no key is called 'hostnam'; did you mean 'hostname'?"),
            ('[listen]\nimap = ["tcp:143", "tpc:1"]\n', ":2: 'tpc:1' is no endpoint"),
            ('\n[tls]\ncertificate = "c.pem"\nkey = "k.pem"\n', ":2: "),
            ('[[policy]]\nplugin = "size"\noctets = "many"\n', ":3: 'size': octets must be an integer"),
            ('\n[[policy]]\nplugin = "size"\noctets = 0\n', ":2: policy plug-in 'size' cannot start: octets must be"),
            ('[[auth]]\nplugin = "memory:a"\n', ":1: auth plug-in 'memory' cannot start: "),
        ):
            path = self.file(text)
            code, out, err = self.run_command("--config", path, "config", "check")
            self.assertEqual((code, out), (1, ""))
            self.assertTrue(err.startswith(f"mailfw: {path}{said}"), err)

    def test_every_value_is_shown_with_where_it_came_from(self) -> None:
        path = self.file()
        code, out, err = self.run_command("--config", path, "--set", "limits.recipients=7", "config", "show")
        self.assertEqual((code, err), (0, ""))
        for line in (
            f'hostname = "mail.example.org"    # {path}:1',
            f'domains = ["example.org"]    # {path}:2',
            f'plugin = "memory"    # {path}:5',
            f"retention = 5.0    # {path}:6",
            f"octets = 1000    # {path}:10",
            "recipients = 7    # --set",
            "connections = 20000    # default",
            "[[policy]]",
            "# key is not given",
        ):
            self.assertIn(f"\n{line}\n", f"\n{out}")

    def test_the_file_that_the_environment_names(self) -> None:
        path = self.file("hostname = 1\n")
        with patch.dict(os.environ, {"MAILFW_CONFIG": path}):
            self.assertIn(f"{path}:1", self.run_command("config", "check")[2])
            options = self.assertRaises(UsageError, Options().parseOptions, [])
            self.assertIn(f"{path}:1", str(options))
            self.assertEqual(self.run_command("--config", self.file(), "config", "check")[0], 0)

    def test_secrets_are_not_shown(self) -> None:
        path = self.file('[[auth]]\nplugin = "introspection"\nurl = "https://x.example/"\nclient_secret = "abc-123"\n')
        out = self.run_command("-c", path, "config", "show")[1]
        self.assertIn(f'client_secret = "***"    # {path}:4', out)
        self.assertNotIn("abc-123", out)

    def test_what_stands_beside_given_keys_is_a_default(self) -> None:
        path = self.file('policy = [{plugin = "size"}]\n')
        out = self.run_command("-c", path, "--set", 'policy.1={plugin="rate", period=3.5}', "config", "show")[1]
        self.assertIn(f'plugin = "size"    # {path}:1\n', out)
        self.assertIn("period = 3.5    # --set\n", out)
        self.assertEqual(out.count("timeout = 10.0    # default\n"), 2)

    def test_what_is_shown_can_be_read_as_a_configuration(self) -> None:
        _, out, _ = self.run_command("--config", self.file(), "config", "show")
        again = self.file(out)
        _, shown, err = self.run_command("--config", again, "config", "show")
        self.assertEqual(err, "")
        strip = [line.split("    # ")[0] for line in out.splitlines()]
        self.assertEqual([line.split("    # ")[0] for line in shown.splitlines()], strip)


class OtherTests(Case):
    def test_version(self) -> None:
        self.assertEqual(self.run_command("--version"), (0, f"mailfw {__version__}\n", ""))

    def test_a_command_must_be_given(self) -> None:
        self.assertEqual(self.run_command()[0], 2)
        self.assertEqual(self.run_command("user")[0], 2)
        self.assertEqual(self.run_command("frobnicate")[0], 2)

    def test_a_file_that_is_not_there(self) -> None:
        code, _, err = self.run_command("--config", "/nonexistent/x.toml", "config", "check")
        self.assertEqual((code, err), (1, "mailfw: /nonexistent/x.toml: No such file or directory\n"))

    def test_plugins_lists_every_point_with_help_and_options(self) -> None:
        code, out, err = self.run_command("plugins")
        self.assertEqual((code, err), (0, ""))
        for point in POINTS:
            self.assertIn(f"\n{point}: ", f"\n{out}")
        self.assertIn("maildir", out)
        self.assertIn("octets: an integer, default 10240000", out)
        self.assertIn("memory:", out)
        self.assertNotIn("BROKEN", out)
