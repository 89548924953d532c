"""Base subjects, the order of text, and the keys made of both."""

from __future__ import annotations

import time
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.base_subject import base_subject
from mailfw.mail.collation import casemap
from mailfw.mail.sorting import SortKeys, sort_keys
from mailfw.mail.summary import summarise

#: Subjects, what is left of them, and whether they are those of answers: RFC 5256 sections 2.1 and 5.
SUBJECTS = (
    ("Lunch", "Lunch", False),
    ("Re: Lunch", "Lunch", True),
    ("RE: re:Fwd: FW: Lunch", "Lunch", True),
    ("Re[2]: Lunch", "Lunch", True),
    ("re [list] : Lunch", "Lunch", True),
    ("[list] Lunch", "Lunch", False),
    ("[list] [other] Re: [list] Lunch", "Lunch", True),
    ("[a][b] Lunch", "Lunch", False),
    ("[list]", "[list]", False),
    ("[a] [b]", "[b]", False),
    ("Re: [list]", "[list]", True),
    ("Lunch (fwd)", "Lunch", True),
    ("Lunch (fwd) (FWD)  ", "Lunch", True),
    ("[Fwd: Lunch]", "Lunch", True),
    ("[Fwd: Re: [list] Lunch (fwd)]", "Lunch", True),
    ("[list] [Fwd: Lunch]", "Lunch", True),
    ("[Fwd: [Fwd: Lunch]]", "Lunch", True),
    ("[fwd:]", "", True),
    ("Fwd:", "", True),
    ("", "", False),
    ("  \t ", "", False),
    ("Lunch\t and   dinner", "Lunch and dinner", False),
    ("Regarding: Lunch", "Regarding: Lunch", False),
    ("Fwdx: Lunch", "Fwdx: Lunch", False),
    ("Ré: Lunch", "Ré: Lunch", False),
    ("AW: Lunch", "AW: Lunch", False),
    ("re", "re", False),
    ("[unclosed Lunch", "[unclosed Lunch", False),
    ("Lunch [today]", "Lunch [today]", False),
    ("re[: Lunch", "re[: Lunch", False),
    ("회의 Re: 보고서", "회의 Re: 보고서", False),
    ("Re: 회의", "회의", True),
)


class BaseSubjectTests(SynchronousTestCase):
    def test_table(self) -> None:
        for subject, expected, answers in SUBJECTS:
            self.assertEqual(base_subject(subject), (expected, answers), subject)

    @given(st.text(alphabet="reFwd:[]() x\t", max_size=40))
    def test_what_is_left_has_nothing_to_take_away(self, subject: str) -> None:
        base, _ = base_subject(subject)
        self.assertEqual(base_subject(base), (base, False))

    @given(st.text(max_size=40))
    def test_an_answer_has_the_same(self, subject: str) -> None:
        base, _ = base_subject(subject)
        self.assertEqual(base_subject(f"Re: {subject}"), (base, True))

    def test_time_is_bounded(self) -> None:
        for piece in ("[a]", "re:", "[fwd:", "(fwd)", "re[", "[", "] ", "[a] x"):
            began = time.process_time()
            base_subject(piece * 60_000)
            self.assertLess(time.process_time() - began, 2, piece)


class CasemapTests(SynchronousTestCase):
    def test_table(self) -> None:
        equal = (("a", "A"), ("ä", "Ä"), ("ä", "a\u0308"), ("ǆ", "ǅ"), ("ｅ", "E"), ("한글", "한글"))
        for one, other in equal:
            self.assertEqual(casemap(one), casemap(other), one)
        self.assertNotEqual(casemap("ß"), casemap("ss"))  # a mapping of one character to two is not used
        self.assertLess(casemap("Apfel"), casemap("birne"))
        self.assertLess(casemap("azur"), casemap("Äpfel"))

    @given(st.text(alphabet=st.characters(max_codepoint=127)))
    def test_ascii(self, text: str) -> None:
        self.assertEqual(casemap(text), text.upper().encode())

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def test_case_does_not_matter(self, text: str) -> None:
        simple = "".join(each.lower() for each in text if len(each.lower()) == len(each.title()) == 1)
        simple = "".join(each for each in simple if each.title().lower() == each)
        self.assertEqual(casemap("".join(each.title() for each in simple)), casemap(simple))

    def test_taken_apart_or_not(self) -> None:
        for character in map(chr, range(0xC0, 0x250)):
            apart = unicodedata.normalize("NFD", character)
            if len(character.title()) == 1 and len(apart[0].title()) == 1:
                self.assertEqual(casemap(character), casemap(apart), character)


def keys_of(*fields: str) -> SortKeys:
    return SortKeys.decode(summarise("\r\n".join([*fields, "", ""]).encode()).sort)


class SortKeysTests(SynchronousTestCase):
    def test_all_there_is(self) -> None:
        keys = keys_of(
            "From: =?utf-8?B?7ZmN6ri464+Z?= <hong@x.example>, other@x.example",
            "To: friends: ann@x.example;",
            "Cc: Carl@x.example",
            "Subject: Re: =?utf-8?Q?B=C3=BCro?=",
            "Date: Thu, 1 Jan 1970 02:00:00 +0100",
        )
        subject = casemap("Büro")
        self.assertEqual(
            keys,
            SortKeys(3600, True, subject, b"HONG", b"FRIENDS", b"CARL", casemap("홍길동"), b"FRIENDS"),
        )

    def test_names_or_addresses(self) -> None:
        self.assertEqual(keys_of("From: ann@x.example").shown_sender, b"ANN@X.EXAMPLE")
        self.assertEqual(keys_of("To: Ann <a@x.example>").shown_recipient, b"ANN")

    def test_nothing(self) -> None:
        self.assertEqual(keys_of("X: y"), SortKeys())

    def test_date_in_utc(self) -> None:
        face = summarise(b"Date: Thu, 1 Jan 1970 02:00:00 +0100\r\n\r\n")
        self.assertEqual((face.sent, SortKeys.decode(face.sort).sent), (7200, 3600))

    @given(st.dictionaries(st.sampled_from([b"subject", b"from", b"to", b"cc"]), st.binary(max_size=60)))
    def test_never_raises_and_comes_back(self, values: dict[bytes, bytes]) -> None:
        keys = sort_keys(values, 5)
        self.assertEqual(SortKeys.decode(keys.encode()), keys)
