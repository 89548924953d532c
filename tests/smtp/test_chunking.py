"""BDAT (RFC 3030): counted octets, in order and out of it; what is in them is never a command."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import Service
from mailfw.mail.failure import NoSpace
from mailfw.testing.dialogue import Dialogue
from tests.smtp.house import Draft, House
from tests.smtp.test_body import FALSE_ENDS, SMUGGLED, repair

HELLO = b"EHLO a\r\n"
SENDER = b"MAIL FROM:<eve@far.example>"
TO = b"RCPT TO:<ann@here.example>\r\n"
HEADER = b"Subject: x\r\n\r\n"


def chunk(octets: bytes, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


class ChunkCase(SynchronousTestCase):
    def begin(self, place: House, parameters: bytes = b"") -> Dialogue:
        dialogue = Dialogue(place.factory())
        dialogue.say(HELLO + SENDER + parameters + b"\r\n" + TO)
        dialogue.hear()
        return dialogue

    def ask(self, dialogue: Dialogue, octets: bytes) -> list[str]:
        dialogue.say(octets)
        return [line[:9].decode() for line in dialogue.hear().split(b"\r\n")[:-1]]

    def content(self, place: House) -> bytes:
        [(_, _, content)] = place.intake.taken
        self.assertEqual([draft.closed for draft in place.intake.drafts], [1])
        return content


class OrderTests(ChunkCase):
    def test_chunks(self) -> None:
        place = House()
        dialogue = self.begin(place)
        dialogue.say(chunk(HEADER))
        self.assertEqual(dialogue.hear(), b"250 2.0.0 14 octets received\r\n")
        self.assertEqual(self.ask(dialogue, chunk(b"..one\r\n.\r\nRSET\r\n") + chunk(b"", True)), ["250 2.0.0"] * 2)
        self.assertEqual(self.content(place), HEADER + b"..one\r\n.\r\nRSET\r\n")
        self.assertEqual(self.ask(dialogue, b"NOOP\r\n" + TO), ["250 2.0.0", "503 5.5.1"])

    def test_all_in_one_segment(self) -> None:
        """RFC 3030 section 4.2: chunks are pipelined, and so is what follows them."""
        place = House()
        dialogue = Dialogue(place.factory())
        dialogue.hear()
        group = SENDER + b"\r\n" + TO + chunk(HEADER) + chunk(b"x\r\n", True)
        self.assertEqual(self.ask(dialogue, HELLO)[-1], "250 NO-SO")
        self.assertEqual(
            self.ask(dialogue, group + group + b"QUIT\r\n"),
            ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0"] * 2 + ["221 2.0.0"],
        )
        self.assertEqual(len(place.intake.taken), 2)

    def test_an_empty_message(self) -> None:
        place = House()
        self.assertEqual(self.ask(self.begin(place), chunk(b"", True)), ["250 2.0.0"])
        self.assertEqual(self.content(place), b"")

    def test_out_of_order(self) -> None:
        """What belongs to a refused chunk is read, and refused with it."""
        place = House()
        dialogue = Dialogue(place.factory())
        dialogue.hear()
        self.assertEqual(self.ask(dialogue, chunk(b"RSET\r\n")), ["503 5.5.1"])
        self.ask(dialogue, HELLO)
        self.assertEqual(self.ask(dialogue, chunk(b"RSET\r\n", True)), ["503 5.5.1"])
        self.assertEqual(self.ask(dialogue, SENDER + b"\r\n" + chunk(b"QUIT\r\n", True)), ["250 2.1.0", "503 5.5.1"])
        self.assertEqual(self.ask(dialogue, TO + chunk(HEADER)), ["250 2.1.5", "250 2.0.0"])
        for command in (TO, b"DATA\r\n", SENDER + b"\r\n", b"STARTTLS\r\n"):
            self.assertIn(self.ask(dialogue, command), (["503 5.5.1"], ["502 5.5.1"]))
        self.assertEqual(self.ask(dialogue, chunk(b"", True)), ["250 2.0.0"])

    def test_data_and_binary_do_not_mix(self) -> None:
        dialogue = self.begin(House(), b" BODY=BINARYMIME")
        self.assertEqual(self.ask(dialogue, b"DATA\r\n" + chunk(b"", True)), ["503 5.5.1", "250 2.0.0"])

    def test_dropped(self) -> None:
        for command, answer in [(b"RSET\r\n", "250 2.0.0"), (HELLO, "250-mail."), (b"QUIT\r\n", "221 2.0.0")]:
            place = House()
            dialogue = self.begin(place)
            self.assertEqual(self.ask(dialogue, chunk(HEADER) + command)[:2], ["250 2.0.0", answer])
            self.assertEqual([draft.closed for draft in place.intake.drafts], [1])
            self.assertEqual(place.intake.taken, [])
        place = House()
        self.begin(place).say(b"BDAT 100\r\nhalf")
        place = House()
        dialogue = self.begin(place)
        dialogue.say(b"BDAT 100\r\nhalf")
        dialogue.leave()
        self.assertEqual([draft.closed for draft in place.intake.drafts], [1])

    def test_an_end_that_nobody_can_tell(self) -> None:
        """Octets that could be anybody's commands are not looked at."""
        for argument in (b"", b"x", b"-1", b"10 FIRST", b"1" * 21):
            place = House()
            dialogue = self.begin(place)
            self.assertEqual(self.ask(dialogue, b"BDAT " + argument + b"\r\nRSET\r\n"), ["501 5.5.4"])
            self.assertTrue(dialogue.closed)

    def test_lmtp(self) -> None:
        place = House(Service.LMTP)
        dialogue = Dialogue(place.factory())
        dialogue.say(b"LHLO a\r\n" + SENDER + b"\r\n" + TO + TO.replace(b"ann", b"bob"))
        dialogue.hear()
        self.assertEqual(self.ask(dialogue, chunk(HEADER) + chunk(b"x\r\n", True)), ["250 2.0.0"] * 3)


