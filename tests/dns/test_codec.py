"""What comes from the network, whatever it is, is an answer, a refusal or nonsense."""

from __future__ import annotations

import contextlib

import dns.message
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.dns.cache import FAILURE_TTL, Cache
from mailfw.dns.codec import LONGEST_NEGATIVE_TTL, LONGEST_TTL, Nonsense, Question, Refused, answers, decode
from mailfw.dns.servers import Server, Trust, read_hosts, read_resolv_conf, read_server
from mailfw.mail.lookup import Answer, Finding

QUESTION = Question("example.net", "MX")


def reply(text: str) -> bytes:
    return dns.message.from_text(text).to_wire()


GOOD = """id 7
opcode QUERY
rcode NOERROR
flags QR RD RA AD
;QUESTION
example.net. IN MX
;ANSWER
example.net. {ttl} IN MX 10 mx.example.net.
"""
EMPTY = """id 7
opcode QUERY
rcode NOERROR
flags QR RD RA
;QUESTION
example.net. IN MX
;AUTHORITY
example.net. {ttl} IN SOA ns.example. a.example. 1 2 3 4 {minimum}
"""


class DecodeTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=600))
    def test_any_octets(self, octets: bytes) -> None:
        answers(octets, 7, QUESTION)
        with contextlib.suppress(Nonsense, Refused):
            decode(octets, QUESTION, True)

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, 200), st.integers(0, 255))
    def test_any_octet_changed(self, position: int, octet: int) -> None:
        octets = bytearray(reply(GOOD.format(ttl=60)))
        octets[position % len(octets)] = octet
        answers(bytes(octets), 7, QUESTION)
        with contextlib.suppress(Nonsense, Refused):
            decode(bytes(octets), QUESTION, True)

    def test_ttl(self) -> None:
        for ttl, expected in ((0, 0), (60, 60), (10_000_000, LONGEST_TTL)):
            self.assertEqual(decode(reply(GOOD.format(ttl=ttl)), QUESTION, False).ttl, expected)
        for ttl, minimum, expected in ((60, 30, 30), (30, 60, 30), (86_400, 86_400, LONGEST_NEGATIVE_TTL)):
            answer = decode(reply(EMPTY.format(ttl=ttl, minimum=minimum)), QUESTION, False)
            self.assertEqual((answer.finding, answer.ttl), (Finding.NO_DATA, expected))

    def test_the_ad_bit_of_a_stranger(self) -> None:
        self.assertTrue(decode(reply(GOOD.format(ttl=1)), QUESTION, True).secure)
        self.assertFalse(decode(reply(GOOD.format(ttl=1)), QUESTION, False).secure)

    def test_which_question_is_answered(self) -> None:
        octets = reply(GOOD.format(ttl=1))
        self.assertTrue(answers(octets, 7, QUESTION))
        self.assertTrue(answers(octets.replace(b"example", b"eXample", 1), 7, QUESTION))
        self.assertFalse(answers(octets, 8, QUESTION))
        self.assertFalse(answers(octets, 7, Question("example.net", "A")))
        self.assertFalse(answers(octets, 7, Question("example.ne", "MX")))
        self.assertFalse(answers(QUESTION.encode(7), 7, QUESTION))  # a query is no answer

    def test_a_backslash_is_a_letter(self) -> None:
        self.assertIn(b"\x03a\\b", Question("a\\b.example", "A").encode(1))


class ServerTests(SynchronousTestCase):
    TRUST = Trust(["127.0.0.0/8", "::1/128"])

    def test_servers(self) -> None:
        for text, server in (
            ("127.0.0.1", Server("127.0.0.1", 53, True)),
            ("192.0.2.1:5353", Server("192.0.2.1", 5353)),
            ("::1", Server("::1", 53, True)),
            ("[::1]:54", Server("::1", 54, True)),
            ("fe80::1%eth0", Server("fe80::1%eth0")),
        ):
            self.assertEqual(read_server(text, self.TRUST), server)
        for text in ("", "ns.example.net", "127.0.0.1:", "127.0.0.1:x", "[::1]53", "1.2.3.4:70000", "[::1"):
            with self.assertRaises(ValueError, msg=text):
                read_server(text, self.TRUST)

    def test_resolv_conf(self) -> None:
        text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\nnameserver nonsense\nnameserver ::1\n"
        self.assertEqual([str(each) for each in read_resolv_conf(text, self.TRUST)], ["192.0.2.1", "[::1]"])
        self.assertEqual([str(each) for each in read_resolv_conf("", self.TRUST)], ["127.0.0.1"])

    @given(st.text(max_size=200))
    def test_any_file(self, text: str) -> None:
        self.assertTrue(read_resolv_conf(text, self.TRUST))
        read_hosts(text)


class CacheTests(SynchronousTestCase):
    def test_for_as_long_as_it_may_be_believed(self) -> None:
        clock = Clock()
        cache = Cache(clock.seconds)
        cache.put(QUESTION, Answer(Finding.FOUND, ("x",), ttl=60))
        clock.advance(59)
        kept = cache.get(QUESTION)
        assert kept is not None
        self.assertEqual(kept.ttl, 1)
        clock.advance(1)
        self.assertIsNone(cache.get(QUESTION))
        cache.put(QUESTION, Answer(Finding.NO_NAME, ttl=0))
        self.assertIsNone(cache.get(QUESTION))
        cache.put(QUESTION, Answer(Finding.FAILED))
        clock.advance(FAILURE_TTL - 0.1)
        self.assertIsNotNone(cache.get(QUESTION))
        clock.advance(0.2)
        self.assertIsNone(cache.get(QUESTION))
        self.assertEqual(len(cache), 0)

    def test_it_is_bounded(self) -> None:
        clock = Clock()
        cache = Cache(clock.seconds, room=100_000)
        often = Question("often.example", "A")
        cache.put(often, Answer(Finding.FOUND, ("192.0.2.1",), ttl=60))
        for n in range(10_000):
            cache.put(Question(f"n{n}.example", "TXT"), Answer(Finding.FOUND, (b"x" * 1000,), ttl=60))
            self.assertIsNotNone(cache.get(often))
        self.assertLess(len(cache), 100)
