"""Message ids, and what threads are found by."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.conversation import (
    MAX_REFERENCES,
    NO_ID,
    WIDTH,
    join,
    message_ids,
    relations,
    split,
)

#: Values, and the ids in them: RFC 5256 section 3, RFC 5322 section 3.6.4.
IDS: tuple[tuple[bytes, list[bytes]], ...] = (
    (b"<a@b>", [b"a@b"]),
    (b"<a@b> <c@d>", [b"a@b", b"c@d"]),
    (b"<a@b>,<c@d>", [b"a@b", b"c@d"]),
    (b'<"a"@b>', [b"a@b"]),
    (b'<"a b"@c>', [b"ab@c"]),
    (rb'<"a\"c"@b>', [rb'a"c@b']),
    (b"< a@\tb >", [b"a@b"]),
    (b"<no-at-sign>", [b"no-at-sign"]),
    (b"Your message of yesterday <a@b>", [b"a@b"]),
    (b"<A@b>", [b"A@b"]),
    (b"<>", []),
    (b"<a@b", []),
    (b"", []),
    (b"a@b", []),
)


class IdTests(SynchronousTestCase):
    def test_table(self) -> None:
        for value, expected in IDS:
            self.assertEqual(list(message_ids(value)), expected, value)

    def test_without_brackets(self) -> None:
        self.assertEqual(list(message_ids(b" a@b ", lenient=True)), [b"a@b"])
        self.assertEqual(list(message_ids(b"two words", lenient=True)), [])

    @given(st.binary(max_size=80))
    def test_never_raises(self, value: bytes) -> None:
        self.assertNotIn(b"", list(message_ids(value, lenient=True)))

    def test_time_is_bounded(self) -> None:
        for piece in (b"<a", b'<"', b"<a@b>", b'"<', b'<"a\\"', b'<"\\<\\"', b'<"\\<"x"'):
            began = time.process_time()
            list(message_ids(piece * (300_000 // len(piece))))
            self.assertLess(time.process_time() - began, 2, piece)


def of(subject: bytes = b"LUNCH", **fields: bytes) -> tuple[list[bytes], list[bytes]]:
    found = relations({name.replace("_", "-").encode(): value for name, value in fields.items()}, subject)
    return split(found.ids), split(found.keys)


class RelationTests(SynchronousTestCase):
    def test_own_id_and_references(self) -> None:
        ids, keys = of(message_id=b"<c@x>", references=b"<a@x> <b@x>", in_reply_to=b"<z@x>")
        self.assertEqual(ids, [of(message_id=each)[0][0] for each in (b"<c@x>", b"<a@x>", b"<b@x>")])
        self.assertEqual(keys, [of(message_id=each)[1][0] for each in (b"<c@x>", b"<z@x>", b"<b@x>", b"<a@x>")])

    def test_in_reply_to_where_there_are_no_references(self) -> None:
        ids, _ = of(message_id=b"<c@x>", in_reply_to=b"<a@x> <b@x>", references=b"nonsense")
        self.assertEqual(ids, [of(message_id=each)[0][0] for each in (b"<c@x>", b"<a@x>")])

    def test_nothing(self) -> None:
        self.assertEqual(of(), ([NO_ID], []))

    def test_subject_is_part_of_a_key_but_for_its_spaces(self) -> None:
        one, same = of(message_id=b"<a>")[1], of(b"LU NCH", message_id=b"<a>")[1]
        self.assertEqual(one, same)
        self.assertNotEqual(one, of(b"DINNER", message_id=b"<a>")[1])
        self.assertEqual(of(message_id=b"<a>")[0], of(b"DINNER", message_id=b"<a>")[0])

    def test_too_many(self) -> None:
        many = b" ".join(b"<%d@x>" % number for number in range(1000))
        ids, keys = of(message_id=b"<own@x>", references=many)
        self.assertEqual(len(ids), 1 + MAX_REFERENCES)
        self.assertEqual((ids[1], ids[-1]), (of(message_id=b"<0@x>")[0][0], of(message_id=b"<999@x>")[0][0]))
        self.assertEqual(keys[-1], of(message_id=b"<0@x>")[1][0])

    def test_join(self) -> None:
        known: dict[bytes, bytes] = {}
        self.assertEqual(join(known, [b"b", b"a"], b"-"), (b"a", [b"b", b"a"]))
        self.assertEqual(join(known, [b"c", b"b"], b"-"), (b"a", [b"c"]))
        self.assertEqual(join(known, [], b"-"), (b"-", []))
        self.assertEqual(known, {b"a": b"a", b"b": b"a", b"c": b"a"})

    @given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=4), max_size=20))
    def test_what_was_given_is_found_again(self, messages: list[list[int]]) -> None:
        known: dict[bytes, bytes] = {}
        given_ = [(keys, join(known, keys, b"-")[0]) for keys in ([bytes([n] * WIDTH) for n in m] for m in messages)]
        for keys, thread in given_:
            self.assertEqual(join(known, keys, b"-"), (thread, []))
