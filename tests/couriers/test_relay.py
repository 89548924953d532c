from __future__ import annotations

from typing import Any

from mailfw.couriers.errand import Errand
from mailfw.mail.address import Address
from mailfw.mail.envelope import DeliverBy, Envelope, Notify, RecipientOptions
from mailfw.mail.failure import NoSpace
from mailfw.mail.hop import Hop, Login, TLSDemand, TLSLevel
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed
from mailfw.mail.reply import Reply
from mailfw.smtp.client.capabilities import read_capabilities
from mailfw.testing.contents import KOREAN_UTF_8, BrokenContent, MemoryContent
from tests.couriers.hosts import ANN, BOB, CAROL, DAVE, IN_CLEAR, MX, MX2, CourierCase, Host


class OneMessageTests(CourierCase):
    def test_pipelined(self) -> None:
        self.begin()
        delivery = self.deliver(BOB, CAROL)
        self.open("PIPELINING", "SIZE 1000").play(
            """
            C: MAIL FROM:<ann@example.org> SIZE=21
            C: RCPT TO:<bob@example.net>
            C: RCPT TO:<carol@example.net>
            C: DATA
            S: 250 2.1.0 OK
            S: 250 2.1.5 OK
            S: 550 5.1.1 No such user
            S: 354 Go
            C: Subject: x
            C:
            C: hello
            C: .
            S: 250 2.0.0 Queued as 7
            """
        )
        self.assertEqual(
            self.outcomes(delivery),
            [
                Delivered(Reply(250, "2.0.0", "Queued as 7"), "mx.example.net", relayed=True, reports=False),
                Failed(Reply(550, "5.1.1", "No such user"), "mx.example.net"),
            ],
        )

    def test_one_after_the_other(self) -> None:
        self.begin()
        delivery = self.deliver(BOB, CAROL)
        self.open().play(
            """
            C: MAIL FROM:<ann@example.org>
            S: 250 OK
            C: RCPT TO:<bob@example.net>
            S: 450 4.2.1 Busy
            C: RCPT TO:<carol@example.net>
            S: 250 OK
            C: DATA
            S: 354 Go
            C: Subject: x
            C:
            C: hello
            C: .
            S: 250 OK
            """
        )
        self.assertEqual(self.codes(delivery), ["Deferred 450 4.2.1", "Delivered 250"])

    def test_helo(self) -> None:
        self.begin()
        delivery = self.deliver()
        self.accept().play(
            """
            S: 220 old.example.net
            C: EHLO mail.example.org
            S: 502 What?
            C: HELO mail.example.org
            S: 250 old.example.net
            C: MAIL FROM:<ann@example.org>
            S: 250 OK
            C: RCPT TO:<bob@example.net>
            S: 250 OK
            C: DATA
            S: 354 Go
            C: Subject: x
            C:
            C: hello
            C: .
            S: 250 OK
            """
        )
        self.assertEqual(self.codes(delivery), ["Delivered 250"])

    def test_chunks_go_with_their_commands(self) -> None:
        self.begin()
        delivery = self.deliver(octets=b"Subject: x\r\n\r\n.\r\nhello")
        self.open("PIPELINING", "CHUNKING", "DSN").play(
            """
            C: MAIL FROM:<ann@example.org>
            C: RCPT TO:<bob@example.net>
            C: BDAT 24 LAST
            C: Subject: x
            C:
            C: .
            C: hello
            S: 250 OK
            S: 250 OK
            S: 250 Queued
            """
        )
        [outcome] = self.outcomes(delivery)
        self.assertEqual(outcome, Delivered(Reply(250, "", "Queued"), "mx.example.net", relayed=True, reports=True))

    def test_a_large_message_goes_in_chunks(self) -> None:
        self.begin()
        octets = b"Subject: x\r\n\r\n" + b"y" * 300_000
        delivery = self.deliver(octets=octets)
        host = self.open("PIPELINING", "CHUNKING")
        host.play("C: MAIL FROM:<ann@example.org>\nC: RCPT TO:<bob@example.net>\nS: 250 OK\nS: 250 OK")
        heard = host.hear()
        sizes = []
        arrived = b""
        while heard:
            line, _, heard = heard.partition(b"\r\n")
            sizes.append(line)
            size = int(line.split()[1])
            arrived, heard = arrived + heard[:size], heard[size:]
        self.assertEqual(sizes, [b"BDAT 131072", b"BDAT 131072", b"BDAT 37870", b"BDAT 2 LAST"])
        self.assertEqual(arrived, octets + b"\r\n")
        host.say(b"250 OK\r\n" * 3)
        self.assertNoResult(delivery)
        host.say(b"250 Taken\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"])

    def test_a_chunk_refused(self) -> None:
        self.begin()
        delivery = self.deliver(octets=b"y" * 300_000)
        host = self.open("PIPELINING", "CHUNKING")
        host.say(b"250 OK\r\n" * 2)
        host.say(b"552 5.3.4 Too much\r\n")
        self.assertEqual(self.codes(delivery), ["Failed 552 5.3.4"])
        self.assertTrue(host.transport.aborted)

    def test_chunking_that_is_none(self) -> None:
        """A host that announces CHUNKING and does not know BDAT gets the message by DATA, at once."""
        self.begin()
        delivery = self.deliver()
        first = self.open("PIPELINING", "CHUNKING")
        first.say(b"250 OK\r\n250 OK\r\n500 What?\r\n")
        self.assertTrue(first.transport.aborted)
        first.leave()
        second = self.open("PIPELINING", "CHUNKING")
        self.assertTrue(second.hear().endswith(b"DATA\r\n"))
        second.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"])

    def test_a_reply_in_many_pieces(self) -> None:
        self.begin()
        delivery = self.deliver()
        host = self.accept()
        for (
            octet
        ) in b"220-hello\r\n220 there\r\n250-mx\r\n250-SIZE\r\n250 PIPELINING\r\n250 a\r\n250 b\r\n354 c\r\n250 d\r\n":
            host.say(bytes([octet]))
        self.assertEqual(self.codes(delivery), ["Delivered 250"])


