"""Finding the parts of a message, whatever it is and however it comes."""

import email
import email.message
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailfw.mail import mime
from mailfw.mail.mime import Part, Scanner, find_part
from mailfw.mail.part_table import decode_parts, encode_parts

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"

#: Delimiters that follow each other at once, with nothing between them: the library takes them for one.
DOUBLED = ("james-mime4j-double-bound.msg.eml", "james-mime4j-2002_06_12_doublebound.msg.eml")

#: A message that has every kind of part; the names of the parts are their contents.
NESTED = b"""\
From: ann@example.org\r
Content-Type: multipart/mixed; boundary=outer\r
\r
preamble\r
--outer\r
\r
one\r
--outer\r
Content-Type: multipart/alternative; boundary="outer2"\r
\r
--outer2\r
Content-Type: text/plain; charset=utf-8\r
\r
two.one\r
\r
--outer2  \r
Content-Type: text/html\r
Content-Transfer-Encoding: BASE64\r
\r
dHdvLnR3bw==\r
--outer2--\r
epilogue of two\r
--outer\r
Content-Type: message/rfc822\r
Content-Disposition: attachment; filename=mail.eml\r
\r
Subject: three\r
Content-Type: multipart/mixed; boundary=inner\r
\r
--inner\r
\r
three.one\r
--inner\r
Content-Type: message/rfc822\r
\r
Subject: three.two\r
\r
three.two.one\r
--inner--\r
--outer\r
Content-Type: image/png\r
\r
--outer--\r
epilogue\r
"""


def scan(octets: bytes, size: int = 2**30) -> Part:
    scanner = Scanner()
    for start in range(0, len(octets), size):
        scanner.feed(octets[start : start + size])
    return scanner.finish()


def body(message: bytes, part: Part | None) -> bytes:
    assert part is not None
    return message[part.body_start : part.body_start + part.body_size]


def shape(part: Part) -> object:
    """The tree as nested lists of subtypes."""
    return [part.subtype, *map(shape, part.children)] if part.children else part.subtype


def corpus() -> dict[str, bytes]:
    """The messages of the corpus, with the line ends that stores give them."""
    files = sorted(CORPUS.rglob("*.eml"))
    if not files:
        raise SkipTest("There is no ../shared/corpus beside the checkout")
    return {file.name: re.sub(rb"\r?\n", b"\r\n", file.read_bytes()) for file in files}


