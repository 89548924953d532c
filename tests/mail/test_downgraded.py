import time
from email import message_from_bytes
from email.policy import default
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.downgraded import downgraded_field, downgrader_of

MULTIPART = (
    "Subject: ASCII\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nпреамбула\r\n"
    '--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: attachment;\r\n filename="résumé.txt"'
    "\r\n\r\nтело\r\n.dot\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: вложение\r\n\r\nтело\r\n--b--\r\nэпилог"
).encode()
#: Octets of which headers of all kinds can be made.
PIECES = [
    b"\r\n",
    b"From: ",
    b"To: ",
    b"Subject: ",
    b"Received: ",
    b"Message-ID: ",
    b"Content-Type: ",
    b"\r\n ",
    b":",
    b";",
]
PIECES += [
    "ü".encode(),
    "하늘".encode(),
    b"\xff",
    b"@",
    b"<",
    b">",
    b'"',
    b"(",
    b")",
    b",",
    b"a",
    b" for ",
    b"\\",
    b"=",
]
PIECES += [b"\n", b"multipart/mixed; boundary=b", b"\r\n--b\r\n", b"\r\n\r\n"]


def downgraded(octets: bytes, *cuts: int) -> bytes:
    found = downgrader_of(octets)
    if found is None:
        return octets
    edges = sorted({0, *(cut for cut in cuts if cut < len(octets)), len(octets)})
    return b"".join(found.feed(octets[start:end]) for start, end in pairwise(edges)) + found.close()


class FieldTests(SynchronousTestCase):
    def test_table(self) -> None:
        for raw, expected in [
            ("From: ann@example.org", "From: ann@example.org"),
            ("From: Jürgen <j@example.org>", "From: =?utf-8?B?SsO8cmdlbg==?= <j@example.org>"),
            ("To: ü@example.org", "To: =?utf-8?B?w7xAZXhhbXBsZS5vcmc=?= :;"),
            ("To: ann@example.org, ü@x", "To: ann@example.org,\r\n =?utf-8?B?w7xAeA==?= :;"),
            ('Cc: "A, B" <a@b.c>, J <ü@x>', 'Cc: "A, B" <a@b.c>,\r\n J =?utf-8?B?w7xAeA==?= :;'),
            ("Cc: Ü <ü@x>", "Cc: =?utf-8?B?w5wgw7xAeA==?= :;"),
            ("Cc: G: a@b.c, ü@x;", "Cc: G =?utf-8?B?YUBiLmMsIMO8QHg=?= :;"),
            (
                "Cc: J <j@bücher.example>, k@bücher.example",
                "Cc: J <j@xn--bcher-kva.example>,\r\n k@xn--bcher-kva.example",
            ),
            ("Cc: G: a@bücher.example;", "Cc: G: a@xn--bcher-kva.example;"),
            ("Cc: Grüppe: a@b.c, d@e.f;", "Cc: =?utf-8?B?R3LDvHBwZQ==?=: a@b.c, d@e.f;"),
            ("Message-Id: <ü@x>", "Downgraded-Message-Id: =?utf-8?B?PMO8QHg+?="),
            ("References: <a@x> <ü@x>", "Downgraded-References: =?utf-8?B?PGFAeD4gPMO8QHg+?="),
            (
                "Received: from a by b with UTF8SMTP id 1 for <ü@x>; Mon, 1 Jan 2024 10:00:00 +0000",
                "Received: from a by b with UTF8SMTP id 1; Mon, 1 Jan 2024 10:00:00 +0000",
            ),
            (
                "Received: from bücher.example (bücher) by b for <a@Bücher.example>",
                "Received: from xn--bcher-kva.example (=?utf-8?B?YsO8Y2hlcg==?=) by b for <a@xn--bcher-kva.example>",
            ),
            (
                "Received: from a by b with UTF8SMTP id ü1 for <a@b>; x",
                "Received: from a by b with UTF8SMTP for <a@b>; x",
            ),
            ("Message-Id: (ü) <a@x>", "Message-Id: (=?utf-8?B?w7w=?=) <a@x>"),
            ("Subject: für", "Subject: =?utf-8?B?ZsO8cg==?="),
            ("Content-Disposition: inline; filename=ü", "Content-Disposition: inline; filename*=utf-8''%C3%BC"),
            ("X-Own: ü", "X-Own: =?utf-8?B?w7w=?="),
        ]:
            self.assertEqual(downgraded_field(f"{raw}\r\n".encode()), f"{expected}\r\n".encode())

    def test_what_is_no_utf_8_stays(self) -> None:
        raw = b"Subject: \xc7\xd1\xb1\xdb\r\n"
        self.assertEqual(downgraded_field(raw), raw)

    def test_white_space_without_end(self) -> None:
        """A regular expression that tried each space as the first would take minutes."""
        raw = b"Received: a" + b" " * 500_000 + "forü; b\r\n".encode()
        began = time.process_time()
        self.assertTrue(downgraded_field(raw).isascii())
        self.assertLess(time.process_time() - began, 5)

    def test_a_domain_without_end(self) -> None:
        began = time.process_time()
        self.assertTrue(downgraded_field(f"Received: from {'ü' * 200_000} by b; x\r\n".encode()).isascii())
        self.assertLess(time.process_time() - began, 5)

    def test_a_reader_finds_the_addresses(self) -> None:
        field = downgraded_field('To: "Jürgen, X" <a@b.c>, "x y"@b.c, Ann <ann@b.c>\r\n'.encode())
        read = message_from_bytes(field + b"\r\n", policy=default)["to"].addresses
        self.assertEqual([each.addr_spec for each in read], ["a@b.c", '"x y"@b.c', "ann@b.c"])
        self.assertEqual(read[0].display_name, "Jürgen, X")


