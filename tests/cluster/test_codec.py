"""What travels between processes: values come back as they were, and nonsense is refused."""

from __future__ import annotations

import contextlib
import json
import struct
from array import array
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.cluster.carried import Behind, Carried, Held, Inline
from mailfw.cluster.codec import Blobs, Malformed, codec_of
from mailfw.cluster.desk import RowBatch
from mailfw.cluster.frames import FrameReader, write_frame
from mailfw.cluster.keeper import WorkerDesk
from mailfw.cluster.procedures import RemoteFault, procedures_of, read_failure, write_failure
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, DeliverBy, Envelope, Notify, RecipientOptions, Service
from mailfw.mail.failure import NoSpace, NoSuchMailbox, OverQuota
from mailfw.mail.mailbox import Altered, CreateMailbox, DeleteMailbox, MailboxEdit, MailboxInfo, Role, Row, Snapshot
from mailfw.mail.outcome import Deferred, Delivered, Outcome
from mailfw.mail.queued import Action, Concluded, Leg, Pending, Queued
from mailfw.mail.reply import Reply
from mailfw.mail.route import Route
from mailfw.mail.verdict import Defer, Modify, Verdict

ANN, BOB = Address("ann", "example.org"), Address("하늘", "예시.한국")
INFO = MailboxInfo("a", ("Work", "2026"), Role.SENT, 1, 2, 3, 4, 5, 6, 7, 8, True)
ENVELOPE = Envelope(
    "1a2b",
    None,
    (ANN, BOB),
    options={ANN: RecipientOptions(Notify.SUCCESS | Notify.DELAY, ("rfc822", "x"))},
    by=DeliverBy(1.5, True),
    release=2.5,
)
VALUES: list[tuple[Any, Any]] = [
    (MailboxEdit, CreateMailbox(("a",), Role.JUNK)),
    (MailboxEdit, DeleteMailbox(("b", "c"))),
    (Snapshot, Snapshot(INFO, array("I", [1, 7]), array("Q", [2**40, 3]), [frozenset(), frozenset({"\\Seen"})], [5])),
    (RowBatch, RowBatch([Row(1, 2, frozenset({"x"}), 3, 4, "m1", b"(\xff\0)", None, b"", sent=-5)], 6)),
    (Altered, Altered(9, {3: frozenset({"\\Deleted"})}, (4,))),
    (dict[Address, Outcome], {ANN: Delivered(), BOB: Deferred(Reply(451, "4.3.0", "later\nor never"), "mx")}),
    (Verdict | None, None),
    (Verdict | None, Modify((("X-A", "b"),))),
    (Verdict | None, Defer("no")),
    (Carried, Inline(b"\0\r\n")),
    (Carried, Behind(b"x", 3, 4)),
    (Carried, Held(1)),
    (
        Queued,
        Queued(
            ENVELOPE,
            1.0,
            (Leg(Route("relay", "example.net"), (Pending(ANN, BOB),), 3.5, 1),),
            (Concluded(ANN, BOB, Action.DELIVERED, Reply(250, "", "x"), when=3.0),),
        ),
    ),
]


def travel(kind: Any, value: Any) -> Any:
    blobs = Blobs()
    plain = codec_of(kind).write(value, blobs)
    [(message, arrived)] = FrameReader().feed(b"".join(write_frame([plain], blobs)))
    return codec_of(kind).read(message[0], arrived)


class CodecTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        for kind, value in VALUES:
            self.assertEqual(travel(kind, value), value)
            self.assertIs(type(travel(kind, value)), type(value))

    def test_plain_findings_travel_and_others_stay(self) -> None:
        client = Client(Service.SMTP, "192.0.2.1", findings={"a": "b", "n": 1, "object": object()})
        self.assertEqual(travel(Client, client).findings, {"a": "b", "n": 1})

    def test_every_call_has_codecs(self) -> None:
        self.assertTrue({"append", "snapshot", "take", "deliver", "judge"} <= set(procedures_of(WorkerDesk)))
        self.assertNotIn("leave", procedures_of(WorkerDesk))

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ),
        st.sampled_from([kind for kind, _ in VALUES]),
    )
    def test_nonsense_is_refused(self, plain: Any, kind: Any) -> None:
        with contextlib.suppress(Malformed):
            codec_of(kind).read(plain, [b"x"])

    @given(st.data())
    def test_what_is_changed_on_the_way_is_refused_or_read(self, data: st.DataObject) -> None:
        kind, value = data.draw(st.sampled_from(VALUES))
        blobs = Blobs()
        text = bytearray(json.dumps(codec_of(kind).write(value, blobs)).encode())
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(32, 126))
        with contextlib.suppress(ValueError):
            codec_of(kind).read(json.loads(text), blobs)


class FrameTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.lists(st.text(), min_size=1), st.lists(st.binary())), max_size=4), st.integers(1, 50))
    def test_any_pieces(self, frames: list[tuple[list[str], list[bytes]]], size: int) -> None:
        octets = b"".join(b"".join(write_frame(message, blobs)) for message, blobs in frames)
        reader, read = FrameReader(), []
        for start in range(0, len(octets), size):
            read += reader.feed(octets[start : start + size])
        self.assertEqual(read, frames)

    @given(st.binary(max_size=100))
    def test_anything_at_all(self, octets: bytes) -> None:
        with contextlib.suppress(Malformed):
            FrameReader().feed(octets)


@dataclass(frozen=True)
class Positive:
    """A value that refuses what it cannot be."""

    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("a positive number expected")


class Limited:
    """A desk that takes such values."""

    async def take(self, number: Positive) -> None:
        """Take one."""


class FailureTests(SynchronousTestCase):
    def test_what_is_declared_travels(self) -> None:
        for error in (NoSpace("full"), OverQuota("x"), NoSuchMailbox("y"), ValueError("z")):
            again = read_failure(json.loads(json.dumps(write_failure(error))))
            self.assertEqual((type(again), str(again)), (type(error), str(error)))
        again = read_failure(write_failure(OSError(28, "No space")))
        self.assertEqual((again.errno, again.strerror), (28, "No space"))  # type: ignore[attr-defined]

    def test_what_no_reader_can_take_is_refused(self) -> None:
        deep = b"[" * 500_000
        frame = struct.pack(">III", len(deep), len(deep), 0) + deep
        self.assertRaises(Malformed, FrameReader().feed, frame)
        writing = procedures_of(Limited)["take"]
        self.assertRaises(Malformed, writing.read, [[-1]], [])

    def test_what_is_not_is_a_fault(self) -> None:
        self.assertIsNone(write_failure(ZeroDivisionError()))
        self.assertIsInstance(read_failure(None), RemoteFault)
        self.assertIsInstance(read_failure(["SystemExit", "x"]), RemoteFault)