class Nested(SynchronousTestCase):
    def test_shape(self) -> None:
        self.assertEqual(
            shape(scan(NESTED)),
            [
                "mixed",
                "plain",
                ["alternative", "plain", "html"],
                ["rfc822", ["mixed", "plain", ["rfc822", "plain"]]],
                "png",
            ],
        )

    def test_bodies(self) -> None:
        root = scan(NESTED)
        for numbers, octets in (
            ((1,), b"one"),
            ((2, 1), b"two.one\r\n"),
            ((2, 2), b"dHdvLnR3bw=="),
            ((3, 1), b"three.one"),
            ((3, 2, 1), b"three.two.one"),
            ((4,), b""),
        ):
            self.assertEqual(body(NESTED, find_part(root, numbers)), octets, numbers)
        self.assertTrue(body(NESTED, find_part(root, (2,))).endswith(b"epilogue of two"))
        self.assertTrue(body(NESTED, root).endswith(b"epilogue\r\n"))

    def test_numbers_without_a_part(self) -> None:
        root = scan(NESTED)
        for numbers in ((0,), (5,), (1, 1), (2, 3), (3, 1, 1), (3, 2, 2), (3, 2, 1, 1), (4, 1)):
            self.assertIsNone(find_part(root, numbers), numbers)

    def test_the_only_part_is_the_message(self) -> None:
        root = scan(b"Subject: x\r\n\r\nbody")
        self.assertIs(find_part(root, (1,)), root)
        self.assertIsNone(find_part(root, (2,)))
        self.assertIsNone(find_part(root, (1, 1)))

    def test_a_message_that_is_a_message(self) -> None:
        octets = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody"
        root = scan(octets)
        self.assertEqual(body(octets, find_part(root, (1,))), b"Subject: in\r\n\r\nbody")
        self.assertEqual(body(octets, find_part(root, (1, 1))), b"body")

    def test_facts(self) -> None:
        root = scan(NESTED)
        part = find_part(root, (2, 2))
        assert part is not None
        self.assertEqual((part.type, part.subtype, part.encoding), ("text", "html", "base64"))
        part = find_part(root, (3,))
        assert part is not None
        self.assertEqual((part.disposition, part.disposition_parameters), ("attachment", (("filename", "mail.eml"),)))
        assert part.message is not None
        self.assertIn(b"Subject: three\r\n", part.message.head)

    def test_lines(self) -> None:
        root = scan(NESTED)
        self.assertEqual(root.lines, NESTED.split(b"\r\n\r\n", 1)[1].count(b"\n"))
        part = find_part(root, (2, 1))
        assert part is not None
        self.assertEqual(part.lines, 1)

    def test_bare_lf(self) -> None:
        octets = NESTED.replace(b"\r\n", b"\n")
        root = scan(octets)
        self.assertEqual(shape(root), shape(scan(NESTED)))
        self.assertEqual(body(octets, find_part(root, (2, 1))), b"two.one\n")

    def test_any_split_is_the_same(self) -> None:
        whole = scan(NESTED)
        for size in range(1, 60):
            self.assertEqual(scan(NESTED, size), whole, size)


