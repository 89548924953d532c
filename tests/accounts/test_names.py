from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.accounts.names import NotAName, default_domain, full_name
from tests.accounts.test_passwords import make_site


class NameTests(SynchronousTestCase):
    def test_names_that_mean_an_account(self) -> None:
        for typed, name in [
            ("ann", "ann@example.org"),
            ("Ann", "ann@example.org"),
            ("ANN@Example.ORG", "ann@example.org"),
            ("ann@example.org.", "ann@example.org"),
            ("a.b+c@example.com", "a.b+c@example.com"),
            ("o'neil@example.org", "o'neil@example.org"),
            ("하늘@예시.한국", "하늘@예시.한국"),
            ("ann@" + "예시.한국".encode("idna").decode(), "ann@예시.한국"),
            ("e\u0301ric@example.org", "éric@example.org"),
        ]:
            self.assertEqual(full_name(typed, "example.org"), name)

    def test_names_that_cannot_be(self) -> None:
        for typed in [
            "",
            "@",
            "@example.org",
            "ann@",
            "ann@.",
            "ann@exa mple.org",
            "ann@example..org",
            "ann@-example.org",
            "ann@../etc",
            "ann\n",
            "ann@example.org\n",
            "ann\r@example.org",
            "ann\0@example.org",
            "a nn@example.org",
            "..@example.org",
            ".ann@example.org",
            "ann.@example.org",
            "a/b@example.org",
            "a\\b@example.org",
            '"ann"@example.org',
            "a:b@example.org",
            "ann@bob@example.org",
            "ann@xn--0",
            "ann\u202e@example.org",
            "\udcff@example.org",
            "a" * 250 + "@example.org",
        ]:
            with self.assertRaises(NotAName, msg=repr(typed)):
                full_name(typed, "example.org")

    def test_bare_name_needs_a_default(self) -> None:
        with self.assertRaises(NotAName):
            full_name("ann", "")

    def test_default_domain_is_the_only_one(self) -> None:
        self.assertEqual(default_domain(make_site("/nowhere", "example.org")), "example.org")
        self.assertEqual(default_domain(make_site("/nowhere", "example.org", "example.com")), "")

    @given(st.text(max_size=40))
    def test_a_name_is_its_own_full_name(self, typed: str) -> None:
        try:
            name = full_name(typed, "example.org")
        except NotAName:
            return
        self.assertEqual(full_name(name, ""), name)
        self.assertNotRegex(name, r"[\s\x00-\x1f/\\:]")