class RefusalTests(CourierCase):
    def refused(self, *replies: str, recipients: tuple[Address, ...] = (BOB, CAROL)) -> tuple[list[str], Host]:
        """Answer a pipelined group, and what follows it."""
        self.begin()
        delivery = self.deliver(*recipients)
        host = self.open("PIPELINING")
        for reply in replies:
            host.say(reply.encode() + b"\r\n")
        return self.codes(delivery), host

    def test_the_sender(self) -> None:
        codes, _ = self.refused("550 5.7.1 Go away", "503 MAIL first", "503 MAIL first", "503 RCPT first")
        self.assertEqual(codes, ["Failed 550 5.7.1"] * 2)
        codes, _ = self.refused("451 Later", "503 MAIL first", "503 MAIL first", "503 RCPT first")
        self.assertEqual(codes, ["Deferred 451 4.0.0"] * 2)

    def test_every_recipient(self) -> None:
        codes, host = self.refused("250 OK", "550 5.1.1 No", "450 4.2.0 Busy", "554 No valid recipients")
        self.assertEqual(codes, ["Failed 550 5.1.1", "Deferred 450 4.2.0"])
        self.assertFalse(host.closed)

    def test_every_recipient_and_go_ahead_all_the_same(self) -> None:
        """354 without a recipient is answered with the dot alone: what follows would be commands."""
        self.begin()
        delivery = self.deliver(BOB)
        host = self.open("PIPELINING")
        host.hear()
        host.play("S: 250 OK\nS: 550 5.1.1 No\nS: 354 Go\nC: .\nS: 554 No valid recipients")
        self.assertEqual(self.codes(delivery), ["Failed 550 5.1.1"])

    def test_data(self) -> None:
        for reply, code in {"451 4.3.0 Later": "Deferred 451 4.3.0", "554 5.7.1 No": "Failed 554 5.7.1"}.items():
            codes, host = self.refused("250 OK", "250 OK", "250 OK", reply)
            self.assertEqual(codes, [code] * 2)
            self.assertFalse(host.closed)

    def test_the_end(self) -> None:
        for reply, code in {"452 4.3.1 Full": "Deferred 452 4.3.1", "550 5.7.1 Spam": "Failed 550 5.7.1"}.items():
            codes, _ = self.refused("250 OK", "250 OK", "550 5.1.1 No", "354 Go", reply)
            self.assertEqual(codes, [code, "Failed 550 5.1.1"])

    def test_421_anywhere(self) -> None:
        good = ["250 OK", "250 OK", "250 OK", "354 Go", "250 OK"]
        for stage in range(len(good)):
            codes, host = self.refused(*good[:stage], "421 4.3.2 Stopping")
            self.assertEqual(codes, ["Deferred 421 4.3.2"] * 2, stage)
            self.assertTrue(host.transport.aborted)

    def test_421_leaves_what_is_known(self) -> None:
        codes, _ = self.refused("250 OK", "550 5.1.1 No", "421 4.3.2 Stopping")
        self.assertEqual(codes, ["Failed 550 5.1.1", "Deferred 421 4.3.2"])

    def test_the_connection_breaks(self) -> None:
        good = [b"", b"250 OK\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 Go\r\n"]
        for stage in range(len(good)):
            self.begin()
            delivery = self.deliver(BOB, CAROL)
            host = self.open("PIPELINING")
            for reply in good[: stage + 1]:
                host.say(reply)
            host.leave()
            self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"] * 2)
            self.assertFalse(self.waits(), "Not tried again at once: the connection was a fresh one")

    def test_timeouts(self) -> None:
        """RFC 5321 section 4.5.3.2: each answer has its time."""
        steps: list[tuple[bytes, float]] = [
            (b"", 300), (b"220 mx\r\n", 300), (b"250-mx\r\n250 PIPELINING\r\n", 300), (b"250 OK\r\n", 300),
            (b"250 OK\r\n", 120), (b"354 Go\r\n", 600),
        ]  # fmt: skip
        for stage in range(len(steps)):
            self.begin()
            delivery = self.deliver()
            host = self.accept()
            for reply, _ in steps[: stage + 1]:
                if reply:
                    host.say(reply)
            self.reactor.pump([1.0] * int(steps[stage][1] - 2))
            self.assertNoResult(delivery)
            self.reactor.pump([1.0] * 4)
            self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"], stage)
            self.assertTrue(host.transport.aborted)

    def test_a_host_that_takes_nothing(self) -> None:
        self.begin()
        delivery = self.deliver(octets=b"y" * 1_000_000)
        host = self.open("PIPELINING")
        host.say(b"250 OK\r\n250 OK\r\n")
        host.protocol.pauseProducing()
        host.say(b"354 Go\r\n")
        self.reactor.pump([1.0] * 178)
        self.assertNoResult(delivery)
        self.reactor.pump([1.0] * 4)
        self.assertTrue(host.transport.aborted)
        host.leave()
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"])

    def test_a_reply_that_trickles(self) -> None:
        """Many lines have no more time than one."""
        self.begin()
        delivery = self.deliver()
        host = self.accept()
        for _ in range(40):
            host.say(b"220-still here\r\n")
            self.reactor.advance(10)
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"])

    def test_no_smtp(self) -> None:
        good = [
            b"220 mx\r\n",
            b"250-mx\r\n250 PIPELINING\r\n",
            b"250 OK\r\n",
            b"250 OK\r\n",
            b"354 Go\r\n",
            b"250 OK\r\n",
        ]
        for nonsense in (
            b"* OK hello\r\n",
            b"\r\n",
            b"250 a\nb\r\n",
            b"354 what?\r\n",
            b"x" * 10_000,
            b"250-a\r\n551 b\r\n",
        ):
            for stage in range(len(good)):
                if nonsense.startswith(b"354") and stage == 4:
                    continue
                self.begin()
                delivery = self.deliver()
                host = self.accept()
                for reply in good[:stage]:
                    host.say(reply)
                host.say(nonsense)
                self.reactor.pump([1.0] * 6)  # for the goodbye
                [code] = self.codes(delivery)
                self.assertRegex(code, r"Deferred 451 4\.[45]\.", (nonsense, stage))
                self.assertTrue(host.closed or host.transport.aborted, (nonsense, stage))

    def test_an_answer_in_the_middle(self) -> None:
        """A host that refuses a message before its end is heard, and the message is not sent to its end."""
        self.begin()
        content = SpeakingContent(b"y" * 1_000_000)
        delivery = self.deliver(content=content)
        host = self.open("PIPELINING", "8BITMIME")
        content.before_second = lambda: host.say(b"552 5.3.4 Enough\r\n")
        host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n")
        self.assertEqual(self.codes(delivery), ["Failed 552 5.3.4"])
        self.assertTrue(host.transport.aborted)
        self.assertNotIn(b"\r\n.\r\n", host.hear())

    def test_a_content_that_breaks(self) -> None:
        """Half a message is never ended as if it were one."""
        for extensions in (["8BITMIME", "PIPELINING"], ["8BITMIME", "PIPELINING", "CHUNKING"]):
            self.begin()
            delivery = self.deliver(content=BrokenContent(b"y" * 1_000_000))
            host = self.open(*extensions)
            host.say(b"250 OK\r\n250 OK\r\n")
            host.say(b"354 Go\r\n" if len(extensions) == 2 else b"")
            self.assertEqual(self.codes(delivery), ["Deferred 451 4.3.0"])
            self.assertTrue(host.transport.aborted)
            heard = host.hear()
            self.assertFalse(heard.endswith(b".\r\n"))
            self.assertNotIn(b"LAST", heard)

    def test_a_small_content_that_breaks(self) -> None:
        """It costs nobody the connection."""
        self.begin()
        delivery = self.deliver(content=BrokenContent(b"y" * 1000))
        host = self.open("PIPELINING")
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.3.0"])
        self.assertEqual(host.hear(), b"")
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        again = self.deliver()
        host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(again), ["Delivered 250"])