class Broken(SynchronousTestCase):
    def check(self, octets: bytes, expected: object) -> Part:
        root = scan(octets)
        self.assertEqual(shape(root), expected)
        self.assertEqual(scan(octets, 1), root)
        self.check_offsets(octets, root)
        return root

    def check_offsets(self, octets: bytes, root: Part) -> None:
        self.assertEqual(root.header_size + root.body_size, len(octets))
        pending = [root]
        while pending:
            part = pending.pop()
            self.assertEqual(part.lines, body(octets, part).count(b"\n"))
            at = part.body_start
            for child in part.children:
                self.assertGreaterEqual(child.header_start, at)
                at = child.body_start + child.body_size
                self.assertGreaterEqual(child.body_size, 0)
            self.assertLessEqual(at, part.body_start + part.body_size)
            pending += part.children

    def test_empty(self) -> None:
        self.check(b"", "plain")

    def test_header_only(self) -> None:
        root = self.check(b"Subject: x\r\nContent-Type: text/html", "html")
        self.assertEqual(root.header_size, 35)
        self.check(b"Subject: x\r\n", "plain")
        self.check(b"Content-Type: message/rfc822", ["rfc822", "plain"])

    def test_no_header(self) -> None:
        self.assertEqual(self.check(b"\r\nbody", "plain").header_size, 2)

    def test_multipart_without_boundary_is_text(self) -> None:
        self.check(b"Content-Type: multipart/mixed\r\n\r\nbody", "plain")

    def test_multipart_without_parts(self) -> None:
        self.assertEqual(self.check(b"Content-Type: multipart/mixed; boundary=x\r\n\r\nbody", "mixed").children, ())

    def test_missing_end(self) -> None:
        octets = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\none\r\n--x\r\n\r\ntwo\r\n"
        root = self.check(octets, ["mixed", "plain", "plain"])
        self.assertEqual(body(octets, root.children[1]), b"two\r\n")

    def test_end_of_outer_ends_inner(self) -> None:
        self.check(
            b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
            b"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nlost\r\n--o\r\n\r\ntwo\r\n--o--",
            ["mixed", ["mixed", "plain"], "plain"],
        )

    def test_delimiter_in_a_header_ends_it(self) -> None:
        octets = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nSubject: y\r\n--x\r\n\r\ntwo\r\n--x--\r\n"
        root = self.check(octets, ["mixed", "plain", "plain"])
        self.assertEqual((root.children[0].header_size, root.children[0].body_size), (10, 0))

    def test_line_end_before_a_delimiter_is_not_of_the_part(self) -> None:
        """RFC 2046 section 5.1.1: nor is it where the part has nothing but a header, or not even that."""
        octets = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n--x\r\nA: b\r\n\r\n--x\r\n"
        octets += b"C: d\r\n\r\n\r\n--x\r\n"
        octets += b"Content-Type: message/rfc822\r\n\r\nSubject: e\r\n\r\n--x--"
        root = self.check(octets, ["mixed", "plain", "plain", "plain", ["rfc822", "plain"]])
        sizes = [(part.header_size, part.body_size, part.lines) for part in root.children]
        self.assertEqual(sizes, [(0, 0, 0), (6, 0, 0), (8, 0, 0), (32, 12, 1)])
        self.assertEqual(root.children[3].children[0].header_size, 12)

    def test_delimiters_one_after_the_other(self) -> None:
        self.check(
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x\r\n\r\n--x\r\n\r\n\r\n--x--",
            ["mixed", "plain", "plain", "plain"],
        )

    def test_boundary_in_its_parent_too(self) -> None:
        self.check(
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nin\r\n--x--\r\n--x\r\n\r\nout\r\n--x--\r\n",
            ["mixed", ["mixed", "plain"], "plain"],
        )

    def test_line_that_begins_with_a_delimiter(self) -> None:
        """RFC 2046 section 5.1.1: the rest of the line does not matter."""
        octets = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\none\r\n--xy\r\n\r\ntwo\r\n"
        octets += b"--x--z\r\n\r\n--x\r\n"
        root = self.check(octets, ["mixed", "plain", "plain"])
        self.assertEqual([body(octets, part) for part in root.children], [b"one", b"two"])
        self.check(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n --x\r\n- -x\r\n-- x\r\n--X\r\n", "mixed")

    def test_boundaries_that_begin_alike(self) -> None:
        """Of several that a line begins with, the longest counts; of those that are all of it, the innermost."""
        for outer, inner, line, expected in (
            (b"x", b"xy", b"--xy", ["mixed", ["mixed", "plain", "plain"]]),
            (b"xy", b"x", b"--xy", ["mixed", ["mixed", "plain"], "plain"]),
            (b"x", b"xy", b"--xz", ["mixed", ["mixed", "plain"], "plain"]),
            (b"xa", b"x", b"--xab", ["mixed", ["mixed", "plain"], "plain"]),
            (b"x", b"xa", b"--xb", ["mixed", ["mixed", "plain"], "plain"]),
            (b"x--", b"x", b"--x--", ["mixed", ["mixed", "plain"]]),
            (b"x", b"x--", b"--x--", ["mixed", ["mixed", "plain", "plain"]]),
        ):
            head = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n"
            octets = head % (outer, outer) + head % (inner, inner) + b"\r\n" + line + b"\r\n\r\nmore"
            self.check(octets, expected)

    def test_delimiter_that_never_ends(self) -> None:
        octets = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n--x" + b" " * 5000 + b"\r\n--x--"
        self.check(octets, ["mixed", "plain"])

    def test_digest(self) -> None:
        self.check(
            b"Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\nSubject: in\r\n\r\nbody\r\n"
            b"--x\r\nContent-Type: text/plain\r\n\r\ntext\r\n--x--",
            ["digest", ["rfc822", "plain"], "plain"],
        )

    def test_depth_is_bounded(self) -> None:
        octets = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%03d\r\n\r\n--b%03d\r\n" % (at, at) for at in range(300)
        )
        root, depth = scan(octets), 0
        while root.children:
            root, depth = root.children[0], depth + 1
        self.assertEqual(depth, mime.MAX_DEPTH - 1)
        self.assertEqual((root.type, root.subtype), ("application", "octet-stream"))
        self.assertTrue(body(octets, root).endswith(b"--b299\r\n"))
        deep = b"Content-Type: message/rfc822\r\n\r\n" * 300
        self.assertEqual(decode_parts(encode_parts(scan(deep))), scan(deep))

    def test_number_of_parts_is_bounded(self) -> None:
        octets = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\npart\r\n" * 1500 + b"--x--\r\n"
        root = scan(octets)
        self.assertEqual(len(root.children), mime.MAX_PARTS - 1)
        self.assertTrue(body(octets, root.children[-1]).endswith(b"--x--\r\n"))
        self.assertEqual(scan(octets, 700), root)

    def test_a_part_too_many_changes_no_other(self) -> None:
        """What is remembered of Content fields stays as it was where a message within is opaque."""
        within = b"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n"
        head = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
        first, *_, last = scan(head + within * mime.MAX_PARTS).children
        self.assertEqual([first.type, last.type], ["message", "application"])
        self.assertEqual([each.type for each in scan(head + within * 2).children], ["message"] * 2)

    def test_header_is_looked_at_in_part(self) -> None:
        octets = b"X: " + b"x" * 300_000 + b"\r\nContent-Type: text/html\r\n\r\nbody"
        root = self.check_large(octets)
        self.assertEqual(root.subtype, "plain")
        self.assertEqual(len(root.head), mime.MAX_HEADER)
        self.assertEqual(body(octets, root), b"body")

    def check_large(self, octets: bytes) -> Part:
        root = scan(octets)
        self.assertEqual(scan(octets, 1000), root)
        return root

    def test_all_headers_together_are_bounded(self) -> None:
        one = b"--x\r\nContent-Type: message/rfc822\r\n\r\nX: " + b"x" * 200_000 + b"\r\n\r\nbody\r\n"
        octets = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + one * 12
        root = self.check_large(octets)
        heads = [part.message.head for part in root.children if part.message is not None]
        self.assertLessEqual(sum(map(len, heads)), mime.MAX_HEADERS)
        self.assertEqual(len(root.children), 12)


