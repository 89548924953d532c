"""
Dovecot and mailfw, asked the same about the same messages: the corpus, and some hundred that are nasty on purpose.

`MAILFW_NASTY_SEED` makes other messages, `MAILFW_NASTY_MESSAGES` more of them.
"""

from __future__ import annotations

import atexit
import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import differences
from tests.interop.beside import Beside
from tests.interop.differences import Node, Soundness
from tests.interop.nasty_mail import NastyMail
from tests.interop.nasty_pieces import WORDS
from tests.interop.plain_imap import Value

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
SEED = int(os.environ.get("MAILFW_NASTY_SEED", "1"))
MESSAGES = int(os.environ.get("MAILFW_NASTY_MESSAGES", "300"))

#: Sections asked for at once.
_AT_ONCE = 40
_FIELDS = "(SUBJECT FROM X-8BIT RECEIVED X-FOLDS)"


def _messages() -> Iterator[tuple[str, bytes]]:
    for file in sorted(CORPUS.rglob("*.eml")):
        yield file.name, file.read_bytes()
    nasty = NastyMail(SEED)
    for number in range(MESSAGES):
        theme, octets = nasty.make()
        yield f"{theme} {number} of seed {SEED}", octets


@cache
def _both() -> tuple[Beside, dict[int, str], dict[int, Soundness]]:
    """Return both servers, started for the first test and ended when all have run; and of the messages, by UID."""
    named = [(name, octets) for name, octets in _messages() if octets]
    beside = Beside([octets for _, octets in named])
    atexit.register(beside.remove)
    names = dict(enumerate((name for name, _ in named), start=1))
    return beside, names, dict(enumerate((Soundness(octets) for _, octets in named), start=1))