class SpeakingContent(MemoryContent):
    """A content that lets something happen before its second piece is read."""

    before_second: Any = None

    async def read(self, offset: int, length: int) -> bytes:
        if offset:
            self.before_second()
        return await super().read(offset, length)


class RecipientsTests(CourierCase):
    def test_too_many(self) -> None:
        """RFC 5321 section 4.5.3.1.10: who was too many gets the message in the next transaction."""
        for reply in (b"452 4.5.3 Too many", b"552 Too many", b"452 too many recipients"):
            self.begin()
            delivery = self.deliver(BOB, CAROL, DAVE)
            host = self.open("PIPELINING")
            host.hear()
            host.say(b"250 OK\r\n250 OK\r\n" + (reply + b"\r\n") * 2 + b"354 Go\r\n")
            self.assertTrue(host.hear().endswith(b"hello\r\n.\r\n"))
            host.say(b"250 First\r\n")
            host.play(
                """
                C: MAIL FROM:<ann@example.org>
                C: RCPT TO:<carol@example.net>
                C: RCPT TO:<dave@example.net>
                C: DATA
                S: 250 OK
                S: 250 OK
                S: 550 5.1.1 No
                S: 354 Go
                C: Subject: x
                C:
                C: hello
                C: .
                S: 250 Second
                """
            )
            self.assertEqual(self.codes(delivery), ["Delivered 250", "Delivered 250", "Failed 550 5.1.1"])

    def test_too_many_from_the_first(self) -> None:
        self.begin()
        delivery = self.deliver(BOB)
        self.open("PIPELINING").say(b"250 OK\r\n552 Too many\r\n503 No\r\n")
        self.assertEqual(self.codes(delivery), ["Deferred 452 4.0.0"])

    def test_a_full_mailbox_is_something_else(self) -> None:
        self.begin()
        delivery = self.deliver(BOB, CAROL, DAVE)
        host = self.open("PIPELINING")
        host.say(b"250 OK\r\n250 OK\r\n452 4.2.2 Full\r\n552 5.2.2 Full\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250", "Deferred 452 4.2.2", "Failed 552 5.2.2"])

    def test_limits(self) -> None:
        self.begin()
        delivery = self.deliver(BOB, CAROL, DAVE)
        host = self.open("PIPELINING", "LIMITS RCPTMAX=2")
        self.assertEqual(host.hear().count(b"RCPT"), 2)
        host.say(b"250 OK\r\n250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(host.hear().count(b"RCPT"), 1)
        host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"] * 3)

    def test_domains(self) -> None:
        recipients = tuple(Address("a", f"{name}.example") for name in "aabbcc")
        errand = Errand("", Envelope("1a", ANN, recipients), MemoryContent())
        self.assertEqual(len(errand.pending), 3, "Nobody gets a message twice")
        batch = errand.batch(read_capabilities(["LIMITS RCPTDOMAINMAX=2"]))
        self.assertEqual([each.domain for each in batch], ["a.example", "b.example"])

    def test_the_same_recipient_twice(self) -> None:
        self.begin()
        delivery = self.deliver(BOB, BOB)
        host = self.open("PIPELINING")
        self.assertEqual(host.hear().count(b"RCPT"), 1)
        host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"] * 2)


class FittingTests(CourierCase):
    """What the next host lacks."""

    def heard(self, *extensions: str, octets: bytes = b"Subject: x\r\n\r\nhello\r\n", **envelope: Any) -> bytes:
        """Return what a host hears of a message that it takes."""
        recipients = envelope.pop("recipients", (BOB,))
        self.begin()
        delivery = self.deliver(*recipients, octets=octets, **envelope)
        host = self.open(*extensions)
        heard = host.hear()
        host.say(b"250 OK\r\n" * (1 + len(recipients)))
        if b"BDAT" not in heard + host.transport.value():
            host.say(b"354 Go\r\n")
        heard += host.hear()
        host.say(b"250 OK\r\n" * (1 + heard.count(b"BDAT")))
        self.assertEqual(self.codes(delivery), ["Delivered 250"] * len(recipients))
        return heard

    def refused(self, *extensions: str, octets: bytes = b"Subject: x\r\n\r\nhello\r\n", **envelope: Any) -> list[str]:
        self.begin()
        delivery = self.deliver(octets=octets, **envelope)
        host = self.open(*extensions)
        self.assertEqual(host.hear(), b"")
        return self.codes(delivery)

    def test_size(self) -> None:
        self.assertEqual(self.refused("PIPELINING", "SIZE 10"), ["Failed 552 5.3.4"])

    def test_eight_bit(self) -> None:
        octets = "Subject: x\r\n\r\n안녕\r\n".encode()
        heard = self.heard("PIPELINING", "8BITMIME", octets=octets, body="8BITMIME")
        self.assertIn(b"BODY=8BITMIME", heard)
        self.assertIn(octets, heard)
        self.assertIn(b"BODY=8BITMIME", self.heard("PIPELINING", "8BITMIME", octets=octets), "whatever was said of it")

    def test_seven_bit(self) -> None:
        octets = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        octets += b"Content-Transfer-Encoding: 8bit\r\n\r\n" + "안녕\r\n".encode()
        for large in (b"", b"x" * 70 + b"\r\n" + b"y" * 100_000 + b"\r\n"):
            heard = self.heard("PIPELINING", octets=octets + large, body="8BITMIME")
            self.assertTrue(heard.isascii())
            self.assertNotIn(b"BODY", heard)
            self.assertRegex(heard.lower(), rb"content-transfer-encoding: (base64|quoted-printable)")
        self.assertEqual([draft.closed for draft in self.drafts], [1])

    def test_no_room_to_convert(self) -> None:
        async def full(size: int) -> Any:
            raise NoSpace

        self.begin(open_draft=full)
        delivery = self.deliver(octets=b"Subject: x\r\n\r\n" + b"\xff" * 100_000)
        self.open("PIPELINING")
        self.assertEqual(self.codes(delivery), ["Deferred 452 4.3.1"])

    def test_binary(self) -> None:
        octets = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        octets += b"Content-Transfer-Encoding: binary\r\n\r\n\0\r\n.\r\n\n\r" + bytes(range(256))
        heard = self.heard("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME", octets=octets, body="BINARYMIME")
        self.assertIn(b"BODY=BINARYMIME", heard)
        self.assertTrue(heard.endswith(b"LAST\r\n" + octets))
        for extensions in (["8BITMIME"], ["8BITMIME", "CHUNKING"], []):
            heard = self.heard("PIPELINING", *extensions, octets=octets, body="BINARYMIME")
            self.assertTrue(heard.isascii())
            self.assertNotIn(b"BODY=", heard)
            self.assertIn(b"base64", heard.lower())

    def test_smtputf8(self) -> None:
        sky = Address("하늘", "예시.한국")
        heard = self.heard("PIPELINING", "8BITMIME", "SMTPUTF8", octets=KOREAN_UTF_8, smtputf8=True, sender=sky)
        self.assertIn("MAIL FROM:<하늘@예시.한국> BODY=8BITMIME SMTPUTF8".encode(), heard.replace(b" SIZE=0", b""))

    def test_smtputf8_not_needed(self) -> None:
        """What could have been sent without SMTPUTF8 is sent without."""
        for extensions in ([], ["SMTPUTF8", "8BITMIME"]):
            self.assertNotIn(b"SMTPUTF8", self.heard("PIPELINING", *extensions, smtputf8=True))

    def test_a_domain_alone_becomes_a_labels(self) -> None:
        heard = self.heard(
            "PIPELINING", smtputf8=True, sender=Address("a", "예시.한국"), recipients=(Address("b", "한국"),)
        )
        self.assertIn(b"MAIL FROM:<a@xn--vv4b11d.xn--3e0b707e>\r\nRCPT TO:<b@xn--3e0b707e>\r\n", heard)

    def test_smtputf8_needed_and_not_offered(self) -> None:
        self.assertEqual(
            self.refused("PIPELINING", "8BITMIME", smtputf8=True, octets=KOREAN_UTF_8), ["Failed 550 5.6.7"]
        )
        large = KOREAN_UTF_8 + b"x" * 300_000
        self.assertEqual(self.refused("PIPELINING", "8BITMIME", smtputf8=True, octets=large), ["Failed 550 5.6.7"])
        self.assertEqual(self.refused("PIPELINING", sender=Address("하늘", "example.org")), ["Failed 550 5.6.7"])

    def test_one_recipient_needs_smtputf8(self) -> None:
        self.begin()
        delivery = self.deliver(BOB, Address("하늘", "example.net"), CAROL)
        host = self.open("PIPELINING")
        self.assertEqual(host.hear().count(b"RCPT"), 2)
        host.say(b"250 OK\r\n250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250", "Failed 553 5.6.7", "Delivered 250"])

    def test_an_address_that_cannot_be_said(self) -> None:
        bad = Address("a\r\nRCPT TO:<x@y>", "example.net")
        self.begin()
        delivery = self.deliver(bad, BOB)
        host = self.open("PIPELINING")
        self.assertEqual(host.hear(), b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
        host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Failed 553 5.1.3", "Delivered 250"])
        self.assertEqual(self.refused("PIPELINING", sender=bad), ["Failed 553 5.1.7"])

    def test_dsn(self) -> None:
        envelope: dict[str, Any] = {
            "returns": "HDRS", "envid": "QQ+1", "options": {BOB: RecipientOptions(Notify.SUCCESS, ("rfc822", "b@x"))}
        }  # fmt: skip
        heard = self.heard("PIPELINING", "DSN", **envelope)
        self.assertIn(b"<ann@example.org> RET=HDRS ENVID=QQ+2B1\r\n", heard)
        self.assertIn(b"<bob@example.net> NOTIFY=SUCCESS ORCPT=rfc822;b@x\r\n", heard)
        self.assertIn(b"<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\n", self.heard("PIPELINING", **envelope))

    def test_deliver_by(self) -> None:
        late = DeliverBy(9e9, returns=True)
        self.assertRegex(self.heard("PIPELINING", "DELIVERBY", by=late), rb"BY=999999999;R\r\n|BY=\d+;R\r\n")
        self.assertEqual(self.refused("PIPELINING", by=late), ["Failed 550 5.3.3"])
        self.assertEqual(self.refused("PIPELINING", "DELIVERBY 100000", by=DeliverBy(1.0, True)), ["Failed 550 5.3.3"])
        self.assertNotIn(b"BY=", self.heard("PIPELINING", by=DeliverBy(9e9, returns=False)))

    def test_requiretls_without_tls(self) -> None:
        self.assertEqual(self.refused("PIPELINING", "REQUIRETLS", require_tls=True), ["Failed 550 5.7.30"])
        self.assertEqual(self.hops.asked, [("example.net", True)])


class HostsTests(CourierCase):
    def test_none(self) -> None:
        for found in (DeferredOutcome(Reply(451, "4.4.3", "DNS")), Failed(Reply(556, "5.1.10", "Null MX"))):
            self.begin(found=found)
            self.assertEqual(self.outcomes(self.deliver(BOB, CAROL)), [found] * 2)
        self.begin(found=[])
        self.assertEqual(self.codes(self.deliver()), ["Deferred 451 4.4.4"])

    def test_the_next_one(self) -> None:
        def refuse() -> None:
            self.refuse()

        def greet_badly() -> None:
            self.accept().say(b"450 4.3.2 Busy\r\n")

        def greet_for_good() -> None:
            self.accept().say(b"554 5.7.1 Go away\r\n")

        def leave() -> None:
            self.accept().leave()

        def refuse_ehlo() -> None:
            self.accept().say(b"220 mx\r\n421 4.3.2 Busy\r\n")

        for fail in (refuse, greet_badly, greet_for_good, leave, refuse_ehlo):
            self.begin(MX, MX2)
            delivery = self.deliver()
            fail()
            self.reactor.pump([1.0] * 6)  # for the goodbye
            self.assertEqual(self.reactor.tcpClients[self.dialled][0], MX2.address)
            self.open("PIPELINING").say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
            [outcome] = self.outcomes(delivery)
            assert isinstance(outcome, Delivered)
            self.assertEqual(outcome.host, MX2.host)

    def test_nobody(self) -> None:
        self.begin(MX, MX2)
        delivery = self.deliver()
        self.refuse()
        self.refuse()
        [outcome] = self.outcomes(delivery)
        assert isinstance(outcome, DeferredOutcome)
        self.assertTrue(outcome.unreachable)
        self.assertEqual(outcome.reply.status, "4.4.1")
        self.assertIn("mx2.example.net [192.0.2.2]: Connection refused", outcome.reply.text)

    def test_everybody_refuses_for_good(self) -> None:
        self.begin(MX, MX2)
        delivery = self.deliver()
        for _ in range(2):
            self.accept().say(b"521 5.3.2 No mail here\r\n221 Bye\r\n")
        self.assertEqual(self.codes(delivery), ["Failed 521 5.3.2"])

    def test_one_refuses_for_good(self) -> None:
        self.begin(MX, MX2)
        delivery = self.deliver()
        self.refuse()
        self.accept().say(b"554 5.7.1 Go away\r\n221 Bye\r\n")
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.1"])

    def test_deferred_recipients_are_tried_with_the_next_one(self) -> None:
        self.begin(MX, MX2, Hop("mx3", "192.0.2.3", 25, tls=IN_CLEAR))
        delivery = self.deliver(BOB, CAROL, DAVE)
        self.open("PIPELINING").say(b"250 OK\r\n450 4.2.0 Grey\r\n250 OK\r\n550 5.1.1 No\r\n354 Go\r\n250 OK\r\n")
        second = self.open("PIPELINING")
        self.assertEqual(second.hear().count(b"RCPT"), 1)
        second.say(b"250 OK\r\n451 4.7.1 Grey\r\n503 No\r\n")
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.7.1", "Delivered 250", "Failed 550 5.1.1"])
        self.assertFalse(self.waits(), "Two sessions are enough")

    def test_a_doubtful_end_is_not_tried_elsewhere(self) -> None:
        """RFC 1047: the host may have the message."""
        self.begin(MX, MX2)
        delivery = self.deliver()
        host = self.open("PIPELINING")
        host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n")
        host.leave()
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"])
        self.assertFalse(self.waits())

    def test_no_more_than_five(self) -> None:
        self.begin(*(Hop(f"mx{n}", f"192.0.2.{n}", 25, tls=IN_CLEAR) for n in range(9)))
        delivery = self.deliver()
        for _ in range(5):
            self.refuse()
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.1"])

    def test_a_dead_host_is_left_alone(self) -> None:
        self.begin(avoid_time=30.0)
        delivery = self.deliver()
        self.refuse()
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.1"])
        again = self.deliver()
        self.assertFalse(self.waits())
        self.assertEqual(self.codes(again), ["Deferred 451 4.4.1"])
        self.reactor.advance(31)
        later = self.deliver()
        self.assertTrue(self.waits())
        self.open("PIPELINING").say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(later), ["Delivered 250"])

    def test_a_host_that_lacks_what_the_message_needs(self) -> None:
        self.begin(MX, MX2)
        delivery = self.deliver(sender=Address("하늘", "example.org"))
        self.open("PIPELINING")
        self.open("PIPELINING", "SMTPUTF8", "8BITMIME").say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"])