class Types(SynchronousTestCase):
    def test_content_type(self) -> None:
        for value, expected in (
            (b"TEXT/HTML; Charset=UTF-8", ("text", "html", (("Charset", "UTF-8"),))),
            (b'text/plain; name="a \\"b\\""; x=y', ("text", "plain", (("name", 'a "b"'), ("x", "y")))),
            (b"text/plain (comment; a=b); c=d", ("text", "plain", (("c", "d"),))),
            (b"text", ("text", "plain", ())),
            (b"", ("text", "plain", ())),
            (b"nonsense; a=b", ("text", "plain", ())),
            (b"image/png; name=my file.png; x=a b", ("image", "png", (("name", "my file.png"), ("x", "a")))),
            (b'text/plain; name="never closed', ("text", "plain", (("name", "never closed"),))),
            (b"text/plain;; a=b;", ("text", "plain", (("a", "b"),))),
        ):
            part = scan(b"Content-Type: " + value + b"\r\n\r\n")
            self.assertEqual((part.type, part.subtype, part.parameters), expected, value)

    def test_what_cannot_be_read_is_as_if_it_were_not_there(self) -> None:
        for value in (b"a/b/c; d=e", b"text/pl@in", b"te(c)xt", b"text/", b"/plain", b"[a]/b"):
            part = scan(b"Content-Type: " + value + b"\r\n\r\n")
            self.assertEqual((part.type, part.subtype, part.parameters), ("text", "plain", ()), value)
        for value, expected in (
            (b"Base64 (c)", "base64"),
            (b"base64;", "base64"),
            (b"x-other", "x-other"),
            (b"base 64", "7bit"),
            (b'"base64"', "7bit"),
        ):
            self.assertEqual(scan(b"Content-Transfer-Encoding: " + value + b"\r\n\r\n").encoding, expected, value)

    def test_language_with_comments(self) -> None:
        part = scan(b"Content-Language: de (German), en\r\n\r\n")
        self.assertEqual(part.language, ("de", "en"))

    def test_boundary_in_pieces(self) -> None:
        """RFC 2231 has it for all parameters."""
        for stated in (b"boundary*0=x; boundary*1=y", b"boundary*=us-ascii''x%79", b'boundary*1*=%79; boundary*0="x"'):
            octets = b"Content-Type: multipart/mixed; " + stated + b"\r\n\r\n--xy\r\n\r\none\r\n--xy--\r\n"
            self.assertEqual(shape(scan(octets)), ["mixed", "plain"], stated)

    def test_folded(self) -> None:
        part = scan(b"Content-Type: text/plain;\r\n\tcharset=utf-8;\r\n format=flowed\r\n\r\n")
        self.assertEqual(part.parameters, (("charset", "utf-8"), ("format", "flowed")))
        self.assertEqual(part.charset, "utf-8")

    def test_eight_bits_survive_the_table(self) -> None:
        part = scan(
            b"Content-Type: text/plain; name=\xff\xc3\xa9\r\nContent-Language: de, en\r\nContent-ID: <a@b>\r\n\r\n"
        )
        again = decode_parts(encode_parts(part))
        self.assertEqual(again, part)
        self.assertEqual((again.language, again.id), (("de", "en"), "<a@b>"))