class RefusalTests(ChunkCase):
    def test_a_refused_chunk(self) -> None:
        """Section 2: after a failure nothing but RSET helps."""
        place = House(max_size=20)
        dialogue = self.begin(place)
        self.assertEqual(
            self.ask(dialogue, chunk(HEADER) + chunk(b"RSET\r\n\r\n") + chunk(b"QUIT\r\n") + chunk(b"", True)),
            ["250 2.0.0", "552 5.3.4", "503 5.5.1", "503 5.5.1"],
        )
        self.assertEqual([draft.closed for draft in place.intake.drafts], [1])
        self.assertEqual(self.ask(dialogue, b"DATA\r\n" + TO), ["503 5.5.1"] * 2)
        self.assertEqual(
            self.ask(dialogue, b"RSET\r\n" + SENDER + b"\r\n" + TO), ["250 2.0.0", "250 2.1.0", "250 2.1.5"]
        )
        self.assertEqual(self.ask(dialogue, chunk(HEADER, True)), ["250 2.0.0"])
        self.assertEqual(len(place.intake.taken), 1)

    def test_the_last_chunk_refused(self) -> None:
        place = House(max_size=20)
        dialogue = self.begin(place)
        self.assertEqual(self.ask(dialogue, chunk(b"x" * 21, True) + b"NOOP\r\n"), ["552 5.3.4", "250 2.0.0"])
        self.assertEqual(self.ask(dialogue, SENDER + b"\r\n"), ["250 2.1.0"])

    def test_at_the_limit(self) -> None:
        for size, answer in [(19, "250 2.0.0"), (20, "250 2.0.0"), (21, "552 5.3.4")]:
            dialogue = self.begin(House(max_size=20))
            self.assertEqual(self.ask(dialogue, chunk(HEADER) + chunk(b"x" * (size - 16) + b"\r\n", True))[1], answer)

    def test_a_chunk_beyond_all_measure(self) -> None:
        """It is not waited for."""
        for group in (b"", b"RSET\r\n"):
            dialogue = self.begin(House(max_size=1000))
            self.assertIn(self.ask(dialogue, group + b"BDAT 99999999999 LAST\r\n")[-1], ("552 5.3.4", "503 5.5.1"))
            self.assertTrue(dialogue.closed)

    def test_no_room(self) -> None:
        place = House()
        place.intake.no_room = NoSpace()
        dialogue = self.begin(place)
        self.assertEqual(self.ask(dialogue, chunk(HEADER) + chunk(b"RSET\r\n", True)), ["452 4.3.1", "503 5.5.1"])
        place = House()
        place.intake.make = lambda: Draft(NoSpace(), 3)
        dialogue = self.begin(place)
        self.assertEqual(self.ask(dialogue, chunk(HEADER, True) + b"NOOP\r\n"), ["452 4.3.1", "250 2.0.0"])

    def test_a_slow_disk_and_memory(self) -> None:
        """Whatever waits, no more is taken from the client than fits."""
        place = House()
        waits: Deferred[None] = Deferred()
        dialogue = self.begin(place)

        class Slow(Draft):
            async def write(self, octets: bytes) -> None:
                await waits
                await super().write(octets)

        place.intake.make = Slow
        dialogue.say(b"BDAT 1000000 LAST\r\n" + HEADER)
        for _ in range(10):
            if dialogue.transport.producerState == "producing":
                dialogue.say(b"x" * 65536)
        self.assertLess(len(dialogue.protocol.stream.buffered), 200_000)
        waits.callback(None)
        self.assertEqual(dialogue.transport.producerState, "producing")


