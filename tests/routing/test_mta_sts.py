from __future__ import annotations

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.routing.mta_sts import LONGEST_AGE, Mode, Policy, PolicyInvalid, read_policy, read_record

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


class RecordTests(SynchronousTestCase):
    def test_right(self) -> None:
        for record in (
            b"v=STSv1; id=20160831085700Z;",
            b"v=STSv1;id=20160831085700Z",
            b"v=STSv1 ;\tid=20160831085700Z ; ",
            b"v=STSv1; x-more=1; id=20160831085700Z; other=<y>;",
        ):
            self.assertEqual(read_record([b"v=spf1 -all", record]), "20160831085700Z", record)

    def test_wrong(self) -> None:
        for records in (
            [],
            [b"v=STSv1"],
            [b"v=STSv1;"],
            [b"v=STSv1; id="],
            [b"v=STSv1; id=" + b"1" * 33],
            [b"v=STSv1; id=a-b"],
            [b"v=STSv1; id=1; =x"],
            [b"v=STSv1; id=1;; id=2"],
            [b"v=STSv10; id=1"],
            [b"V=STSv1; id=1"],
            [b" v=STSv1; id=1"],
            [b"id=1; v=STSv1"],
            [b"v=STSv1; id=1;", b"v=STSv1; id=2;"],
        ):
            self.assertIsNone(read_record(records), records)

    @given(st.lists(st.binary(max_size=60), max_size=3), st.binary(max_size=60))
    def test_any(self, records: list[bytes], ending: bytes) -> None:
        found = read_record([*records, b"v=STSv1;" + ending])
        self.assertTrue(found is None or (found.isalnum() and 0 < len(found) <= 32))


class PolicyTests(SynchronousTestCase):
    def test_right(self) -> None:
        policy = Policy(Mode.ENFORCE, ("mail.example.com", "*.example.net"), 604_800)
        self.assertEqual(read_policy(GOOD), policy)
        self.assertEqual(read_policy(GOOD.replace(b"\r\n", b"\n").rstrip()), policy)
        self.assertEqual(read_policy(b"new_field: 1\n" + GOOD + b"mode: none\nmax_age: 1\n\n"), policy)
        self.assertEqual(read_policy(b"version:STSv1\nmode:none\nmax_age:5"), Policy(Mode.NONE, (), 5))
        self.assertEqual(read_policy("\n".join(policy.lines()).encode()), policy)
        self.assertEqual(read_policy(GOOD.replace(b"604800", b"9999999999")).max_age, LONGEST_AGE)
        self.assertEqual(read_policy(GOOD.replace(b"mail.example.com", "예시.Example.".encode())).mx[0][:4], "xn--")

    def test_wrong(self) -> None:
        for octets in (
            b"",
            b"<html></html>",
            GOOD.replace(b"STSv1", b"STSv2"),
            GOOD.replace(b"mode: enforce\r\n", b""),
            GOOD.replace(b"enforce", b"Enforce"),
            GOOD.replace(b"max_age: 604800\r\n", b""),
            GOOD.replace(b"604800", b"-1"),
            GOOD.replace(b"604800", b"1" * 11),
            GOOD.replace(b"mx: ", b"m: "),
            GOOD.replace(b"mail.example.com", b"a..b"),
            GOOD.replace(b"mail.example.com", b""),
            GOOD + b"no field\r\n",
            GOOD + b"\xff: 1\r\n",
            GOOD + b"x: " + b"y" * 70_000,
            GOOD + b"mx: a.example\n" * 0 + b"".join(b"mx: h%d.example\n" % n for n in range(200)),
        ):
            with self.assertRaises(PolicyInvalid, msg=octets[:100]):
                read_policy(octets)

    def test_which_hosts_match(self) -> None:
        policy = read_policy(GOOD)
        for host in ("mail.example.com", "MAIL.example.com", "a.example.net"):
            self.assertTrue(policy.names(host), host)
        for host in ("example.net", "a.b.example.net", "mail.example.org", "xmail.example.com", "*.example.net2", ""):
            self.assertFalse(policy.names(host), host)

    @given(st.binary(max_size=300))
    @example(GOOD)
    @example("\u3000mail.example.com".encode())
    def test_any_octets(self, octets: bytes) -> None:
        for whole in (octets, GOOD + octets, GOOD.replace(b"mail.example.com", octets)):
            with contextlib.suppress(PolicyInvalid):
                policy = read_policy(whole)
                self.assertEqual(read_policy("\n".join(policy.lines()).encode()), policy)
