"""LIST patterns and what they show."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap import tree
from mailfw.imap.grammar_mailboxes import ListRequest
from mailfw.mail.mailbox import MailboxInfo, Path, Role


def infos(*names: str, roles: dict[str, Role] | None = None) -> dict[Path, MailboxInfo]:
    return {
        (path := tuple(name.split("/"))): MailboxInfo(
            name, path, (roles or {}).get(name), 1, 1, 1, 1, 0, 0, 0, 0, False
        )
        for name in names
    }


def shown(names: dict[Path, MailboxInfo], pattern: str, reference: str = "") -> list[str]:
    return ["/".join(entry.path) for entry in tree.list_entries(names, (), ListRequest(reference, (pattern,)))]


class Patterns(SynchronousTestCase):
    def test_wildcards(self) -> None:
        names = infos("INBOX", "a", "a/b", "a/b/c", "ab", "한/글")
        for pattern, expected in (
            ("*", ["INBOX", "a", "a/b", "a/b/c", "ab", "한", "한/글"]),
            ("%", ["INBOX", "a", "ab", "한"]),
            ("a/%", ["a/b"]),
            ("a*", ["a", "a/b", "a/b/c", "ab"]),
            ("%/%", ["a/b", "한/글"]),
            ("%b", ["ab"]),
            ("*b", ["a/b", "ab"]),
            ("inbox", ["INBOX"]),
            ("iNb%", ["INBOX"]),
            ("A", []),
            ("a", ["a"]),
            ("", []),
        ):
            self.assertEqual(shown(names, pattern), expected, pattern)
        self.assertEqual(shown(names, "%", "a/"), ["a/b"])

    def test_what_is_below_the_inbox_is_found_in_upper_and_lower_case(self) -> None:
        names = infos("INBOX", "INBOX/box", "inland")
        self.assertEqual(shown(names, "in*"), ["INBOX", "INBOX/box", "inland"])
        self.assertEqual(shown(names, "Inbox/%"), ["INBOX/box"])
        self.assertEqual(shown(names, "*x"), ["INBOX", "INBOX/box"])
        self.assertEqual(shown(names, "INBOX/BOX"), [])

    def test_wildcards_stand_between_the_letters_of_modified_utf7(self) -> None:
        names = infos("a&b", "한/글", "한국")
        self.assertEqual(shown(names, "&*"), ["한", "한/글", "한국"])
        self.assertEqual(shown(names, "&1V%"), ["한", "한국"])
        self.assertEqual(shown(names, "&1VytbQ-"), ["한국"])
        self.assertEqual(shown(names, "a&"), [])
        self.assertEqual(shown(names, "%", "한/"), ["한/글"])

    @given(st.text("ab/*%", max_size=12), st.text("ab/", max_size=12))
    def test_they_match_what_a_regular_expression_would(self, pattern: str, name: str) -> None:
        expression = re.escape(pattern).replace(r"\*", ".*").replace("%", "[^/]*")
        self.assertEqual(tree.Pattern(pattern).matches(name), re.fullmatch(expression, name) is not None)

    @given(st.lists(st.text("ab*%/", max_size=4), max_size=5), st.text("ab/", max_size=6))
    def test_many_match_what_one_of_them_does(self, patterns: list[str], name: str) -> None:
        alone = any(tree.Pattern(each).matches(name) for each in patterns)
        self.assertEqual(tree.Pattern(*patterns).matches(name), alone)

    def test_no_pattern_takes_long(self) -> None:
        self.assertFalse(tree.Pattern("%a" * 1000 + "b").matches("a" * 2000))


class Attributes(SynchronousTestCase):
    def entries(self, names: dict[Path, MailboxInfo], request: ListRequest) -> dict[str, tuple[str, ...]]:
        return {"/".join(entry.path): entry.attributes for entry in tree.list_entries(names, (), request)}

    def test_a_name_without_a_mailbox_cannot_be_selected(self) -> None:
        entries = self.entries(infos("a/b", "c"), ListRequest("", ("*",)))
        self.assertEqual(
            entries, {"a": ("\\Noselect", "\\HasChildren"), "a/b": ("\\HasNoChildren",), "c": ("\\HasNoChildren",)}
        )

    def test_no_two_mailboxes_have_one_use(self) -> None:
        names = infos("Sent", "Sent Items", roles={"Sent": Role.SENT, "Sent Items": Role.SENT})
        entries = self.entries(names, ListRequest("", ("*",), only_special_use=True))
        self.assertEqual(entries, {"Sent": ("\\HasNoChildren", "\\Sent")})

    def test_subscriptions(self) -> None:
        request = ListRequest("", ("*",), only_subscribed=True, show_subscribed=True, is_extended=True)
        entries = {
            entry.path: entry.attributes for entry in tree.list_entries(infos("a", "b"), {("a",), ("x",)}, request)
        }
        self.assertEqual(
            entries,
            {
                ("a",): ("\\HasNoChildren", "\\Subscribed"),
                ("x",): ("\\NonExistent", "\\HasNoChildren", "\\Subscribed"),
            },
        )

    def test_who_may_not_read_cannot_select(self) -> None:
        names = infos("a")
        names[("a",)] = replace(names[("a",)], rights=frozenset("l"))
        self.assertEqual(
            self.entries(names, ListRequest("", ("*",), is_extended=True)), {"a": ("\\Noselect", "\\HasNoChildren")}
        )


class Recursive(SynchronousTestCase):
    """RECURSIVEMATCH, on the tree of RFC 5258 section 5, examples 8 to 10."""

    def shown(self, pattern: str, subscribed: list[str], *existing: str) -> list[tuple[str, bool, bool, bool]]:
        request = ListRequest("", (pattern,), True, show_subscribed=True, with_parents=True, is_extended=True)
        paths = [tuple(name.split("/")) for name in subscribed]
        return [
            ("/".join(each.path), "\\NonExistent" in each.attributes, each.is_chosen, each.subscribed_below)
            for each in tree.list_entries(infos(*existing), paths, request)
        ]

    def test_others_have_their_turn_before_anything_is_shown(self) -> None:
        known = infos(*(f"a/{number}" for number in range(500)))
        request = ListRequest("", ("%",), only_subscribed=True, show_subscribed=True, with_parents=True)
        walked = tree.walk(known, known.keys(), request)
        before = next(at for at, entry in enumerate(walked) if entry is not None)
        self.assertGreaterEqual(before, 500)

    def test_a_parent_is_shown_for_what_the_pattern_does_not_reach(self) -> None:
        self.assertEqual(self.shown("%", ["foo/bar"], "foo", "foo/bar", "x"), [("foo", False, False, True)])
        self.assertEqual(self.shown("%", ["foo/bar/baz"], "x"), [("foo", True, False, True)])
        self.assertEqual(self.shown("foo", ["foo/bar"], "foo", "foo/bar"), [("foo", False, False, True)])

    def test_no_parent_is_shown_for_what_is_shown_itself(self) -> None:
        self.assertEqual(self.shown("*", ["foo/bar"], "foo", "foo/bar"), [("foo/bar", False, True, False)])

    def test_what_is_chosen_itself_says_what_is_below_it_in_any_case(self) -> None:
        existing = ("foo", "foo/bar", "foo/x")
        expected = [("foo", False, True, True), ("foo/bar", False, True, False)]
        self.assertEqual(self.shown("*", ["foo", "foo/bar"], *existing), expected)
        self.assertEqual(self.shown("%", ["foo", "foo/bar"], *existing), expected[:1])
        self.assertEqual(self.shown("%", ["foo"], *existing), [("foo", False, True, False)])

    def test_uses_and_subscriptions_together(self) -> None:
        names = infos("a", "a/Sent", "b", roles={"a/Sent": Role.SENT})
        request = ListRequest("", ("%",), True, True, True, True, True)
        found = list(tree.list_entries(names, {("a", "Sent"), ("b",)}, request))
        self.assertEqual(
            [(each.path, each.is_chosen, each.subscribed_below) for each in found], [(("a",), False, True)]
        )


class Subscribed(SynchronousTestCase):
    def lsub(self, pattern: str, *names: str) -> list[tuple[str, tuple[str, ...]]]:
        paths = [tuple(name.split("/")) for name in names]
        entries = filter(None, tree.walk_subscribed(paths, paths, ListRequest("", (pattern,))))
        return [("/".join(entry.path), entry.attributes) for entry in entries]

    def test_percent_shows_what_is_above_a_subscribed_name(self) -> None:
        self.assertEqual(self.lsub("%", "foo/bar", "a"), [("a", ()), ("foo", ("\\Noselect",))])
        self.assertEqual(self.lsub("%", "foo/bar", "foo"), [("foo", ())])
        self.assertEqual(self.lsub("*", "foo/bar"), [("foo/bar", ())])
        self.assertEqual(self.lsub("foo/%", "foo/bar/x"), [("foo/bar", ("\\Noselect",))])
        self.assertEqual(self.lsub("*%", "foo/bar"), [("foo/bar", ())])

    def test_a_name_without_a_mailbox_cannot_be_selected(self) -> None:
        walked = tree.walk_subscribed([("a",)], [("a",), ("b",)], ListRequest("", ("*",)))
        entries = list(filter(None, walked))
        self.assertEqual([entry.attributes for entry in entries], [(), ("\\Noselect",)])


class Moves(SynchronousTestCase):
    def test_everything_below_goes_along(self) -> None:
        moved = tree.moved([("a",), ("a", "b"), ("ab",)], ("a",), ("z", "y"))
        self.assertEqual(moved, {("a",): ("z", "y"), ("a", "b"): ("z", "y", "b")})
        self.assertEqual(tree.tops(moved), [("a",)])
        self.assertEqual(sorted(tree.tops([("a", "b"), ("a", "c"), ("a", "c", "d")])), [("a", "b"), ("a", "c")])
