"""The configuration: what is read, where it came from, and how mistakes are refused."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.commands.config import written
from mailfw.configuration import Configuration, ConfigurationRefused, Listen, PolicyChoice, Source, configure
from mailfw.configuration.choices import read
from mailfw.configuration.keys import IMAPClient, RouteRule
from mailfw.configuration.source import locate

REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "configuration.md"

FULL = """\
# A site.
hostname = "MX.example.org"
domains = [
    "example.org",
    "xn--bcher-kva.example",
]
data = "mail"

[listen]
smtp = ["tcp:25"]

[[policy]]
plugin = "size"
timeout = 3

[[policy]]
plugin = "rate"
on_failure = "accept"
per_minute = 7
"""


class Case(SynchronousTestCase):
    def file(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return path

    def configure(self, text: str | None, *settings: str) -> Configuration:
        return configure(Source.read(None if text is None else self.file(text), settings))

    def refusal(self, text: str | None, *settings: str) -> str:
        path = None if text is None else self.file(text)
        refused = self.assertRaises(ConfigurationRefused, lambda: configure(Source.read(path, settings)))
        return str(refused).replace(str(path), "FILE")


class ReadingTests(Case):
    def test_with_nothing_given_it_is_the_embedded_default(self) -> None:
        configuration = self.configure(None)
        self.assertEqual(configuration.domains, ("localhost",))
        self.assertEqual(configuration.data, Path("var").absolute())
        self.assertEqual(configuration.listen.smtp, ("tcp:2525:interface=127.0.0.1",))
        self.assertEqual(configuration.listen.lmtp, ())
        self.assertEqual(configuration.store.plugin, "maildir")
        for _, endpoint in configuration.listen.endpoints():
            self.assertIn("interface=127.0.0.1", endpoint)

    def test_a_file_is_read_over_the_defaults(self) -> None:
        configuration = self.configure(FULL)
        self.assertEqual(configuration.hostname, "mx.example.org")
        self.assertEqual(configuration.domains, ("example.org", "bücher.example"))
        self.assertEqual(configuration.limits.recipients, 1000)
        first, second = configuration.policy
        self.assertEqual(first, PolicyChoice(plugin="size", timeout=3.0))
        self.assertEqual(second, PolicyChoice(plugin="rate", on_failure="accept", options={"per_minute": 7}))

    def test_with_a_file_nothing_listens_that_it_does_not_list(self) -> None:
        listen = self.configure(FULL).listen
        self.assertEqual(list(listen.endpoints()), [("smtp", "tcp:25")])

    def test_with_settings_alone_the_other_listeners_stay(self) -> None:
        listen = self.configure(None, 'listen.smtp=["tcp:2626:interface=127.0.0.1"]', "listen.http=[]").listen
        self.assertEqual(listen.smtp, ("tcp:2626:interface=127.0.0.1",))
        self.assertEqual(listen.http, ())
        self.assertEqual(listen.imap, Listen().imap)

    def test_settings_win_over_the_file(self) -> None:
        configuration = self.configure(
            FULL, "hostname=mail.example.org", "limits.recipients=5", "policy.0.timeout=0.5", "store.plugin=memory"
        )
        self.assertEqual(configuration.hostname, "mail.example.org")
        self.assertEqual(configuration.limits.recipients, 5)
        self.assertEqual([policy.timeout for policy in configuration.policy], [0.5, 10.0])
        self.assertEqual(configuration.store.plugin, "memory")

    def test_a_setting_can_replace_or_lengthen_an_array_of_tables(self) -> None:
        configuration = self.configure(FULL, "policy.2.plugin=clients", 'auth=[{plugin="a"}, {plugin="b", path="x"}]')
        self.assertEqual([policy.plugin for policy in configuration.policy], ["size", "rate", "clients"])
        self.assertEqual(
            [(auth.plugin, auth.options) for auth in configuration.auth], [("a", {}), ("b", {"path": "x"})]
        )

    def test_a_relative_path_is_relative_to_the_file_it_is_written_in(self) -> None:
        path = self.file(FULL)
        self.assertEqual(configure(Source.read(path)).data, path.parent.absolute() / "mail")
        self.assertEqual(configure(Source.read(path, ["data=there"])).data, Path("there").absolute())
        bare = self.file('hostname = "a.example"\n')
        self.assertEqual(configure(Source.read(bare)).data, bare.parent.absolute() / "var")


class RefusalTests(Case):
    def test_an_unknown_key_is_refused_with_its_line_and_the_nearest(self) -> None:
        self.assertTrue(
            self.refusal(FULL.replace("hostname", "hostnam")).startswith(
                "FILE:2: no key is called 'hostnam'; did you mean 'hostname'?"
            )
        )

    def test_an_unknown_key_of_a_table(self) -> None:
        self.assertTrue(
            self.refusal(FULL.replace("smtp =", "smpt =")).startswith(
                "FILE:10: no key of [listen] is called 'smpt'; did you mean 'smtp'?"
            )
        )

    def test_an_unknown_table(self) -> None:
        self.assertTrue(self.refusal("\n[lisen]\nsmtp = []\n").startswith("FILE:2: no key is called 'lisen'"))

    def test_a_wrong_kind_of_value(self) -> None:
        for text, said in (
            ('\nhostname = 3\n', "FILE:2: hostname must be a string, not 3"),
            ('domains = "a.b"', 'FILE:1: domains must be a list of strings, like ["a.b"], not \'a.b\''),
            ("domains = [1]", "FILE:1: domains must be a list of strings"),
            ("data = []", "FILE:1: data must be a string that names a file, not []"),
            ("[limits]\nrecipients = true", "FILE:2: limits.recipients must be an integer, not True"),
            ("[limits]\nrecipients = 0", "FILE:2: limits.recipients must be greater than 0"),
            ("[limits]\nstrict_pipelining = 1", "FILE:2: limits.strict_pipelining must be true or false"),
            ('[trust]\nrelay = ["far"]', "FILE:2: trust.relay: 'far' is neither an IP address nor a network"),
            ('[trust]\nsend_as = "all"', "FILE:2: no choice for trust.send_as is called 'all'"),
            ("[extensions]\nlongest_hold = 9999999999", "FILE:2: extensions.longest_hold must have nine digits"),
            ('[extensions]\nno_soliciting = ["a b"]', "FILE:2: extensions.no_soliciting: 'a b' is no word of an"),
            ("allow_plaintext_auth = 1", "FILE:1: allow_plaintext_auth must be true or false, not 1"),
            ("listen = 1", "FILE:1: listen must be a table"),
            ("[policy]\nplugin = 'size'", "FILE:1: policy must be an array of tables, written [[policy]]"),
            ("[[policy]]\ntimeout = 1", "FILE:1: policy.0 names no plugin"),
            ("[pop3]\nexpire = -2", "FILE:2: pop3.expire must be a number of days, or -1 for ever"),
            ("[pop3]\nlogin_delay = -1", "FILE:2: pop3.login_delay must be 0 or more"),
            ('[pop3]\nlanguage = "fr"', "FILE:2: no choice for pop3.language is called 'fr'"),
            ("domains = []", "FILE:1: domains must name one domain at least"),
            ("[tls]\nkey = 'k'", "FILE:1: tls.certificate and tls.key go together"),
        ):  # fmt: skip
            self.assertTrue(self.refusal(text).startswith(said), f"{text!r}: {self.refusal(text)}")

    def test_the_second_entry_of_an_array_has_its_own_line(self) -> None:
        refusal = self.refusal(FULL.replace('"accept"', '"acept"'))
        self.assertTrue(refusal.startswith("FILE:18: no choice for policy.1.on_failure is called 'acept'"), refusal)

    def test_a_setting_is_named_in_place_of_a_line(self) -> None:
        self.assertTrue(self.refusal(FULL, "listen.smpt=[]").startswith("--set listen.smpt: no key of [listen]"))
        self.assertTrue(self.refusal(None, "hostname=3").startswith("--set hostname: hostname must be a string"))
        self.assertEqual(self.refusal(None, "hostname"), "--set hostname: write key=value")
        self.assertEqual(self.refusal(None, "a b=1"), "--set a b=1: 'a b' is no key")
        self.assertTrue(self.refusal(FULL, "hostname.x=1").startswith("--set hostname.x=1: hostname is no table"))

    def test_a_file_that_is_no_toml_or_not_there(self) -> None:
        self.assertIn("FILE:1: ", self.refusal("hostname = \n"))
        self.assertRaises(ConfigurationRefused, Source.read, Path(self.mktemp()))

    def test_what_tomllib_refuses_is_shown_with_its_line(self) -> None:
        self.assertEqual(
            self.refusal('hostname = "a.example"\nhostname = "b.example"\n'),
            'FILE:2: Cannot overwrite a value: hostname = "b.example"',
        )

    def test_names_that_no_server_can_have(self) -> None:
        for name in ("", "bad host", "mx.example.org\\r", "하늘.한국", "x" * 256):
            self.assertIn("FILE:1: hostname must be", self.refusal(f'hostname = "{name}"'), name)
        for domain in ("", "exa mple", "@example.org", ".example", "example..org", "xn--\\u0000"):
            self.assertIn("FILE:1: domains: ", self.refusal(f'domains = ["{domain}"]'), domain)
        right = self.configure(
            'hostname = "mx_1.Example.org"\ndomains = ["하늘.한국", "xn--bcher-kva.example", "[::1]"]'
        )
        self.assertEqual(
            (right.hostname, right.domains), ("mx_1.example.org", ("하늘.한국", "bücher.example", "[::1]"))
        )

    def test_amounts_that_are_none(self) -> None:
        for amount in ("-1", "0", "nan", "inf"):
            text = f'[[policy]]\nplugin = "size"\ntimeout = {amount}\n'
            self.assertIn("FILE:3: policy.0.timeout must be greater than 0", self.refusal(text), amount)
        self.assertIn("FILE:2: queue.lifetime must be", self.refusal("[queue]\nlifetime = inf"))

    def test_what_imap_clients_are_not_offered(self) -> None:
        said = self.refusal('[imap]\nwithout = ["UIDONY"]')
        self.assertIn("FILE:2: no capability is called 'UIDONY'; did you mean 'UIDONLY'?", said)
        said = self.refusal('[[imap_client]]\nline = 10\n[[imap_client]]\nwithout = ["IDEL"]')
        self.assertIn("FILE:4: no capability is called 'IDEL'; did you mean 'IDLE'?", said)
        said = self.refusal('[[imap_client]]\nnetworks = ["here"]')
        self.assertIn("FILE:2: imap_client.networks: 'here' is neither", said)
        self.assertIn("FILE:2: imap.line must be greater than 0", self.refusal("[imap]\nline = 0"))
        self.assertIn("FILE:2: imap_client.0.sessions must be 0 or", self.refusal("[[imap_client]]\nsessions = -1"))
        self.assertIn("FILE:2: imap.message_limit must be 0, or at", self.refusal("[imap]\nmessage_limit = 999"))
        self.assertIn("FILE:2: imap_client.0.message_limit must", self.refusal("[[imap_client]]\nmessage_limit = -1"))

    def test_a_mistyped_key_of_a_policy_hears_of_the_keys_beside_its_options(self) -> None:
        path = self.file('[[policy]]\nplugin = "size"\non_falure = "accept"\n')
        refused = self.assertRaises(ConfigurationRefused, read, path)
        self.assertIn(":3: ", str(refused))
        self.assertIn("did you mean 'on_failure'?", str(refused))

    def test_an_option_in_the_plugins_name_is_refused_at_its_line(self) -> None:
        path = self.file('[store]\n# where\nplugin = "maildir:pth=x"\n')
        self.assertIn(f"{path}:3: ", str(self.assertRaises(ConfigurationRefused, read, path)))

    def test_a_plugin_and_its_options_are_refused_at_their_lines(self) -> None:
        for text, said in (
            ('[store]\nplugin = "maildri"', ":2: no store or source plug-in is called 'maildri'; did"),
            ('[store]\nplugin = "maildir"\npahth = "x"', ":3: no option of 'maildir' is called 'pahth'; did you"),
            ('[store]\nplugin = "maildir"\npath = 3', ":3: 'maildir': path must be a string, not 3"),
        ):  # fmt: skip
            path = self.file(text)
            refused = self.assertRaises(ConfigurationRefused, read, path)
            self.assertTrue(str(refused).startswith(f"{path}{said}"), str(refused))


class OriginTests(Case):
    def test_each_value_knows_where_it_came_from(self) -> None:
        path = self.file(FULL)
        source = Source.read(path, ["limits.recipients=5"])
        self.assertEqual(source.origin(("hostname",)), f"{path}:2")
        self.assertEqual(source.origin(("domains",)), f"{path}:3")
        self.assertEqual(source.origin(("policy", 1, "on_failure")), f"{path}:18")
        self.assertEqual(source.origin(("limits", "recipients")), "--set")
        self.assertEqual(source.origin(("limits", "connections")), "default")

    def test_lines_are_found_whatever_is_between_them(self) -> None:
        text = 'a = """\n[x]\nb = 1\n"""\n\n[x.y]  # c\n"d e".f = [ # [[z]]\n  1,\n]\n'
        text += "[[z]]\n[z.k]\nq = 1\n[[z]]\nk.r = 1\n"
        lines = locate(text)
        self.assertEqual(lines["a",], 1)
        self.assertNotIn(("b",), lines)
        self.assertEqual(lines["x", "y"], 6)
        self.assertEqual(lines["x", "y", "d e", "f"], 7)
        self.assertEqual(lines["z", 0, "k", "q"], 12)
        self.assertEqual(lines["z", 1, "k", "r"], 14)

    @given(st.text())
    def test_any_string_written_is_read_back(self, text: str) -> None:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return  # no file holds a lone surrogate
        self.assertEqual(tomllib.loads(f"a = {written(text)}")["a"], text)

    @given(
        st.lists(st.sampled_from(["a = 1", "[t]", "[[p]]", "b = [", "]", '"""', "x = '''", "'''", "#", "1,", "{", ""]))
    )
    def test_locating_never_fails_on_valid_toml(self, lines: list[str]) -> None:
        text = "\n".join(lines)
        try:
            keys = set(tomllib.loads(text))
        except tomllib.TOMLDecodeError:
            return
        self.assertEqual({place[0] for place in locate(text)}, keys)


class ReferenceTests(SynchronousTestCase):
    """``docs/reference/configuration.md`` has every key and no other."""

    def setUp(self) -> None:
        self.documented = set(re.findall(r"^\| `([a-z0-9_.\[\]]+)` \|", REFERENCE.read_text("utf-8"), re.MULTILINE))

    def test_it_is_complete(self) -> None:
        self.assertEqual(self.documented, set(self.keys("", Configuration())))

    def keys(self, above: str, table: object) -> list[str]:
        found: list[str] = []
        for each in dataclasses.fields(table):  # type: ignore[arg-type]  # always a table of ours
            value = getattr(table, each.name)
            if each.name == "options":
                continue
            if each.name == "policy":
                found += self.keys("policy.", PolicyChoice())
            elif each.name == "route":
                found += self.keys("route.", RouteRule())
            elif each.name == "imap_client":
                found += self.keys("imap_client.", IMAPClient())
            elif each.name in ("auth", "courier"):
                found += self.keys(f"{each.name}.", value[0])
            elif dataclasses.is_dataclass(value):
                found += self.keys(f"{each.name}.", value)
            else:
                found.append(above + each.name)
        return found