ANY, ENCRYPT = TLSDemand(TLSLevel.MAY), TLSDemand(TLSLevel.ENCRYPT)


def demanding(demand: TLSDemand, login: Login | None = None) -> Hop:
    return Hop("mx.example.net", "192.0.2.1", 25, tls=demand, login=login)


class TLSTests(CourierCase):
    def test_starttls(self) -> None:
        self.begin(demanding(ANY))
        delivery = self.deliver()
        host = self.accept().play(
            """
            S: 220 mx
            C: EHLO mail.example.org
            S: 250-mx
            S: 250-STARTTLS
            S: 250 PIPELINING
            C: STARTTLS
            S: 220 Go ahead
            """
        )
        host.finish_handshake()
        host.play(
            """
            C: EHLO mail.example.org
            S: 250 mx
            C: MAIL FROM:<ann@example.org>
            S: 250 OK
            C: RCPT TO:<bob@example.net>
            S: 250 OK
            C: DATA
            S: 354 Go
            C: Subject: x
            C:
            C: hello
            C: .
            S: 250 OK
            """
        )  # PIPELINING was said in the clear, and is forgotten
        self.assertEqual(self.codes(delivery), ["Delivered 250"])
        self.assertEqual(self.hops.tls, [("example.net", "mx.example.net", "")])

    def test_implicit(self) -> None:
        self.begin(demanding(TLSDemand(TLSLevel.ENCRYPT, implicit=True)))
        delivery = self.deliver()
        host = self.accept()
        host.finish_handshake()
        host.say(b"220 mx\r\n250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertNotIn(b"STARTTLS", host.hear())
        self.assertEqual(self.codes(delivery), ["Delivered 250"])

    def test_not_offered(self) -> None:
        self.begin(demanding(ANY))
        delivery = self.deliver()
        self.open("PIPELINING").say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"])
        self.assertEqual([result for *_, result in self.hops.tls], ["starttls-not-supported"])
        for reply in (b"250 mx\r\n", b"502 What?\r\n250 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n454 Not now\r\n"):
            self.begin(demanding(ENCRYPT))
            delivery = self.deliver()
            host = self.accept()
            host.say(b"220 mx\r\n" + reply)
            self.assertTrue(host.hear().endswith(b"QUIT\r\n"))
            host.say(b"221 Bye\r\n")
            self.assertEqual(self.codes(delivery), ["Deferred 454 4.7.4"])
            self.assertEqual([result for *_, result in self.hops.tls], ["starttls-not-supported"])

    def test_refused_where_it_was_optional(self) -> None:
        self.begin(demanding(ANY))
        delivery = self.deliver()
        host = self.open("STARTTLS", "PIPELINING")
        host.say(b"454 Not now\r\n250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"])

    def test_injection(self) -> None:
        """Octets behind the 220, in the same segment, are somebody else's: they end the connection (CVE-2011-0411)."""
        for demand in (ANY, ENCRYPT):
            self.begin(demanding(demand))
            delivery = self.deliver()
            host = self.open("STARTTLS", "PIPELINING")
            host.say(b"220 Go ahead\r\n250-mx\r\n250 AUTH PLAIN\r\n")
            self.assertTrue(host.transport.aborted)
            self.assertFalse(host.transport.tls_started)
            self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"])

    def test_a_failed_handshake_is_tried_in_the_clear(self) -> None:
        self.begin(demanding(ANY))
        delivery = self.deliver()
        host = self.open("STARTTLS", "PIPELINING")
        host.say(b"220 Go ahead\r\n")
        host.leave()
        second = self.open("STARTTLS", "PIPELINING")
        second.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertNotIn(b"STARTTLS", second.hear())
        self.assertEqual(self.codes(delivery), ["Delivered 250"])
        self.assertEqual([result for *_, result in self.hops.tls], ["validation-failure"])
        second.leave()
        again = self.deliver()
        third = self.open("STARTTLS", "PIPELINING")
        self.assertNotIn(b"STARTTLS", third.hear())
        third.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(again), ["Delivered 250"], "remembered though the connection is gone")

    def test_a_failed_handshake_where_tls_is_demanded(self) -> None:
        self.begin(demanding(ENCRYPT))
        delivery = self.deliver()
        host = self.open("STARTTLS", "PIPELINING")
        host.say(b"220 Go ahead\r\n")
        host.leave()
        self.assertEqual(self.codes(delivery), ["Deferred 454 4.7.5"])
        self.assertFalse(self.waits())

    def test_requiretls(self) -> None:
        for extension, code in {"REQUIRETLS": "Delivered 250", "DSN": "Failed 550 5.7.30"}.items():
            self.begin(demanding(ENCRYPT))
            delivery = self.deliver(require_tls=True)
            host = self.open("STARTTLS", "REQUIRETLS")
            host.say(b"220 Go ahead\r\n")
            host.finish_handshake()
            host.say(f"250-mx\r\n250-{extension}\r\n250 PIPELINING\r\n".encode())
            if extension == "REQUIRETLS":
                self.assertIn(b"MAIL FROM:<ann@example.org> REQUIRETLS\r\n", host.hear())
                host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
            self.assertEqual(self.codes(delivery), [code])

    def test_a_fault_of_the_tls_report(self) -> None:
        self.begin(demanding(ANY))
        self.hops.tls = None  # type: ignore[assignment]  # it breaks
        delivery = self.deliver()
        self.open("PIPELINING").say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"])
        self.assertEqual(len(self.flushLoggedErrors()), 1)


