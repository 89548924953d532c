"""The data of a message: its one true end, its dots, its line ends, its size."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailfw.mail.envelope import Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.reply import Reply
from mailfw.smtp import replies
from mailfw.smtp.body import Inlet, read_data
from mailfw.smtp.load import Load
from mailfw.smtp.settings import SMTPSettings
from mailfw.testing.dialogue import Dialogue, PretendTransport
from mailfw.wire.stream import Stream
from tests.smtp.house import Draft, House

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
OPENING = b"EHLO a\r\nMAIL FROM:<eve@far.example>\r\nRCPT TO:<ann@here.example>\r\nDATA\r\n"
#: Each is the end of the data to some server, and to none that reads RFC 5321 section 2.3.8.
FALSE_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\n\r\n",
    b"\r.\n",
    b"\r\r\n.\r\r\n",
]
SMUGGLED = b"MAIL FROM:<smuggled@far.example>\r\nRCPT TO:<bob@here.example>\r\nDATA\r\nSubject: smuggled\r\n"


def settings_of(limit: int, normalise: bool = False) -> SMTPSettings:
    """Return settings with limits of size alone."""
    service = Service.SUBMISSION if normalise else Service.SMTP
    return SMTPSettings("x", service, max_size=limit, header_size=1 << 30, header_fields=1 << 30)


def receive(pieces: list[bytes], limit: int = 1000, normalise: bool = False) -> tuple[Any, bytes, bytes]:
    """Return what was refused, what reached the sink, and what was left in the stream."""
    transport = PretendTransport()
    stream, draft = Stream(transport, Clock()), Draft()
    inlet = Inlet(draft.write, settings_of(limit, normalise), Load())
    result: list[Any] = []
    Deferred.fromCoroutine(read_data(stream, inlet)).addBoth(result.append)
    for piece in pieces:
        stream.data_received(piece)
    assert result == [None], f"The end was not seen: {result}"
    return inlet.refusal, b"".join(draft.pieces), bytes(stream.buffered)


def stuff(message: bytes) -> bytes:
    """Do what a client does with a message that ends with CRLF, line by line."""
    lines = message.split(b"\r\n")[:-1]
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


def repair(message: bytes) -> bytes:
    """Make every lone CR and LF a CRLF, one by one."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", message)


class EndTests(SynchronousTestCase):
    def test_dots_at_every_split(self) -> None:
        message = b".\r\n..\r\n\r\n.x\r\nx.\r\n\r\n..\r\n...\r\n"
        wire = stuff(message) + b"RSET\r\n"
        for cut in range(len(wire) + 1):
            self.assertEqual(receive([wire[:cut], wire[cut:]]), (None, message, b"RSET\r\n"), cut)
        self.assertEqual(receive([wire[i : i + 1] for i in range(len(wire))]), (None, message, b"RSET\r\n"))

    def test_empty(self) -> None:
        for pieces in ([b".\r\n"], [b".", b"\r", b"\n"]):
            self.assertEqual(receive(pieces), (None, b"", b""))

    def test_one_empty_line(self) -> None:
        self.assertEqual(receive([b"\r\n.\r\n"]), (None, b"\r\n", b""))

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from([b".", b"\r\n", b"..", b"ab", b"x" * 70]), max_size=40), st.data())
    def test_any_message_comes_out_as_it_went_in(self, parts: list[bytes], data: Any) -> None:
        message = b"".join(parts) + b"\r\n"
        wire = stuff(message) + b"NOOP"
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
        edges = [0, *cuts, len(wire)]
        pieces = [wire[a:b] for a, b in itertools.pairwise(edges)]
        self.assertEqual(receive(pieces, 5000), (None, message, b"NOOP"))

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a"]), max_size=12), st.data())
    def test_line_ends_are_refused_or_repaired(self, parts: list[bytes], data: Any) -> None:
        wire = b"".join(parts) + b"\r\n.\r\n"
        end = (b"\r\n" + wire).find(b"\r\n.\r\n")
        content, rest = wire[:end], wire[end + 3 :]
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
        edges = [0, *cuts, len(wire)]
        pieces = [wire[a:b] for a, b in itertools.pairwise(edges)]
        unstuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n")[2:]
        clean = repair(unstuffed)
        self.assertEqual(receive(pieces, normalise=True), (None, clean, rest))
        refusal, _, left = receive(pieces)
        self.assertEqual((refusal, left), (None if clean == unstuffed else replies.BARE_LINE_END, rest))


