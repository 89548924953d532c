"""Records come back as they were written, and damage to one hurts no other."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.spools.log.records import Damage, Kind, Record, head, unpack

SEED = 0x1234ABCD

ENTRIES = st.tuples(
    st.sampled_from(Kind), st.binary(max_size=40), st.binary(max_size=200), st.none() | st.integers(0, 1 << 40)
)


def pack(kind: Kind, state: bytes, octets: bytes, start: int | None, seed: int = SEED) -> bytes:
    return head(kind, seed, state, octets, start) + state + octets


def read(segment: bytes) -> list[tuple[Kind, bytes, bytes, int | None]]:
    """Return the entries of a segment, without what is damaged."""
    return [
        (one.kind, one.state, segment[one.offset : one.offset + one.length], one.start)
        for one in unpack(segment, SEED)
        if isinstance(one, Record)
    ]


class RecordTests(SynchronousTestCase):
    @given(st.lists(ENTRIES, max_size=5))
    def test_what_is_written_comes_back(self, entries: list[tuple[Kind, bytes, bytes, int | None]]) -> None:
        self.assertEqual(read(b"".join(pack(*each) for each in entries)), entries)

    @settings(deadline=None)
    @given(st.lists(ENTRIES, min_size=1, max_size=4), st.data())
    def test_a_torn_end(self, entries: list[tuple[Kind, bytes, bytes, int | None]], data: st.DataObject) -> None:
        whole = b"".join(pack(*each) for each in entries[:-1])
        last = pack(*entries[-1])
        cut = data.draw(st.integers(1, len(last) - 1))
        for torn in (whole + last[:cut], whole + last[:cut] + bytes(len(last) - cut + 1)):
            if torn[: len(whole) + len(last)] == whole + last:  # it ended in zeros anyway
                continue
            self.assertEqual(read(torn), entries[:-1])
            self.assertEqual(list(unpack(torn, SEED))[-1], Damage(len(whole), len(torn), is_tail=True))

    @settings(deadline=None)
    @given(st.lists(ENTRIES, min_size=2, max_size=4), st.data())
    def test_damage(self, entries: list[tuple[Kind, bytes, bytes, int | None]], data: st.DataObject) -> None:
        packed = [pack(*each) for each in entries]
        which = data.draw(st.integers(0, len(packed) - 2))
        where = data.draw(st.integers(0, len(packed[which]) - 1))
        change = data.draw(st.integers(1, 255))
        hurt = bytearray(packed[which])
        hurt[where] ^= change
        found = list(unpack(b"".join([*packed[:which], bytes(hurt), *packed[which + 1 :]]), SEED))
        begin = sum(map(len, packed[:which]))
        self.assertIn(Damage(begin, begin + len(hurt), is_tail=False), found)
        self.assertEqual(len(found), len(entries))

    def test_a_message_cannot_forge_a_record(self) -> None:
        forged = pack(Kind.DONE, b"victim", b"", None, seed=0)
        outer = bytearray(pack(Kind.MESSAGE, b"{}", b"x" * 20 + forged + b"y" * 20, None))
        outer[5] ^= 1
        last = pack(Kind.STATE, b"{}", b"", None)
        found = list(unpack(bytes(outer) + last, SEED))
        self.assertEqual(found[0], Damage(0, len(outer), is_tail=False))
        self.assertEqual([type(one) for one in found], [Damage, Record])

    def test_many_beginnings_in_a_message_cost_little(self) -> None:
        begin = pack(Kind.DONE, b"", b"", None, seed=0)
        segment = bytearray(pack(Kind.MESSAGE, b"{}", begin * 50_000, None))
        segment[5] ^= 1
        self.assertEqual(list(unpack(bytes(segment), SEED)), [Damage(0, len(segment), is_tail=True)])