ME = Login("me@example.org", "secret")


class LoginTests(CourierCase):
    def test_plain(self) -> None:
        self.begin(demanding(IN_CLEAR, ME))
        delivery = self.deliver(submitter="ann@example.org")
        host = self.open("AUTH LOGIN PLAIN", "PIPELINING")
        host.play("C: AUTH PLAIN AG1lQGV4YW1wbGUub3JnAHNlY3JldA==\nS: 235 2.7.0 Welcome")
        self.assertIn(b"MAIL FROM:<ann@example.org> AUTH=ann@example.org\r\n", host.hear())
        host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        self.assertEqual(self.codes(delivery), ["Delivered 250"])

    def test_login(self) -> None:
        self.begin(demanding(IN_CLEAR, ME))
        self.deliver()
        self.open("AUTH LOGIN", "PIPELINING").play(
            """
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: bWVAZXhhbXBsZS5vcmc=
            S: 334 UGFzc3dvcmQ6
            C: c2VjcmV0
            S: 235 2.7.0 Welcome
            C: MAIL FROM:<ann@example.org>
            C: RCPT TO:<bob@example.net>
            C: DATA
            """
        )

    def test_a_password_does_not_leave_in_the_clear(self) -> None:
        self.begin(demanding(ANY, ME))
        delivery = self.deliver()
        host = self.open("AUTH PLAIN LOGIN", "PIPELINING")
        self.assertEqual(host.hear(), b"QUIT\r\n")
        host.say(b"221 Bye\r\n")
        self.assertEqual(self.codes(delivery), ["Deferred 454 4.7.4"])

    def test_refused(self) -> None:
        """A wrong password is ours to put right: nobody's mail is given back for it."""
        self.begin(demanding(IN_CLEAR, ME))
        delivery = self.deliver()
        host = self.open("AUTH PLAIN", "PIPELINING")
        host.say(b"535 5.7.8 Wrong\r\n221 Bye\r\n")
        [outcome] = self.outcomes(delivery)
        assert isinstance(outcome, DeferredOutcome)
        self.assertEqual(outcome.reply, Reply(454, "4.7.8", "Login refused: Wrong"))
        self.assertTrue(outcome.unreachable)

    def test_challenges_that_make_no_sense(self) -> None:
        for challenge in (b"334 !!!", b"334 " + b"QQ==" * 10):
            self.begin(demanding(IN_CLEAR, ME))
            delivery = self.deliver()
            host = self.open("AUTH SCRAM-SHA-256", "PIPELINING")
            self.assertIn(b"AUTH SCRAM-SHA-256 biws", host.hear())
            host.say(challenge + b"\r\n")
            self.assertEqual(host.hear(), b"*\r\n")
            host.say(b"501 Cancelled\r\n221 Bye\r\n")
            self.assertEqual(self.codes(delivery), ["Deferred 454 4.7.8"])

    def test_a_server_that_proves_nothing(self) -> None:
        self.begin(demanding(IN_CLEAR, ME))
        delivery = self.deliver()
        host = self.open("AUTH SCRAM-SHA-256", "PIPELINING")
        host.say(b"235 Welcome\r\n221 Bye\r\n")
        self.assertEqual(self.codes(delivery), ["Deferred 454 4.7.8"])

    def test_the_password_is_in_no_text(self) -> None:
        self.assertNotIn("secret", repr(demanding(IN_CLEAR, ME)))


class CancelledTests(CourierCase):
    def test_a_delivery_that_nobody_waits_for(self) -> None:
        self.begin()
        delivery = self.deliver()
        delivery.addErrback(lambda failure: None)
        delivery.cancel()
        host = self.open("PIPELINING")
        self.assertEqual(host.hear(), b"")
        self.reactor.pump([1.0] * 12)
        self.assertEqual(host.hear(), b"QUIT\r\n")