class SmugglingTests(SynchronousTestCase):
    """CVE-2023-51764, CVE-2023-51765, CVE-2023-51766 and their kin."""

    def transmit(self, service: Service, false_end: bytes, cut: int | None) -> tuple[House, list[bytes]]:
        place = House(service, require_auth=False)
        dialogue = Dialogue(place.factory())
        dialogue.say(OPENING)
        dialogue.hear()
        octets = b"Subject: innocent" + false_end + SMUGGLED + b"\r\n.\r\nNOOP\r\n"
        if cut is None:
            for octet in octets:
                dialogue.say(bytes([octet]))
        else:
            dialogue.say(octets[:cut])
            dialogue.say(octets[cut:])
        return place, dialogue.hear().split(b"\r\n")[:-1]

    def cuts(self, false_end: bytes) -> list[int | None]:
        return [None, *range(len(b"Subject: innocent" + false_end) + 4), 10_000]

    def test_refused_on_smtp(self) -> None:
        for false_end in FALSE_ENDS:
            for cut in self.cuts(false_end):
                place, heard = self.transmit(Service.SMTP, false_end, cut)
                self.assertEqual(len(heard), 2, (false_end, cut, heard))
                self.assertEqual(heard[0][:9], b"550 5.6.0", (false_end, cut))
                self.assertEqual(heard[1], b"250 2.0.0 OK")
                self.assertEqual(place.intake.taken, [])
                self.assertEqual([draft.closed for draft in place.intake.drafts], [1])

    def test_one_message_on_submission(self) -> None:
        for false_end in FALSE_ENDS:
            for cut in self.cuts(false_end):
                place, heard = self.transmit(Service.SUBMISSION, false_end, cut)
                self.assertEqual(len(heard), 2, (false_end, cut, heard))
                self.assertEqual(heard[1], b"250 2.0.0 OK")
                if b"\0" in false_end:
                    self.assertEqual(heard[0][:9], b"550 5.6.0")
                    self.assertEqual(place.intake.taken, [])
                    continue
                self.assertEqual(heard[0][:9], b"250 2.0.0")
                [(_, envelope, content)] = place.intake.taken
                self.assertEqual(str(envelope.sender), "eve@far.example")
                self.assertIn(b"MAIL FROM:<smuggled", content)
                self.assertEqual(content, repair(content))

    def test_a_false_end_as_the_first_line(self) -> None:
        for octets in (b".\n", b".\r", b"\n.\r\n", b".\r\r\n"):
            place = House()
            dialogue = Dialogue(place.factory())
            dialogue.say(OPENING)
            dialogue.hear()
            dialogue.say(octets + SMUGGLED)
            self.assertEqual(dialogue.hear(), b"", octets)
            dialogue.say(b"\r\n.\r\n")
            self.assertEqual(dialogue.hear()[:9], b"550 5.6.0", octets)


class CorpusTests(SynchronousTestCase):
    def test_real_messages_in_real_pieces(self) -> None:
        """Whatever people have sent comes through as it is, but for its line ends; NUL alone is refused."""
        if not CORPUS.is_dir():
            raise SkipTest("The corpus of real messages is not here")
        for path in CORPUS.rglob("*.eml"):
            message = path.read_bytes()
            clean = repair(message)
            clean += b"" if clean.endswith(b"\r\n") else b"\r\n"
            wire = stuff(clean)
            result = receive([wire[at : at + 1448] for at in range(0, len(wire), 1448)], 1 << 30)
            expected = (replies.NUL_IN_MESSAGE, None) if b"\0" in message else (None, clean)
            self.assertEqual((result[0], result[1] if result[0] is None else None), expected, path.name)
            self.assertEqual(result[2], b"")