class LineEndTests(ChunkCase):
    """The lines of a text are lines, however it is cut; a binary body is what it is."""

    def test_smuggling(self) -> None:
        for false_end, service in itertools.product(FALSE_ENDS, (Service.SMTP, Service.SUBMISSION)):
            message = HEADER + b"innocent" + false_end + SMUGGLED
            for cut in (*range(len(HEADER), len(message) - len(SMUGGLED) + 3), 0):
                place = House(service, require_auth=False)
                dialogue = self.begin(place)
                heard = self.ask(dialogue, chunk(message[:cut]) + chunk(message[cut:], True) + b"NOOP\r\n")
                self.assertEqual(len(heard), 3, heard)
                self.assertEqual(heard[2], "250 2.0.0")
                if service is Service.SMTP or b"\0" in false_end:
                    self.assertIn("550 5.6.0", heard, (false_end, cut))
                    self.assertEqual(place.intake.taken, [])
                else:
                    self.assertEqual(self.content(place), repair(message))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b".", b"\0"]), max_size=12), st.data())
    def test_any_cut(self, parts: list[bytes], data: Any) -> None:
        body = b"".join(parts)
        message = HEADER + body
        cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=5)))
        pieces = [message[a:b] for a, b in itertools.pairwise([0, *cuts, len(message)])]
        wire = b"".join(chunk(piece) for piece in pieces) + chunk(b"", True)
        split = data.draw(st.integers(0, len(wire)))
        for parameters, text in ((b"", True), (b" BODY=BINARYMIME", False)):
            place = House()
            dialogue = self.begin(place, parameters)
            dialogue.say(wire[:split])
            heard = self.ask(dialogue, wire[split:])
            if text and (body != repair(body) or b"\0" in body):
                self.assertIn("550 5.6.0", heard)
                self.assertEqual(place.intake.taken, [])
                continue
            self.assertEqual(set(heard), {"250 2.0.0"})
            whole = message if not text or message.endswith(b"\n") else message + b"\r\n"
            self.assertEqual(self.content(place), whole)
            self.assertEqual(place.intake.taken[0][1].body, "7BIT" if text else "BINARYMIME")

    def test_binary_headers_are_lines(self) -> None:
        for broken in (b"Subject: a\nBcc: b\r\n\r\n", b"Subject: a\rb\r\n\r\n", b"Subject: \0\r\n\r\n"):
            for cut in range(len(broken)):
                place = House()
                dialogue = self.begin(place, b" BODY=BINARYMIME")
                heard = self.ask(dialogue, chunk(broken[:cut]) + chunk(broken[cut:] + b"x", True))
                self.assertIn("550 5.6.0", heard, (broken, cut))
                self.assertEqual(place.intake.taken, [])

    def test_no_octet_is_a_command(self) -> None:
        """Split at every offset, the answers are the same."""
        wire = chunk(HEADER) + chunk(b"RSET\r\n.\r\nQUIT\r\nBDAT 0 LAST\r\n") + chunk(b"\r\n.\r\n", True) + b"NOOP\r\n"
        for cut in range(len(wire)):
            place = House()
            dialogue = self.begin(place)
            dialogue.say(wire[:cut])
            dialogue.say(wire[cut:])
            self.assertEqual(dialogue.hear().count(b"\r\n"), 4)
            self.assertEqual(self.content(place), HEADER + b"RSET\r\n.\r\nQUIT\r\nBDAT 0 LAST\r\n\r\n.\r\n")


class SlowTests(ChunkCase):
    def test_minimum_rate(self) -> None:
        place = House(timeout=60.0)
        dialogue = self.begin(place)
        dialogue.say(b"BDAT 100000 LAST\r\n")
        for _ in range(70):
            dialogue.say(b"x" * 20)
            place.clock.advance(1.0)
        self.assertEqual(dialogue.hear()[:9], b"421 4.4.2")
        self.assertEqual([draft.closed for draft in place.intake.drafts], [1])
