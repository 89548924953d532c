"""Messages that are too much of something: what is made of one takes bounded time and memory, and nothing raises."""

from __future__ import annotations

import base64
import time
import tracemalloc
from collections.abc import Callable, Iterator
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.mime import Scanner
from mailfw.mail.part_table import decode_parts
from mailfw.mail.summary import Summariser, Summary, summarise
from mailfw.mail.terms import terms_of

MEGABYTE = 1024 * 1024
#: Seconds of this process for one message of the largest; a machine that is busy with others needs no more of them.
PATIENCE = 15


def _nested(levels: int) -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (at, at) for at in range(levels))


def _alike(levels: int) -> bytes:
    """Boundaries that begin with each other, and lines that begin with nearly all of them."""
    parts = (
        b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (b"x" * at, b"x" * at)
        for at in range(1, levels)
    )
    return b"".join(parts) + (b"--" + b"x" * (levels // 2) + b"z\r\n") * 20_000


def excesses() -> Iterator[tuple[str, bytes]]:
    head = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    text = b"Content-Type: text/plain; charset=%b\r\nContent-Transfer-Encoding: %b\r\n\r\n"
    yield "nested 10,000 deep", _nested(10_000)
    yield "messages 10,000 deep", b"Content-Type: message/rfc822\r\n\r\n" * 10_000
    yield "a million parts", head + b"--x\r\n" * 1_000_000
    yield "a million parts with headers", head + b"--x\r\nA: b\r\n\r\nc\r\n" * 1_000_000
    yield "a million lines that are nearly delimiters", head + b"--\r\n--y\r\n" * 500_000
    yield "boundaries that begin alike", _alike(100)
    yield "a header of 10 MB", b"Subject: " + b"x" * 10 * MEGABYTE + b"\r\n\r\n"
    yield "a header of 10 MB in folds", b"Subject: x" + b"\r\n x" * (10 * MEGABYTE // 4) + b"\r\n\r\n"
    yield "a million fields", b"A: b\r\n" * 1_000_000 + b"\r\n"
    yield "100,000 addresses", b"To: " + b", ".join(b"n%d@b.example" % at for at in range(100_000)) + b"\r\n\r\n"
    yield "100,000 odd addresses", b"To: " + b'<a@b, "x" (c) : ; ' * 100_000 + b"\r\n\r\n"
    yield "a hundred thousand references", b"References: " + b"<a@b> " * 100_000 + b"\r\n\r\n"
    yield "ids that never end", b"References: " + b"<" * 250_000 + b"\r\n\r\n"
    yield "encoded words without end", b"Subject: " + b"=?utf-8?Q?" * 20_000 + b"\r\n\r\n"
    yield "encoded words", b"Subject: " + b"=?utf-8?Q?=EC?= " * 15_000 + b"\r\n\r\n"
    yield "answers to answers", b"Subject: " + b"Re: [x] " * 30_000 + b"\r\n\r\n"
    yield "brackets", b"Subject: " + b"[" * 120_000 + b"]" * 120_000 + b"\r\n\r\n"
    yield "forwarded forwards", b"Subject: " + b"[fwd: " * 40_000 + b"x" + b"]" * 15_000 + b"\r\n\r\n"
    yield "comments in comments", b"Date: " + b"(" * 250_000 + b"\r\n\r\n"
    yield "parameters", b"Content-Type: text/plain" + b"; x*1=y" * 30_000 + b"\r\n\r\n"
    yield "quotes", b'Content-Type: text/plain; name="' + b'\\"' * 120_000 + b"\r\n\r\n"
    yield "spaces", b"Date: 1 Feb 2026 10:" + b" " * 250_000 + b"\r\n\r\n"
    yield "broken base64", text % (b"euc-kr", b"base64") + b"=A!" * 500_000
    yield "broken quoted-printable", text % (b"iso-2022-jp", b"quoted-printable") + b"=1B=\r\n=" * 300_000
    yield "shifts", text % (b"utf-7", b"base64") + base64.encodebytes(b"+AGE-+" * 200_000)
    yield "tags", b"Content-Type: text/html\r\n\r\n" + b"<p <!-- <script " * 100_000


class ExcessTests(SynchronousTestCase):
    timeout = 300

    def spend(self, name: str, work: Callable[[], Summary]) -> Summary:
        """Do it, within the time that is allowed."""
        began = time.process_time()
        made = work()
        self.assertLess(time.process_time() - began, PATIENCE, name)
        return made

    def test_summaries_and_terms(self) -> None:
        for name, octets in excesses():
            made = self.spend(name, lambda octets=octets: summarise(octets))  # type: ignore[misc] # a default is no type
            self.assertEqual(made.size, len(octets), name)
            self.assertLess(
                sum(map(len, (made.envelope, made.bodystructure, made.parts, made.sort, made.ids))), 4 * MEGABYTE
            )
            root = decode_parts(made.parts)
            began = time.process_time()
            terms_of(root, lambda start, size, octets=octets: octets[start : start + size])  # type: ignore[misc] # as above
            self.assertLess(time.process_time() - began, PATIENCE, f"terms of {name}")

    def test_time_grows_with_the_size(self) -> None:
        """What is twice as long takes about twice as long; five times would be something else."""
        for name, make in (
            ("parts", lambda number: b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n" * number),
            ("lines", lambda number: b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--\r\n--y\r\n" * number),
            ("levels", lambda number: _nested(number // 8)),
            ("fields", lambda number: b"A: b\r\n" * number + b"\r\n"),
        ):
            small, large = make(60_000), make(240_000)
            self.assertLess(_fastest(large), 12 * _fastest(small) + 0.05, name)

    def test_memory_is_bounded_when_fed_in_pieces(self) -> None:
        for octets in (
            _nested(5_000),
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n" * 200_000,
            b"X: " + b"x" * 4 * MEGABYTE,
        ):
            summariser = Summariser()
            tracemalloc.start()
            for start in range(0, len(octets), 65536):
                summariser.feed(octets[start : start + 65536])
            summariser.finish()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(peak, 16 * MEGABYTE)

    def test_any_mixture(self) -> None:
        """Pieces of messages thrown together at random, fed whole and in pieces, make the same."""
        random = Random(1)
        pieces = [
            b"--x", b"--x--", b"--xy", b"\r\n", b"\n", b"\r\n\r\n", b"\r", b"\0", b"\xff", b" ", b"\t",
            b"=?euc-kr?B?yA?=", b"(", b'"', b";", b"Content-Type: multipart/mixed; boundary=x",
            b"Content-Type: multipart/digest; boundary=xy", b"Content-Type: message/rfc822",
            b"Content-Type: text/html; charset=utf-7", b"Content-Transfer-Encoding: base64", b"To: a@b, <c",
            b"Subject: [fwd: Re: ", b"References: <a", b"Date: 1 Feb 2026 ", b"Content-Disposition: a; filename*0*=",
            b"+AGE-", b"text",
        ]  # fmt: skip
        for _ in range(1500):
            octets = b"".join(random.choices(pieces, k=random.randrange(60)))
            whole = summarise(octets)
            scanner, size = Scanner(), random.randrange(1, 40)
            for start in range(0, len(octets), size):
                scanner.feed(octets[start : start + size])
            root = scanner.finish()
            self.assertEqual(root.header_size, whole.header_size, octets)
            terms_of(decode_parts(whole.parts), lambda start, length, octets=octets: octets[start : start + length])  # type: ignore[misc] # as above


def _fastest(octets: bytes) -> float:
    times = []
    for _ in range(3):
        began = time.process_time()
        summarise(octets)
        times.append(time.process_time() - began)
    return min(times)
