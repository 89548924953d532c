"""FETCH: what is said of messages, and their octets."""

import re
from typing import Any

from mailfw.imap.commands.fetch import _plan, _told
from mailfw.mail.mailbox import INBOX, FlagChange, NewMessage
from mailfw.testing.dialogue import Dialogue, run_now
from tests.imap.sessions import ANN, HeldDraft, SessionCase
from tests.mail.test_mime import NESTED

SIMPLE = b"Date: Thu, 1 Jan 1970 00:00:10 +0000\r\nSubject: Hi\r\nX-Own: 1\r\nsubject: again\r\n\r\nHow are you?\r\n"


class Watched:
    """Lets a store be used, and notes by which methods."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.store, name)


class FetchCase(SessionCase):
    def deliver(self, octets: bytes, *flags: str) -> int:
        draft = HeldDraft()
        run_now(self, draft.write(octets))
        new = NewMessage(draft, frozenset(flags), 1_000_000_000)
        appended = run_now(self, self.store.append(ANN, self.info(INBOX).id, [new]))
        return int(appended[0].uid)

    def fetch(self, dialogue: Dialogue, what: bytes) -> bytes:
        """Return the answer to FETCH 1 without what is around it."""
        answer = self.ask(dialogue, b"f FETCH 1 " + what)
        found = re.fullmatch(rb"\* 1 FETCH \((.*)\)\r\nf OK Fetched\r\n", answer, re.DOTALL)
        assert found is not None, answer
        return found[1]


class Facts(FetchCase):
    def test_macros(self) -> None:
        self.deliver(SIMPLE, "\\Flagged")
        dialogue = self.open()
        date = b'INTERNALDATE " 9-Sep-2001 01:46:40 +0000"'
        fast = b"FLAGS (\\Flagged \\Recent) " + date + b" RFC822.SIZE %d" % len(SIMPLE)
        envelope = b' ENVELOPE ("Thu, 1 Jan 1970 00:00:10 +0000" "again" NIL NIL NIL NIL NIL NIL NIL NIL)'
        body = b' BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 14 1)'
        self.assertEqual(self.fetch(dialogue, b"FAST"), fast)
        self.assertEqual(self.fetch(dialogue, b"ALL"), fast + envelope)
        self.assertEqual(self.fetch(dialogue, b"FULL"), fast + envelope + body)
        self.assertEqual(
            self.fetch(dialogue, b"BODYSTRUCTURE"),
            b'BODYSTRUCTURE ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 14 1 NIL NIL NIL NIL)',
        )

    def test_in_the_order_asked(self) -> None:
        self.deliver(SIMPLE)
        dialogue = self.open()
        self.assertEqual(self.fetch(dialogue, b"(RFC822.SIZE UID FLAGS)"), b"RFC822.SIZE 93 UID 1 FLAGS (\\Recent)")

    def test_uid_fetch_tells_uids(self) -> None:
        self.put(3)
        dialogue = self.open()
        self.assertEqual(
            self.ask_lines(dialogue, b"f UID FETCH 2:9,77 (FLAGS)"),
            [b"* 2 FETCH (UID 2 FLAGS (\\Recent))", b"* 3 FETCH (UID 3 FLAGS (\\Recent))", b"f OK Fetched"],
        )
        self.assertEqual(
            self.ask_lines(dialogue, b"f UID FETCH 2 (RFC822.SIZE UID)"),
            [b"* 2 FETCH (RFC822.SIZE 32 UID 2)", b"f OK Fetched"],
        )
        self.assertEqual(self.ask_lines(dialogue, b"f UID FETCH 77 (FLAGS)"), [b"f OK Fetched"])

    def test_message_that_never_was(self) -> None:
        self.put(1)
        dialogue = self.open()
        for command in (b"f FETCH 2 FLAGS", b"f FETCH 0 FLAGS", b"f FETCH 1", b"f FETCH 1 (X)"):
            self.assertTrue(self.ask(dialogue, command).startswith(b"f BAD "), command)

    def test_many(self) -> None:
        self.put(1203)
        lines = self.ask_lines(self.open(), b"f FETCH 1:* (UID RFC822.SIZE)")
        self.assertEqual(lines[:-1], [b"* %d FETCH (UID %d RFC822.SIZE 32)" % (n, n) for n in range(1, 1204)])

    def test_flags_and_uids_come_from_the_view(self) -> None:
        self.put(2)
        self.store = Watched(self.store)
        self.realm = type(self.realm)(self.store)
        dialogue = self.open_with(self.store)
        self.store.calls.clear()
        self.fetch(dialogue, b"(UID FLAGS)")
        self.assertEqual(self.store.calls, [])
        self.fetch(dialogue, b"(UID FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT)])")
        self.assertEqual(self.store.calls, ["rows"])

    def open_with(self, store: Any) -> Dialogue:
        self.portal.realm = self.realm
        return self.open()


class Kept(FetchCase):
    """What a request comes to is kept for the next one that is the same, unless it is long."""

    def test_only_short_requests(self) -> None:
        self.put(1)
        dialogue = self.open()
        for names, kept in ((b"X-One X-Two", 1), (b"X " * 1000 + b"Y", 0)):
            _told.cache_clear()
            _plan.cache_clear()
            for _ in range(2):
                self.fetch(dialogue, b"(FLAGS BODY.PEEK[HEADER.FIELDS (" + names + b")])")
            self.assertEqual([_told.cache_info().currsize, _plan.cache_info().currsize], [kept, kept])


class Octets(FetchCase):
    def check(self, octets: bytes, table: tuple[tuple[bytes, bytes | None], ...]) -> None:
        self.deliver(octets, "\\Seen")
        dialogue = self.open(verb=b"EXAMINE")
        for section, expected in table:
            value = b"NIL" if expected is None else b'""' if not expected else b"{%d}\r\n%b" % (len(expected), expected)
            self.assertEqual(self.fetch(dialogue, b"BODY.PEEK" + section), b"BODY" + section + b" " + value)

    def test_simple_message(self) -> None:
        header, text = SIMPLE[:-14], SIMPLE[-14:]
        self.check(
            SIMPLE,
            (
                (b"[]", SIMPLE),
                (b"[HEADER]", header),
                (b"[TEXT]", text),
                (b"[1]", text),
                (b"[1.MIME]", header),
                (b"[2]", None),
                (b"[1.1]", None),
                (b"[1.HEADER]", None),
                (b"[1.TEXT]", None),
                (b"[HEADER.FIELDS (SUBJECT)]", b"Subject: Hi\r\nsubject: again\r\n\r\n"),
                (b"[HEADER.FIELDS (X-OWN DATE)]", b"Date: Thu, 1 Jan 1970 00:00:10 +0000\r\nX-Own: 1\r\n\r\n"),
                (b"[HEADER.FIELDS (To)]", b"\r\n"),
                (b"[HEADER.FIELDS (X-To)]", b"\r\n"),
                (b"[HEADER.FIELDS.NOT (DATE Subject)]", b"X-Own: 1\r\n\r\n"),
                (b"[HEADER.FIELDS.NOT (X-To)]", header),
            ),
        )

    def test_nested_message(self) -> None:
        three = b"Subject: three\r\nContent-Type: multipart/mixed; boundary=inner\r\n\r\n"
        mime = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment; filename=mail.eml\r\n\r\n"
        inner = b"Subject: three.two\r\n\r\nthree.two.one"
        parts = (
            b"--inner\r\n\r\nthree.one\r\n--inner\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--inner--"
        )
        self.check(
            NESTED,
            (
                (b"[1]", b"one"),
                (b"[1.MIME]", b"\r\n"),
                (b"[2.1]", b"two.one\r\n"),
                (b"[2.1.MIME]", b"Content-Type: text/plain; charset=utf-8\r\n\r\n"),
                (b"[2.2]", b"dHdvLnR3bw=="),
                (b"[2.HEADER]", None),
                (b"[3]", three + parts),
                (b"[3.MIME]", mime),
                (b"[3.HEADER]", three),
                (b"[3.TEXT]", parts),
                (b"[3.HEADER.FIELDS (Subject)]", b"Subject: three\r\n\r\n"),
                (b"[3.HEADER.FIELDS.NOT (Subject)]", three[16:]),
                (b"[3.1]", b"three.one"),
                (b"[3.2]", inner),
                (b"[3.2.HEADER]", inner[:22]),
                (b"[3.2.TEXT]", b"three.two.one"),
                (b"[3.2.1]", b"three.two.one"),
                (b"[3.2.1.MIME]", inner[:22]),
                (b"[3.3]", None),
                (b"[4]", b""),
                (b"[5]", None),
            ),
        )  # fmt: skip

    def test_partial(self) -> None:
        self.deliver(SIMPLE)
        dialogue = self.open()
        for section, origin, length in (
            (b"[]", 0, 5),
            (b"[]", 90, 3),
            (b"[]", 90, 999),
            (b"[]", 93, 5),
            (b"[]", 2**31, 5),
        ):
            cut = SIMPLE[origin : origin + length]
            value = b"{%d}\r\n%b" % (len(cut), cut) if cut else b'""'
            self.assertEqual(
                self.fetch(dialogue, b"BODY.PEEK%b<%d.%d>" % (section, origin, length)),
                b"BODY%b<%d> %b" % (section, origin, value),
            )
        self.assertEqual(self.fetch(dialogue, b"BODY.PEEK[TEXT]<4.3>"), b"BODY[TEXT]<4> {3}\r\nare")
        self.assertEqual(self.fetch(dialogue, b"BODY.PEEK[HEADER.FIELDS (subject)]<9.2>"),
                         b"BODY[HEADER.FIELDS (subject)]<9> {2}\r\nHi")  # fmt: skip
        self.assertEqual(self.fetch(dialogue, b"BODY.PEEK[2]<0.9>"), b"BODY[2]<0> NIL")

    def test_old_names(self) -> None:
        self.deliver(SIMPLE, "\\Seen")
        dialogue = self.open()
        self.assertEqual(self.fetch(dialogue, b"RFC822"), b"RFC822 {93}\r\n" + SIMPLE)
        self.assertEqual(self.fetch(dialogue, b"RFC822.HEADER"), b"RFC822.HEADER {79}\r\n" + SIMPLE[:-14])
        self.assertEqual(self.fetch(dialogue, b"RFC822.TEXT"), b"RFC822.TEXT {14}\r\n" + SIMPLE[-14:])

    def test_several_at_once(self) -> None:
        self.deliver(SIMPLE, "\\Seen")
        dialogue = self.open()
        self.assertEqual(
            self.fetch(dialogue, b"(BODY[1] UID BODY[HEADER.FIELDS (X-Own)] FLAGS)"),
            b"UID 1 FLAGS (\\Seen \\Recent) BODY[1] {14}\r\n" + SIMPLE[-14:]
            + b" BODY[HEADER.FIELDS (X-Own)] {12}\r\nX-Own: 1\r\n\r\n",
        )  # fmt: skip

    def test_large(self) -> None:
        octets = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 60_000
        self.deliver(octets, "\\Seen")
        dialogue = self.open()
        self.assertEqual(self.fetch(dialogue, b"BODY[]"), b"BODY[] {%d}\r\n" % len(octets) + octets)
        self.assertEqual(
            self.fetch(dialogue, b"BODY[TEXT]<16.700000>"), b"BODY[TEXT]<16> {700000}\r\n" + octets[34:700034]
        )

    def test_a_message_many_times_is_not_held_in_memory(self) -> None:
        octets = b"\r\n" + b"x" * 200_000
        self.deliver(octets, "\\Seen")
        dialogue = self.open()
        writes: list[int] = []
        real = dialogue.transport.write

        def write(octets: bytes) -> None:
            writes.append(len(octets))
            real(octets)

        self.patch(dialogue.transport, "write", write)
        answer = self.fetch(dialogue, b"(" + b" ".join([b"BODY[]<0.%d>" % (10**9 + n) for n in range(9)]) + b")")
        self.assertEqual(answer, b" ".join([b"BODY[]<0> {200002}\r\n" + octets] * 9))
        self.assertLess(max(writes), 500_000)

    def test_nul_is_never_sent(self) -> None:
        self.deliver(b"Subject: x\r\n\r\na\0b", "\\Seen")
        self.assertEqual(self.fetch(self.open(), b"BODY[TEXT]"), b"BODY[TEXT] {3}\r\na\x80b")


class Seeing(FetchCase):
    def test_reading_marks_as_seen(self) -> None:
        for at, what in enumerate((b"BODY[]", b"BODY[1]", b"RFC822", b"RFC822.TEXT", b"BODY[HEADER]"), start=1):
            self.deliver(SIMPLE)
            answer = self.ask(self.open(), b"f FETCH %d %b" % (at, what))
            self.assertTrue(answer.endswith(b" FLAGS (\\Seen \\Recent))\r\nf OK Fetched\r\n"), answer)
            self.assertEqual(self.flags()[at], {"\\Seen"})

    def test_peeking_does_not(self) -> None:
        self.deliver(SIMPLE)
        dialogue = self.open()
        for what in (b"BODY.PEEK[]", b"RFC822.HEADER", b"(ENVELOPE BODYSTRUCTURE)"):
            self.assertNotIn(b"Seen", self.ask(dialogue, b"f FETCH 1 " + what))
        self.assertEqual(self.flags(), {1: frozenset()})

    def test_nor_does_reading_in_examine(self) -> None:
        self.deliver(SIMPLE)
        self.assertNotIn(b"Seen", self.ask(self.open(verb=b"EXAMINE"), b"f FETCH 1 BODY[]"))
        self.assertEqual(self.flags(), {1: frozenset()})

    def test_flags_that_are_asked_for_are_new(self) -> None:
        self.deliver(SIMPLE)
        dialogue = self.open()
        self.assertEqual(self.ask(dialogue, b"f FETCH 1 (FLAGS BODY[TEXT])").count(b"FLAGS (\\Seen \\Recent)"), 1)
        self.assertEqual(self.ask(dialogue, b"f FETCH 1 BODY[TEXT]").count(b"FLAGS"), 0)

    def test_once_for_a_batch(self) -> None:
        for _ in range(20):
            self.deliver(SIMPLE)
        before = self.info().modseq
        self.ask(self.open(), b"f FETCH 1:* BODY[TEXT]")
        self.assertEqual(set(self.flags().values()), {frozenset({"\\Seen"})})
        self.assertEqual(self.info().modseq, before + 1)

    def test_other_sessions_hear_of_it(self) -> None:
        self.deliver(SIMPLE)
        reader, other = self.open(), self.open()
        self.ask(reader, b"f FETCH 1 BODY[]")
        self.assertIn(b"* 1 FETCH (FLAGS (\\Seen))", self.ask_lines(other, b"n NOOP"))
        self.assertNotIn(b"FETCH", self.ask(reader, b"n NOOP"))


class Gone(FetchCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(3)
        self.dialogue = self.open()
        run_now(self, self.store.alter(ANN, self.info().id, [2], FlagChange.ADD, frozenset({"\\Deleted"})))
        run_now(self, self.store.expunge(ANN, self.info().id, [2]))

    def test_message_that_is_gone_is_left_out(self) -> None:
        for what in (b"ENVELOPE", b"BODY.PEEK[]", b"BODY[TEXT]"):
            lines = self.ask(self.dialogue, b"f FETCH 1:3 " + what)
            self.assertIn(b"* 1 FETCH", lines)
            self.assertNotIn(b"* 2 FETCH", lines)
            self.assertIn(b"* 3 FETCH", lines)
            self.assertIn(b"f NO [EXPUNGEISSUED] ", lines)
            self.assertNotIn(b"EXPUNGE\r\n", lines)

    def test_uid_fetch_succeeds(self) -> None:
        self.assertIn(b"f OK ", self.ask(self.dialogue, b"f UID FETCH 1:3 ENVELOPE"))


class Broken(FetchCase):
    def test_content_that_cannot_be_read(self) -> None:
        self.deliver(SIMPLE, "\\Seen")
        dialogue = self.open()

        async def content(*_: object) -> Any:
            raise OSError("disk")

        self.patch(self.store, "content", content)
        lines = self.ask_lines(dialogue, b"f FETCH 1 BODY[]")
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].startswith(b"f NO [SERVERBUG]"), lines)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_what_was_marked_and_not_answered_is_told(self) -> None:
        for _ in range(3):
            self.deliver(SIMPLE)
        dialogue = self.open()
        real = self.store.content

        async def content(account: str, mailbox: str, uid: int) -> Any:
            if uid == 2:
                raise OSError("disk")
            return await real(account, mailbox, uid)

        self.patch(self.store, "content", content)
        answer = self.ask(dialogue, b"f FETCH 1:3 BODY[TEXT]")
        told = b" FLAGS (\\Seen \\Recent)"
        lines = [b"* 1 FETCH (BODY[TEXT] {14}", b"How are you?", told + b")"]
        lines += [b"* %d FETCH (%b)" % (number, told[1:]) for number in (2, 3)]
        self.assertEqual(answer.split(b"\r\n")[:-2], lines)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.ask_lines(dialogue, b"n NOOP"), [b"n OK Done"])

    def test_content_that_ends_early(self) -> None:
        octets = b"\r\n" + b"x" * 600_000
        self.deliver(octets, "\\Seen")
        dialogue = self.open()
        real = run_now(self, self.store.content(ANN, self.info().id, 1))

        class Short:
            size = len(octets)

            async def read(self, offset: int, length: int) -> bytes:
                return bytes(await real.read(offset, length)) if offset < 300_000 else b""

            async def close(self) -> None:
                pass

        async def content(*_: object) -> Short:
            return Short()

        self.patch(self.store, "content", content)
        answer = self.ask(dialogue, b"f FETCH 1 BODY[]")
        self.assertTrue(dialogue.closed)
        self.assertNotIn(b"f OK", answer)
        self.flushLoggedErrors(EOFError)