class Properties(SynchronousTestCase):
    lines = st.sampled_from(
        [
            b"--x", b"--x--", b"--xy", b"--xy--", b"", b"text", b"-", b"\r", b"\0\xff", b" folded", b"--x  ",
            b"Content-Type: multipart/mixed; boundary=x", b"Content-Type: multipart/digest; boundary=xy",
            b"Content-Type: message/rfc822", b"Content-Type: text/html; charset=", b"Content-Transfer-Encoding: base64",
        ]
    )  # fmt: skip
    messages = st.lists(st.tuples(lines, st.sampled_from([b"\r\n", b"\r\n", b"\n", b""])), max_size=40).map(
        lambda pairs: b"".join(line + end for line, end in pairs)
    )

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(messages, st.binary(max_size=200)), st.integers(1, 9))
    def test_any_octets_in_any_pieces(self, octets: bytes, size: int) -> None:
        root = scan(octets)
        self.assertEqual(scan(octets, size), root)
        Broken.check_offsets(self, octets, root)  # type: ignore[arg-type]  # of the other case it needs assertions only
        self.assertEqual(decode_parts(encode_parts(root)), root)


class Corpus(SynchronousTestCase):
    def test_offsets_and_splits(self) -> None:
        for name, octets in corpus().items():
            root = scan(octets)
            self.assertEqual(scan(octets, 97), root, name)
            Broken.check_offsets(self, octets, root)  # type: ignore[arg-type]  # as above

    def test_same_payloads_as_the_standard_library(self) -> None:
        compared = 0
        for name, octets in corpus().items():
            theirs = email.message_from_string(octets.decode("latin-1"))
            if name in DOUBLED or not _is_comparable(theirs):
                continue
            payloads = [body(octets, part).rstrip() for part in _leaves(scan(octets))]
            expected = [_raw(part).rstrip() for part in theirs.walk() if not part.is_multipart()]
            self.assertEqual(payloads, expected, name)
            compared += 1
        self.assertGreater(compared, 120)


def _leaves(part: Part) -> list[Part]:
    return [leaf for child in part.children for leaf in _leaves(child)] if part.children else [part]


def _raw(part: email.message.Message) -> bytes:
    payload = part.get_payload()
    assert isinstance(payload, str)
    return payload.encode("latin-1")


def _is_comparable(message: email.message.Message) -> bool:
    """Whether the message is well-formed, and of types that both take apart alike."""
    return not any(part.defects or part.get_content_type() == "message/delivery-status" for part in message.walk())