class Differential(SynchronousTestCase):
    """Without the corpus, the generated messages alone."""

    def setUp(self) -> None:
        self.beside, self.names, self.sound = _both()

    def both(self, uids: str, *items: str) -> Iterator[tuple[int, dict[str, Value], dict[str, Value]]]:
        """Yield the UIDs with what both say."""
        theirs: dict[int, dict[str, Value]] = {}
        ours: dict[int, dict[str, Value]] = {}
        for start in range(0, len(items), _AT_ONCE):
            some = " ".join(items[start : start + _AT_ONCE])
            for client, found in ((self.beside.theirs, theirs), (self.beside.ours, ours)):
                for uid, said in client.fetch(uids, some).items():
                    found.setdefault(uid, {}).update(said)
        self.assertEqual(theirs.keys(), ours.keys())
        for uid in theirs:
            yield uid, theirs[uid], ours[uid]

    def check(self, faults: list[str]) -> None:
        """Fail if there are any."""
        if faults:
            self.fail(f"{len(faults)} differences, Dovecot's first:\n" + "\n".join(faults[:40]))

    def test_sizes(self) -> None:
        faults = []
        for uid, theirs, ours in self.both("1:*", "RFC822.SIZE", "INTERNALDATE"):
            theirs["INTERNALDATE"] = theirs["INTERNALDATE"].replace(
                b"0", b" ", 1 if theirs["INTERNALDATE"].startswith(b"0") else 0
            )
            if theirs != ours:
                faults.append(f"{self.names[uid]}: {theirs} {ours}")
        self.check(faults)

    def test_envelopes(self) -> None:
        faults = []
        for uid, theirs, ours in self.both("1:*", "ENVELOPE", "BODY.PEEK[HEADER]"):
            found = differences.envelope(theirs["ENVELOPE"], ours["ENVELOPE"], theirs["BODY[HEADER]"] or b"")
            faults += [f"{self.names[uid]}: {each}" for each in found]
        self.check(faults)

    def test_structures(self) -> None:
        faults = []
        for uid, theirs, ours in self.both("1:*", "BODYSTRUCTURE", "BODY"):
            their, our = Node(theirs["BODYSTRUCTURE"]), Node(ours["BODYSTRUCTURE"])
            headers = self.headers(uid, our)
            found = list(differences.structure(their, our, headers))
            found += differences.structure(Node(theirs["BODY"]), Node(ours["BODY"]), headers)
            faults += [f"{self.names[uid]}: {each}" for each in found]
        self.check(faults)

    def headers(self, uid: int, root: Node) -> dict[str, bytes]:
        """Return the headers of all parts, by section, as mailfw has them."""
        sections = sorted(set(differences.sections(root)))
        found: dict[str, bytes] = {}
        for start in range(0, len(sections), _AT_ONCE):
            items = " ".join(f"BODY.PEEK[{section}]" for section in sections[start : start + _AT_ONCE])
            found |= {name[5:-1]: value or b"" for name, value in self.beside.ours.fetch(str(uid), items)[uid].items()}
        return found

    def test_contents(self) -> None:
        faults = []
        for uid, theirs, ours in self.both("1:*", "BODYSTRUCTURE"):
            their, our = Node(theirs["BODYSTRUCTURE"]), Node(ours["BODYSTRUCTURE"])
            nodes: dict[str, Node | None] = dict(differences.comparable(their, our, self.headers(uid, our)))
            faults += [f"{self.names[uid]}: {each}" for each in self.unlike_contents(uid, nodes)]
        self.check(faults)

    def unlike_contents(self, uid: int, nodes: dict[str, Node | None]) -> Iterator[str]:
        """Yield the sections that differ and may not."""
        fields = f"HEADER.FIELDS {_FIELDS}"
        sections = ["", "HEADER", "TEXT", fields, f"HEADER.FIELDS.NOT {_FIELDS}"]
        for number, node in nodes.items():
            sections += [number, f"{number}.MIME"]
            if node is not None and node.is_message:
                sections += [f"{number}.HEADER", f"{number}.TEXT", f"{number}.{fields}"]
        for _, theirs, ours in self.both(str(uid), *(f"BODY.PEEK[{section}]" for section in sections)):
            for section in sections:
                # RFC 3501 section 9: an nstring; what is not there has no octets.
                their, our = theirs[f"BODY[{section}]"] or b"", ours[f"BODY[{section}]"] or b""
                number = section.partition(".HEADER")[0].removesuffix(".TEXT")
                header = ours.get(f"BODY[{section.partition('.FIELDS')[0]}]")
                if their != our and not differences.is_content_excused(section, their, our, header, nodes.get(number)):
                    shown = [f"{len(each)} {each[:60]!r}…{each[-40:]!r}" for each in (their, our)]
                    yield f"[{section}]: " + "\n    ".join(shown)

    # ------------------------------------------------------------ SEARCH

    def unlike_found(self, key: str, word: str = "") -> Iterator[tuple[int, bool]]:
        """Yield the UIDs that only one of them finds, and whether mailfw does."""
        command = f"UID SEARCH CHARSET UTF-8 {key}".encode()
        pieces = [command + b" ", word.encode(), b""] if word else [command]
        theirs, ours = (
            {int(uid) for uid in client.words("SEARCH", *pieces)} for client in (self.beside.theirs, self.beside.ours)
        )
        for uid in theirs ^ ours:
            yield uid, uid in ours

    def test_searches_for_text(self) -> None:
        faults = []
        words = sorted({word for some in WORDS.values() for word in some})
        for word in [*words, "Ann", "b.example", "Re:", "ü", "hello"]:
            for key in (
                "SUBJECT",
                "FROM",
                "TO",
                "CC",
                "HEADER X-Words",
                "BODY",
                "TEXT",
                "NOT SUBJECT",
                "OR FROM nobody TEXT",
            ):
                for uid, is_ours in self.unlike_found(key, word):
                    if not self.may_find_otherwise(key.split()[-1], uid, is_ours):
                        faults.append(f"{key} {word}: {'only ours' if is_ours else 'only theirs'}: {self.names[uid]}")
        self.check(faults)

    def may_find_otherwise(self, field: str, uid: int, is_ours: bool) -> bool:
        sound = self.sound[uid]
        if field in ("BODY", "TEXT"):
            # What is in a message within is in the body, its header too (RFC 3501 section 6.4.4); markup is no text.
            if not sound.body or (is_ours and sound.has("message/rfc822")) or (not is_ours and sound.has("text/html")):
                return True
            return field == "TEXT" and not differences.is_text(sound.header.replace(b"\r\n", b""))
        if field in ("FROM", "TO", "CC"):
            return not sound.has_addresses(field)
        return not sound.has_text(field)

    def test_searches_for_fields(self) -> None:
        faults = []
        for name in (
            "Subject",
            "X-8bit",
            "Content-Type",
            "Message-ID",
            "References",
            "X-Folds",
            "Bcc",
            "X-Empty",
            "Tab",
            "Space",
        ):
            faults += [f"{name}: {self.names[uid]}" for uid, _ in self.unlike_found(f'HEADER {name} ""')]
        for name, word in (
            ("Message-ID", "<t1"),
            ("References", "x.example"),
            ("Date", "Feb"),
            ("MIME-Version", "1.0"),
        ):
            faults += [f"{name} {word}: {self.names[uid]}" for uid, _ in self.unlike_found(f"HEADER {name}", word)]
        self.check(faults)

    def test_searches_for_dates_and_sizes(self) -> None:
        faults = []
        for day in ("1-Jan-1970", "10-Feb-1998", "1-Jan-2024", "1-Feb-2026", "2-Feb-2026", "28-Feb-2026", "1-Mar-2026"):
            for key in ("SENTON", "SENTBEFORE", "SENTSINCE", "NOT SENTSINCE"):
                found = self.unlike_found(f"{key} {day}")
                # RFC 3501 section 6.4.4 does not say when a message was sent whose Date nobody can read.
                faults += [f"{key} {day}: {self.names[uid]}" for uid, _ in found if not self.has_no_date(uid)]
            for key in ("ON", "BEFORE", "SINCE"):
                faults += [f"{key} {day}: {self.names[uid]}" for uid, _ in self.unlike_found(f"{key} {day}")]
        for key in ("LARGER 500", "SMALLER 500", "OR LARGER 5000 SMALLER 300", "NOT (LARGER 300 SMALLER 600)", "2:9,*"):
            faults += [f"{key}: {self.names[uid]}" for uid, _ in self.unlike_found(key)]
        self.check(faults)

    def has_no_date(self, uid: int) -> bool:
        """Whether a message has no date to be found by."""
        sound = self.sound[uid]
        return not sound.has_date() or not differences.values(sound.header, b"Date")

    # ------------------------------------------------------------ SORT and THREAD

    def capable(self, name: str) -> None:
        """Pass over what either cannot."""
        if not {name} <= self.beside.ours.capabilities() & self.beside.theirs.capabilities():
            self.skipTest(f"One of them has no {name}")

    def is_sorted_alike(self, key: str, uid: int) -> bool:
        """Whether there can be no two opinions about where a message belongs: RFC 5256 sections 2.1, 2.2 and 3."""
        sound = self.sound[uid]
        match key:
            case "DATE":
                return sound.has_date()
            case "SUBJECT":
                return sound.has_one("Subject") and sound.has_text("Subject")
            case "FROM" | "TO" | "CC" | "DISPLAYFROM" | "DISPLAYTO":
                return sound.has_addresses(key.removeprefix("DISPLAY"))
        return True

    def test_sorting(self) -> None:
        self.capable("SORT")
        programs = ["ARRIVAL", "DATE", "SIZE", "SUBJECT", "FROM", "TO", "CC", "REVERSE DATE", "SUBJECT REVERSE SIZE"]
        if "SORT=DISPLAY" in self.beside.ours.capabilities():
            programs += ["DISPLAYFROM", "DISPLAYTO"]
        faults = []
        for program in programs:
            theirs, ours = (
                [int(uid) for uid in client.words("SORT", f"UID SORT ({program}) UTF-8 ALL".encode())]
                for client in (self.beside.theirs, self.beside.ours)
            )
            self.assertEqual(sorted(theirs), sorted(ours))
            faults += [f"{program}: {fault}" for fault in self.unlike_orders(program.split(), theirs, ours)]
        self.check(faults)

    def unlike_orders(self, keys: list[str], *orders: list[int]) -> Iterator[str]:
        """Yield where two orders are not the same, in those parts that have to be."""
        plain = {uid for uid in self.names if all(self.is_sorted_alike(key, uid) for key in keys)}
        self.assertGreater(len(plain), len(self.names) // 2)
        field = keys[0].removeprefix("DISPLAY")
        korean: set[int] = set()
        if field in ("SUBJECT", "FROM", "TO"):
            plain -= {uid for uid in plain if self.sound[uid].has_hangul_among_others(field)}
            korean = {uid for uid in plain if self.sound[uid].has_hangul(field)}
        for some in (plain - korean, korean):
            theirs, ours = ([uid for uid in order if uid in some] for order in orders)
            for at, pair in enumerate(zip(theirs, ours, strict=True)):
                if pair[0] != pair[1]:
                    yield " | ".join(str([self.names[uid] for uid in order[at : at + 3]]) for order in (theirs, ours))
                    break

    def test_threads_by_subject(self) -> None:
        self.capable("THREAD=ORDEREDSUBJECT")
        self.compare_threads(
            "ORDEREDSUBJECT", lambda uid: self.is_sorted_alike("SUBJECT", uid) and self.is_sorted_alike("DATE", uid)
        )

    def test_threads_by_references(self) -> None:
        self.capable("THREAD=REFERENCES")
        ids = Counter(tuple(differences.values(sound.header, b"Message-ID")) for sound in self.sound.values())

        def is_alike(uid: int) -> bool:
            sound = self.sound[uid]
            own = tuple(differences.values(sound.header, b"Message-ID"))
            # RFC 5256 section 3, step 1 (A): of messages with the same id the first has it; Dovecot may take another.
            is_only = not own or ids[own] == 1
            return sound.has_ids() and is_only and all(self.is_sorted_alike(key, uid) for key in ("SUBJECT", "DATE"))

        self.compare_threads("REFERENCES", is_alike)

    def compare_threads(self, algorithm: str, is_alike: Callable[[int], bool]) -> None:
        """Fail if a thread differs in which there is nothing but what everybody understands."""
        command = f"UID THREAD {algorithm} UTF-8 ALL".encode()
        theirs, ours = (client.words("THREAD", command) for client in (self.beside.theirs, self.beside.ours))
        self.assertEqual(sorted(_members(theirs)), sorted(_members(ours)))
        doubtful = {uid for uid in self.names if not is_alike(uid)}
        while True:  # and whatever either puts beside a doubtful one
            more = {uid for thread in theirs + ours if doubtful & {*_members(thread)} for uid in _members(thread)}
            if more <= doubtful:
                break
            doubtful |= more
        kept = [[thread for thread in each if not doubtful & {*_members(thread)}] for each in (theirs, ours)]
        self.assertGreater(len(kept[1]), len(self.names) // 20)
        unlike = [thread for thread in kept[0] if thread not in kept[1]]
        faults = [
            f"{thread} {[each for each in kept[1] if set(_members(each)) & set(_members(thread))]}" for thread in unlike
        ]
        self.check(faults)
        self.assertEqual(*kept)


def _members(thread: Value) -> list[int]:
    """Return the UIDs in a thread."""
    return [uid for each in thread for uid in _members(each)] if isinstance(thread, list) else [int(thread)]