class MessageTests(SynchronousTestCase):
    def test_nothing_to_do(self) -> None:
        for octets in (b"", b"Subject: x\r\n\r\n", "Subject: x\r\n\r\nтело".encode()):
            self.assertIsNone(downgrader_of(octets))
        plain = (
            MULTIPART.partition("эпилог".encode())[0]
            .replace("résumé".encode(), b"resume")
            .replace("вложение".encode(), b"x")
        )
        self.assertIsNone(downgrader_of(plain))

    def test_parts(self) -> None:
        octets = downgraded(MULTIPART)
        expected = MULTIPART.replace('filename="résumé.txt"'.encode(), b"filename*=utf-8''r%C3%A9sum%C3%A9.txt")
        self.assertEqual(octets, expected.replace("вложение".encode(), b"=?utf-8?B?0LLQu9C+0LbQtdC90LjQtQ==?="))

    def test_hyphens_before_a_part(self) -> None:
        """Whatever looks nearly like a delimiter, and however often, the part behind it is found."""
        for line in (b"-", b"-" * 100, b"- - -", b"a--b", b"-\r\n" * 50):
            octets = MULTIPART.replace(b"\r\n\r\n", b"\r\n\r\n" + line + b"\r\n", 1)
            self.assertIsNotNone(downgrader_of(octets), line)

    def test_large_body(self) -> None:
        body = ("строка\r\n" * 100_000).encode()
        self.assertEqual(
            downgraded("Subject: ü\r\n\r\n".encode() + body, 100_000), b"Subject: =?utf-8?B?w7w=?=\r\n\r\n" + body
        )

    @given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join), st.lists(st.integers(0, 200), max_size=4))
    def test_any_message_in_any_pieces(self, octets: bytes, cuts: list[int]) -> None:
        whole = downgraded(octets)
        self.assertEqual(downgraded(octets, *cuts), whole)
        if b"\xff" not in octets and b"\n" not in octets.replace(b"\r\n", b"") and not octets.startswith(b"\r\n"):
            self.assertTrue(whole.partition(b"\r\n\r\n")[0].isascii(), whole)
