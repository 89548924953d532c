"""Search files: what is found, what is forgotten, and how the work in the background gives way."""

from __future__ import annotations

import itertools
import random
import re
import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from mailfw.mail.mailbox import DELETED, INBOX, FlagChange, NewMessage
from mailfw.mail.part_table import decode_parts
from mailfw.mail.sought import (
    AllOf,
    AnyOf,
    BodyHas,
    Condition,
    FieldHas,
    SearchAnswer,
    TextHas,
    Without,
    holds,
    read_condition,
    write_condition,
)
from mailfw.mail.summary import summarise
from mailfw.mail.terms import Terms, terms_of
from mailfw.mail.text import fold
from mailfw.optional import ISearchedMail
from mailfw.site import Site
from mailfw.stores.index import search_file, search_making, searching
from mailfw.stores.index.search_columns import KeptTexts
from mailfw.stores.index.search_file import Found, SearchFile
from mailfw.stores.index.search_progress import Progress
from mailfw.stores.index.search_query import FEW, find
from mailfw.stores.index.searching import Searches
from mailfw.stores.maildir import maildir
from mailfw.stores.sqlite import sqlite
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.crashes import CrashCases
from mailfw.testing.store.fixture import pause

ANN = "ann@example.org"

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"

WORDS = [
    "서버",
    "서버는",
    "회의",
    "会議",
    "東京",
    "北京",
    "北京开",
    "café",
    "über",
    "strasse",
    "ab",
    "abc",
    "b",
    "c",
    "x1",
    "@",
    "ann@example.org",
    "re:",
    "don't",
    "😀",
    "ﾊﾝ",
    "۱۲",
]


def some_text(chance: random.Random, words: int) -> str:
    return fold(chance.choice((" ", "", "-")).join(chance.choices(WORDS, k=words)))


def some_terms(chance: random.Random) -> Terms:
    fields = [
        f"{name}: {some_text(chance, 2)}" for name in ("from", "subject", "x-own", "x-own") if chance.random() < 0.8
    ]
    long = search_file.SHORT if chance.random() < 0.2 else 0
    body = some_text(chance, chance.randrange(9)) + "~" * long
    return Terms("\n".join(fields), body, some_text(chance, chance.randrange(3)), chance.random() < 0.9)


def some_condition(chance: random.Random, depth: int = 0) -> Condition:
    text = some_text(chance, chance.choice((0, 1, 1, 2)))
    cut = text[chance.randrange(len(text) + 1) :][: chance.randrange(1, 9)]
    kind = chance.randrange(8 if depth < 3 else 5)
    if kind < 2:
        return FieldHas(chance.choice(("from", "subject", "cc", "x-own", "x-none")), cut)
    if kind < 5:
        return (BodyHas, TextHas, TextHas)[kind - 2](cut)
    inner = tuple(some_condition(chance, depth + 1) for _ in range(chance.randrange(4)))
    return (AllOf(inner), AnyOf(inner), Without(some_condition(chance, depth + 1)))[kind - 5]


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "search.sqlite"
        self.file = SearchFile(self.path, KeptTexts())
        self.addCleanup(self.file.close)

    def add(self, *messages: Found) -> None:
        self.file.use(lambda connection: search_file.add(connection, messages))