class SizeTests(SynchronousTestCase):
    def answer_to(self, message: bytes, **settings: Any) -> tuple[Reply | None, bytes]:
        refusal, content, rest = receive([stuff(message)], **settings)
        self.assertEqual(rest, b"")
        return refusal, content

    def test_limit(self) -> None:
        message = b"." * 98 + b"\r\n"
        self.assertEqual(self.answer_to(message, limit=101), (None, message))
        self.assertEqual(self.answer_to(message, limit=100), (None, message))
        self.assertEqual(self.answer_to(message, limit=99), (replies.TOO_LARGE, b""))

    def test_nul(self) -> None:
        for normalise in (False, True):
            self.assertEqual(self.answer_to(b"a\0b\r\n", normalise=normalise)[0], replies.NUL_IN_MESSAGE)

    def test_a_long_line(self) -> None:
        message = b"x" * 100_000 + b"\r\n"
        self.assertEqual(self.answer_to(message, limit=200_000), (None, message))

    def test_eight_bits(self) -> None:
        message = bytes(range(128, 256)) + b"\r\n"
        self.assertEqual(self.answer_to(message), (None, message))

    def test_a_message_without_end_is_cut(self) -> None:
        place = House(max_size=1000)
        dialogue = Dialogue(place.factory())
        dialogue.say(OPENING)
        dialogue.hear()
        for _ in range(100):
            dialogue.say(b"x" * 1000)
        self.assertEqual(dialogue.hear()[:9], b"552 5.3.4")
        self.assertTrue(dialogue.closed)
        self.assertEqual(place.intake.taken, [])

    def test_much_at_once_is_fast_and_passed_on_in_pieces(self) -> None:
        line = b"An ordinary line of an ordinary message, seventy octets and a bit more\r\n"
        segment = line * 900
        transport = PretendTransport()
        stream = Stream(transport, Clock())
        largest = total = 0

        async def count(octets: bytes) -> None:
            nonlocal largest, total
            largest, total = max(largest, len(octets)), total + len(octets)

        inlet = Inlet(count, settings_of(1 << 30), Load())
        ended = Deferred.fromCoroutine(read_data(stream, inlet))
        began = time.process_time()
        for _ in range(800):
            stream.data_received(segment)
        stream.data_received(b".\r\n")
        spent = time.process_time() - began
        self.assertIsNone(self.successResultOf(ended))
        self.assertEqual(total, 800 * len(segment))
        self.assertLessEqual(largest, len(segment) + 4)
        self.assertLess(spent, 3.0)  # 52 MB; a loop over lines needs several times as long

    def test_a_slow_sink_misses_nothing(self) -> None:
        transport = PretendTransport()
        stream, waits, kept = Stream(transport, Clock()), [Deferred[None]() for _ in range(9)], []

        async def slow(octets: bytes) -> None:
            kept.append(octets)
            await waits[len(kept) - 1]

        inlet = Inlet(slow, settings_of(1000), Load())
        ended = Deferred.fromCoroutine(read_data(stream, inlet))
        stream.data_received(b"one\r\n")
        stream.data_received(b"two\r\n.\r\nNOOP")
        self.assertEqual(kept, [b"one"])
        self.assertNoResult(ended)
        waits[0].callback(None)
        waits[1].callback(None)
        self.assertIsNone(self.successResultOf(ended))
        self.assertEqual(b"".join(kept), b"one\r\ntwo\r\n")


class FullDiskTests(SynchronousTestCase):
    def send(self, place: House, message: bytes = b"x" * 500 + b"\r\n") -> list[bytes]:
        dialogue = Dialogue(place.factory())
        dialogue.say(OPENING)
        for octet in message:
            dialogue.say(bytes([octet]))
        dialogue.say(b".\r\nNOOP\r\n")
        return dialogue.hear().split(b"\r\n")[-3:-1]

    def test_while_writing(self) -> None:
        place = House()
        place.intake.make = lambda: Draft(NoSpace(), 100)
        self.assertEqual(self.send(place), [b"452 4.3.1 No space left; try again later", b"250 2.0.0 OK"])
        self.assertEqual(place.intake.taken, [])
        self.assertEqual(place.intake.drafts[0].closed, 1)

    def test_a_fault_while_writing(self) -> None:
        place = House()
        place.intake.make = lambda: Draft(OSError("a broken disk"), 100)
        self.assertEqual(self.send(place), [b"451 4.3.0 Local error; try again later", b"250 2.0.0 OK"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_before_the_message(self) -> None:
        place = House()
        place.intake.no_room = NoSpace()
        dialogue = Dialogue(place.factory())
        dialogue.say(OPENING)
        self.assertEqual(dialogue.hear().split(b"\r\n")[-2], b"452 4.3.1 No space left; try again later")
        place.intake.no_room = None
        dialogue.say(b"DATA\r\n")
        self.assertEqual(dialogue.hear()[:4], b"354 ")