class Finding(FileCase):
    def test_as_if_it_were_read(self) -> None:
        """A thousand random conditions have the answers that looking at each text gives."""
        chance = random.Random(5)
        terms = {row: some_terms(chance) for row in range(1, 2 * FEW)}
        self.add(*(Found(row, str(row), each) for row, each in terms.items()))
        every = set(terms)
        for among in (every, set(list(terms)[: FEW // 2])):
            for _ in range(500):
                condition = some_condition(chance)
                right = {row for row in among if holds(condition, terms[row])}
                told = find(self.file, condition, among)
                self.assertEqual(told.true - told.unknown, told.true)
                self.assertLessEqual(told.true | told.unknown, among)
                self.assertLessEqual(set(told.unknown), {row for row in among if not terms[row].is_whole})
                whole = {row for row in among if terms[row].is_whole}
                self.assertEqual(told.true & whole, right & whole, condition)

    def test_what_is_cut_off_is_unknown(self) -> None:
        self.add(*(Found(row, "", Terms("subject: a", "body", "", row != 3)) for row in range(1, FEW + 3)))
        every = set(range(1, FEW + 3))
        for among in (every, {2, 3}):
            self.assertEqual(find(self.file, BodyHas("end"), among), (set(), {3}))
            self.assertEqual(find(self.file, Without(BodyHas("end")), among), (among - {3}, {3}))
            self.assertEqual(find(self.file, BodyHas("od"), among), (among, set()))
            self.assertEqual(find(self.file, AllOf((BodyHas("end"), FieldHas("subject", "b"))), among), (set(), set()))
            self.assertEqual(find(self.file, AnyOf((BodyHas("end"), FieldHas("subject", "a"))), among), (among, set()))

    def test_replaced_and_dropped(self) -> None:
        chance = random.Random(7)
        every = set(range(1, 2 * FEW))
        for _ in range(3):
            self.add(*(Found(row, "", some_terms(chance)) for row in every))
        terms = {row: some_terms(chance) for row in every}
        self.add(*(Found(row, "", each) for row, each in terms.items()))
        gone = set(list(every)[::3])
        self.file.use(lambda connection: search_file.drop(connection, [*gone, 9999]))
        for text in ("서버", "서", "ab", "b", "会議"):
            right = {row for row in every - gone if holds(TextHas(text), terms[row])}
            self.assertEqual(find(self.file, TextHas(text), every).true & (every - gone), right)
        count = self.file.use(lambda c: c.execute("SELECT count(*) FROM gram WHERE gram MATCH 'ab'").fetchone()[0])
        self.assertEqual(count, len({row for row in every - gone if "ab" in "\n".join(_all(terms[row]))}))

    def test_large_texts_are_in_memory_one_at_a_time(self) -> None:
        chance, rows = random.Random(11), range(1, 41)
        for row in rows:
            body = f"{chance.getrandbits(4 * 50_000):x}"
            self.add(Found(row, "", Terms("subject: x\nx-long: " + body, body, "")))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertEqual(find(self.file, BodyHas("~"), set(rows)), (set(), set()))
        self.assertEqual(find(self.file, FieldHas("x-none", ""), set(rows)), (set(), set()))
        self.assertEqual(find(self.file, FieldHas("x-long", ""), set(rows)), (set(rows), set()))
        self.file.use(lambda connection: search_file.drop(connection, rows))
        self.assertLess(tracemalloc.get_traced_memory()[1], 1_200_000)

    def test_conditions_travel(self) -> None:
        chance = random.Random(9)
        for _ in range(200):
            condition = some_condition(chance)
            self.assertEqual(read_condition(write_condition(condition)), condition)
        for text in ("", "[]", "{}", '["field", 1, ""]', '["without"]', '["all", 3]', '["body"]'):
            with self.assertRaises(ValueError):
                read_condition(text)


def _all(terms: Terms) -> tuple[str, str, str]:
    return terms.head, terms.body, terms.rest


class Files(FileCase):
    def test_broken_file_is_made_anew(self) -> None:
        self.add(Found(1, "", Terms("", "text", "")))
        self.file.close()
        self.path.write_bytes(b"nothing that SQLite knows" * 400)
        generation = self.file.generation
        with self.assertRaises(sqlite3.DatabaseError):
            find(self.file, TextHas("text"), {1})
        self.assertGreater(self.file.generation, generation)
        self.assertEqual(find(self.file, TextHas("text"), {1}), (set(), set()))

    def test_file_of_another_version_is_made_anew(self) -> None:
        self.add(Found(1, "", Terms("", "text", "")))
        self.file.close()
        with sqlite3.connect(self.path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with self.assertRaises(sqlite3.DatabaseError):
            self.file.use(lambda connection: None)
        self.assertEqual(self.file.use(lambda c: search_file.ids_of(c, 0, 9)), {})

    def test_locked_file_stays(self) -> None:
        self.add(Found(1, "", Terms("", "text", "")))
        other = SearchFile(self.path, KeptTexts())
        with self.assertRaises(sqlite3.OperationalError):
            other.use(lambda connection: connection.execute("SELECT * FROM email").fetchall())
        other.close()
        self.assertEqual(find(self.file, TextHas("text"), {1}), ({1}, set()))


class Marks(SynchronousTestCase):
    def test_rows(self) -> None:
        for base in (0, 7 << 36):
            progress = Progress(SearchFile(Path("none"), KeptTexts()))
            progress.begin(base + 4)
            self.assertEqual(progress.missing(9), [base + 3, base + 2, base + 1, base])
            progress.are_there([base + 1, base + 3, base + 99])
            progress.are_gone([base])
            self.assertEqual(progress.missing(9), [base + 2])
            progress.grow(base + 6)
            self.assertEqual(progress.missing(2), [base + 5, base + 4])
            self.assertEqual(progress.split([base + 1, base + 3]), ({base + 1, base + 3}, False))
            self.assertEqual(progress.split([base, base + 1]), ({base + 1}, True))
            self.assertIn(base, progress.missing(9))
            progress.shrink(base + 3)
            progress.grow(base + 4)
            self.assertEqual(progress.split([base + 3]), (set(), True))
            self.assertIn(base + 3, progress.doubtful)


def _made(name: str) -> Path:
    path = Path(name).absolute()
    path.mkdir()
    return path


class SearchCase(TestCase):
    """A store with a search file for Ann."""

    make: Any = staticmethod(sqlite)

    async def setUp(self) -> None:  # type: ignore[override] # trial awaits what setUp returns
        self.data = _made(self.mktemp())
        self.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.close()))
        await self.store.open_account(ANN)
        self.inbox = next(info.id for info in await self.store.mailboxes(ANN) if info.path == INBOX)

    def open(self) -> None:
        from twisted.internet import reactor

        self.store = self.make(Site("mail.example.org", frozenset(), self.data, reactor))

    async def append(self, *texts: str) -> list[int]:
        messages = [NewMessage(MemoryContent(f"Subject: s\r\n\r\n{text}\r\n".encode())) for text in texts]
        return [each.uid for each in await self.store.append(ANN, self.inbox, messages)]

    async def ask(self, text: str) -> SearchAnswer:
        uids = (await self.store.snapshot(ANN, self.inbox, 0)).uids
        answer: SearchAnswer = await self.store.search(ANN, self.inbox, list(uids), TextHas(text))
        return answer

    async def settle(self) -> None:
        for _ in range(100):
            if not (await self.ask("nothing like it")).unread:
                return
            await pause(0.05)
        self.fail("texts are not there")

    @property
    def search_path(self) -> Path:
        [path] = self.data.rglob(search_file.NAME)
        return path


class Stores(SearchCase):
    async def test_broken_file(self) -> None:
        """Where the file breaks under the store, all is read until it has been made anew."""
        uids = await self.append("one", "two")
        await self.settle()
        await self.store.close()
        self.search_path.write_bytes(b"nothing that SQLite knows" * 400)
        self.open()
        self.assertEqual(await self.ask("two"), SearchAnswer((), uids))
        await self.settle()
        self.assertEqual((await self.ask("two")).found, uids[1:])

    async def test_file_of_another_time(self) -> None:
        """A file that tells of other messages in the same rows is not believed."""
        await self.append("one", "two", "three")
        await self.settle()
        await self.store.close()
        with sqlite3.connect(self.search_path) as connection:
            connection.execute("UPDATE email SET id = 'of another' WHERE row % 2 = 0")
        connection.close()
        self.open()
        answer = await self.ask("e")  # one question: texts that are missing are made before another
        self.assertEqual((len(answer.unread), len(answer.found)), (1, 2))
        await self.settle()
        self.assertEqual(len((await self.ask("t")).found), 3)

    async def test_nothing_stays_of_what_is_gone(self) -> None:
        """A while after the last copy of a message has gone its text is in the file no more."""
        uids = await self.append("secret", "open")
        await self.settle()
        await self.store.alter(ANN, self.inbox, uids[:1], FlagChange.ADD, frozenset({DELETED}))
        await self.store.expunge(ANN, self.inbox, None)
        await pause(1)
        await self.store.close()
        with sqlite3.connect(self.search_path) as connection:
            bodies = [body for (body,) in connection.execute("SELECT body FROM text")]
            grams = connection.execute("SELECT count(*) FROM gram WHERE gram MATCH '\"cr\"'").fetchone()
        connection.close()
        self.open()
        self.assertEqual((bodies, grams), ([b"open "], (0,)))

    async def test_unreadable_message(self) -> None:
        """A message of which no text can be taken is read by whoever searches, and keeps no other from being found."""

        def failing(*given: Any) -> Terms:
            found = terms_of(*given)
            if "odd" in found.body:
                raise RecursionError
            return found

        self.patch(search_making, "terms_of", failing)
        uids = await self.append("odd", "even", "even")
        for _ in range(60):
            answer = await self.ask("even")
            if len(answer.unread) == 1:
                break
            await pause(0.05)
        self.assertEqual(answer, SearchAnswer(uids[1:], uids[:1]))
        self.assertTrue(self.flushLoggedErrors(RecursionError))

    async def test_rows_given_again(self) -> None:
        """A message that takes the row of one that has gone is found by its own text, not by that one's."""
        await self.append("first")
        [uid] = await self.append("secret")
        await self.settle()
        self.patch(searching, "QUIET", 3600)
        await self.store.alter(ANN, self.inbox, [uid], FlagChange.ADD, frozenset({DELETED}))
        await self.store.expunge(ANN, self.inbox, None)
        await self.store.close()
        self.open()
        [new] = await self.append("another")
        self.assertEqual((await self.ask("secret")).found, [])
        self.assertIn(new, {*(await self.ask("another")).found, *(await self.ask("another")).unread})


class MaildirStores(Stores):
    make = staticmethod(maildir)

    async def test_dropped_in(self) -> None:
        """Mail that another program delivers is found."""
        await self.append("one")
        path = next(self.data.rglob("new"))
        (path / "1700000000.M1P1.other").write_bytes("Subject: s\n\n회의실\n".encode())
        await pause(1.1)
        await self.store.mailbox(ANN, self.inbox)
        await self.settle()
        self.assertEqual(len((await self.ask("회의")).found), 1)

    async def test_index_made_anew(self) -> None:
        """What a new index calls by other rows is found as before."""
        uids = await self.append("one", "two", "three")
        await self.settle()
        await self.store.alter(ANN, self.inbox, uids[:1], FlagChange.ADD, frozenset({DELETED}))
        await self.store.expunge(ANN, self.inbox, None)
        await self.store.rebuild(ANN, lambda _: None)
        self.assertEqual(
            (await self.ask("two")).found, [uid for uid in uids[1:2] if uid not in (await self.ask("two")).unread]
        )
        await self.settle()
        self.assertEqual((await self.ask("three")).found, uids[2:])


class RealMail(SearchCase):
    async def test_whatever_stands_in_messages(self) -> None:
        """Texts cut out of real messages are found in just those that have them when they are read."""
        if not CORPUS.is_dir():
            raise SkipTest("The corpus of real messages is not here")
        octets = [path.read_bytes() for path in sorted(CORPUS.rglob("*.eml"))]
        octets = [re.sub(rb"\r?\n", b"\r\n", each) for each in octets if len(each) < 200_000]
        uids = [
            each.uid
            for start in range(0, len(octets), 50)
            for each in await self.store.append(
                ANN, self.inbox, [NewMessage(MemoryContent(each)) for each in octets[start : start + 50]]
            )
        ]
        await self.settle()
        texts = {uid: _text_of(each) for uid, each in zip(uids, octets, strict=True)}
        chance = random.Random(11)
        found = 0
        for condition in itertools.islice(_cut_out(chance, list(texts.values())), 400):
            answer = await self.store.search(ANN, self.inbox, uids, condition)
            right = [uid for uid, text in texts.items() if holds(condition, text)]
            self.assertEqual(answer, SearchAnswer(right, []), condition)
            found += len(right)
        self.assertGreater(found, 400)


def _text_of(octets: bytes) -> Terms:
    return terms_of(decode_parts(summarise(octets).parts), lambda start, size: octets[start : start + size])


def _cut_out(chance: random.Random, texts: list[Terms]) -> Iterator[Condition]:
    """Yield conditions that hold for some text at least."""
    while True:
        terms = chance.choice(texts)
        whole = chance.choice((terms.head, terms.body, terms.rest, terms.body))
        line = chance.choice(whole.split("\n"))
        start = chance.randrange(len(line) + 1)
        text = line[start : start + chance.choice((1, 2, 3, 5, 8, 20, 200))]
        name, colon, value = line.partition(": ")
        if whole is terms.head and colon:
            yield FieldHas(name, value[: chance.randrange(20)])
        yield TextHas(text) if whole is not terms.body else BodyHas(text)


class Off(SearchCase):
    make = staticmethod(lambda site: sqlite(site, search=False))

    async def test_no_file(self) -> None:
        await self.append("one")
        self.assertFalse(ISearchedMail.providedBy(self.store))
        self.assertEqual(list(self.data.rglob(search_file.NAME)), [])


class PretendThreads:
    def run(self, work: Any, *args: Any, **options: Any) -> Any:
        return Deferred.fromCoroutine(_done(work(*args, **options)))


async def _done(result: Any) -> Any:
    return result


class PretendAccount:
    def __init__(self, name: str) -> None:
        self.name = name
        self.next_email = 1


class Background(SynchronousTestCase):
    """When texts are made."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.worked: list[tuple[str, float]] = []
        self.left = {"ann": 0, "bob": 0}
        threads: Any = PretendThreads()
        root = Path(self.mktemp())
        self.searches = Searches(lambda name: root / name, self.clock, threads, self.with_account)

    async def with_account(self, name: str, work: Any) -> bool:
        self.worked.append((name, round(self.clock.seconds(), 3)))
        self.left[name] -= 1
        self.clock.rightNow += 0.05  # so long it takes
        return self.left[name] > 0

    def change(self, name: str, work: int = 1) -> None:
        self.left[name] = work
        account: Any = PretendAccount(name)
        self.searches.changed(account)

    def test_when_it_is_quiet(self) -> None:
        self.change("ann")
        self.clock.pump([0.1] * 2)
        self.change("ann")
        self.assertEqual(self.worked, [])
        self.clock.pump([0.1] * 8)
        self.assertEqual([name for name, _ in self.worked], ["ann"])

    def test_before_it_is_too_late(self) -> None:
        """Deliveries that never pause put it off for a while, and then get most of the time."""
        for _ in range(150):
            self.change("ann", 1000)
            self.clock.advance(0.1)
        began = self.worked[0][1]
        self.assertTrue(searching.LATEST <= began <= searching.LATEST + 1, began)
        times = [when for _, when in self.worked]
        self.assertTrue(all(b - a >= 0.05 * searching.PAUSE for a, b in itertools.pairwise(times)), times)

    def test_while_clients_ask(self) -> None:
        """Clients that ask for much put it off too, and then get most of the time."""
        self.change("ann", 1000)
        for _ in range(1500):
            self.searches.calls += 1
            self.clock.advance(0.01)
        times = [when for _, when in self.worked]
        self.assertTrue(searching.LATEST <= times[0] <= searching.LATEST + 1, times)
        self.assertTrue(all(b - a >= 0.05 * searching.PAUSE for a, b in itertools.pairwise(times[1:])), times)
        self.worked.clear()
        for _ in range(100):
            self.clock.advance(0.01)  # nobody asks any more
        times = [when for _, when in self.worked]
        self.assertTrue(all(b - a < 0.05 * searching.PAUSE for a, b in itertools.pairwise(times[2:])), times)
        self.assertGreater(len(times), 4)

    def test_in_turn(self) -> None:
        self.change("ann", 3)
        self.change("bob", 3)
        self.clock.pump([0.1] * 20)
        self.assertEqual([name for name, _ in self.worked], ["ann", "bob"] * 3)

    def test_close_ends_a_pause(self) -> None:
        for _ in range(110):
            self.change("ann", 1000)
            self.clock.advance(0.1)
        closed = Deferred.fromCoroutine(self.searches.close())
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.change("bob")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class KilledWhileTextsAreMade(CrashCases, TestCase):
    """A process that is killed while it makes texts leaves a search file that tells nothing wrong."""

    spec = "sqlite"
    crashes = 6
    doomed = (
        "from mailfw.stores.index import searching; searching.QUIET = searching.LATEST = searching.PAUSE = 0; "
        + CrashCases.doomed
    )

    def setUp(self) -> Any:
        self.patch(searching, "QUIET", 0)
        return super().setUp()


class KilledBesideMaildirs(KilledWhileTextsAreMade):
    spec = "maildir"
