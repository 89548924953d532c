"""Cases of the store's contract: finding messages by their text, where a store offers that."""

from __future__ import annotations

from collections.abc import Sequence

from mailfw.mail.mailbox import INBOX, CreateMailbox, DeleteMailbox, NewMessage, Want
from mailfw.mail.part_table import decode_parts
from mailfw.mail.sought import AllOf, AnyOf, BodyHas, Condition, FieldHas, SearchAnswer, TextHas, Without, holds
from mailfw.mail.terms import KEPT, pieces, terms_of
from mailfw.mail.text import fold
from mailfw.optional import ISearchedMail
from mailfw.testing.contents import SAMPLES, MemoryContent
from mailfw.testing.store.bounds import BoundedFixture, RetentionCases
from mailfw.testing.store.fixture import ANN, pause

KOREAN = (
    "From: =?euc-kr?B?sei9w7z2?= <kim@example.kr>\r\nTo: ann@example.org\r\nSubject: 회의 일정 안내\r\n"
    "X-Own: own words\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n다음 주 월요일에 서울에서 만나요.\r\n"
).encode()
JAPANESE = (
    b"From: ann@example.org\r\nSubject: =?iso-2022-jp?B?GyRCMnE1RBsoQg==?=\r\n"
    b"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n" + "東京で会議を行います。\r\n".encode("iso-2022-jp")
)
CHINESE = (
    b"From: bob@example.com\r\nSubject: =?gb2312?B?u+HS6Q==?=\r\nContent-Type: text/html; charset=gb18030\r\n\r\n"
    + "<p>我们在<b>北京</b>开会</p>\r\n".encode("gb18030")
)
#: Hangul and accents written as several characters each.
TAKEN_APART = (
    b"From: carl@example.net\r\nSubject: Fwd\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"\xe1\x84\x92\xe1\x85\xac\xe1\x84\x8b\xe1\x85\xb4 cafe\xcc\x81\r\nGR\xc3\x9cSSE\r\nover two\r\nlines\r\n"
)
LETTERS = (KOREAN, JAPANESE, CHINESE, TAKEN_APART)

CONDITIONS: tuple[Condition, ...] = (
    *(TextHas(fold(text)) for text in ("회의", "의", "서울에서 만나요", "만나요.", "東京", "会議", "北京", "café")),
    *(TextHas(fold(text)) for text in ("GRÜẞE", "two lines", "words", "ann@example", "x-own: own", "zzz", "@", "e")),
    *(BodyHas(fold(text)) for text in ("회의", "会議", "ann", "over", "北京开", "", "grüsse over")),
    FieldHas("subject", "회의"),
    FieldHas("subject", ""),
    FieldHas("from", "example"),
    FieldHas("from", "김승수"),
    FieldHas("cc", ""),
    FieldHas("x-own", "own"),
    FieldHas("x-own", ""),
    FieldHas("x-none", ""),
    Without(TextHas("회의")),
    Without(Without(FieldHas("x-own", ""))),
    AllOf((FieldHas("from", "ann"), BodyHas("東京"))),
    AllOf((TextHas("회의"), Without(FieldHas("subject", "회의")))),
    AnyOf((BodyHas("北京"), BodyHas("東京"), TextHas("zzz"))),
    Without(AnyOf((BodyHas("北京"), AllOf((TextHas("a"), TextHas("o")))))),
    AllOf(()),
    AnyOf(()),
)  # fmt: skip


class SearchCases(BoundedFixture):
    """What `ISearchedMail` says: an answer is right at any moment, and soon nothing has to be read for it."""

    def searched(self) -> ISearchedMail:
        """Return the store as what finds text.  Raises `not_offered`."""
        self.demand(ISearchedMail, "this store does not find text")
        return ISearchedMail(self.store)

    async def ask(self, condition: Condition, uids: Sequence[int] | None = None, mailbox: str = "") -> SearchAnswer:
        """Return a store's answer about messages, or about all of them."""
        asked = await self.uids(mailbox or None) if uids is None else uids
        answer = await self.searched().search(ANN, mailbox or self.inbox, asked, condition)
        self.assertEqual(list(answer.found), sorted(set(answer.found)))
        self.assertEqual(list(answer.unread), sorted(set(answer.unread)))
        self.assertEqual(set(answer.found) & set(answer.unread), set())
        self.assertLessEqual(set(answer.found) | set(answer.unread), set(asked))
        return answer

    async def by_reading(self, condition: Condition, uids: Sequence[int], mailbox: str = "") -> list[int]:
        """Return which messages match, read for it."""
        found: list[int] = []
        for row in await self.rows(uids, Want.PARTS, mailbox or None):
            root = decode_parts(row.parts or b"")
            content = await self.open(row.uid, mailbox or None)
            octets = {(each.start, each.size): await content.read(each.start, each.size) for each in pieces(root)}
            if holds(condition, terms_of(root, lambda start, size, octets=octets: octets[start, size])):  # type: ignore[misc] # a default binds it
                found.append(row.uid)
        return found

    async def check(self, mailbox: str = "") -> None:
        """Fail if any condition has an answer, together with what is left to be read, that is not the right one."""
        uids = await self.uids(mailbox or None)
        for condition in CONDITIONS:
            right = await self.by_reading(condition, uids, mailbox)
            answer = await self.ask(condition, uids, mailbox)
            unread = set(answer.unread)
            self.assertEqual(list(answer.found), [uid for uid in right if uid not in unread], condition)

    async def until_found(self, mailbox: str = "") -> None:
        """Wait until nothing has to be read."""
        for _ in range(int(self.patience / 0.05)):
            if not (await self.ask(TextHas("no such words"), None, mailbox)).unread:
                return
            await pause(0.05)
        self.fail(f"texts are not there after {self.patience} seconds")

    async def add_letters(self, mailbox: str | None = None) -> list[int]:
        """Append the letters of this file and return their UIDs."""
        messages = [NewMessage(MemoryContent(octets)) for octets in LETTERS]
        return [appended.uid for appended in await self.append(messages, mailbox)]

    async def test_search_at_once_and_later(self) -> None:
        """Right after an append the answer is right, and a moment later nothing is left to be read."""
        self.searched()
        await self.add_letters()
        await self.check()
        await self.until_found()
        await self.check()
        await self.add_letters()
        await self.check()

    async def test_search_among_some(self) -> None:
        """Only messages that are asked for are in an answer; those that are gone are in none."""
        first, second, third, fourth = await self.add_letters()
        await self.until_found()
        self.assertEqual((await self.ask(TextHas("e"), [second, fourth, fourth + 9])).found, [second, fourth])
        nothing = await self.ask(TextHas("e"), [])
        self.assertEqual((list(nothing.found), list(nothing.unread)), ([], []))
        await self.remove([third])
        self.assertEqual((await self.ask(TextHas("e"), [first, third])).found, [first])
        await self.check()

    async def test_search_in_copies(self) -> None:
        """A copy is found as soon as its original, and outlives it; what is moved is found where it is."""
        work = await self.create("Work")
        uids = await self.add_letters()
        await self.until_found()
        copies = [new for _, new in (await self.store.copy(ANN, self.inbox, uids[:2], work)).uids]
        answer = await self.ask(TextHas(fold("会議")), None, work)
        self.assertEqual((list(answer.found), list(answer.unread)), ([copies[1]], []))
        await self.remove(uids[:2])
        await self.store.copy(ANN, self.inbox, uids[2:], work, move=True)
        await pause(0.8)  # the originals are forgotten now, their text is not
        await self.check(work)
        self.assertEqual(list((await self.ask(TextHas(fold("会議")), None, work)).unread), [])

    async def test_search_after_much_has_gone(self) -> None:
        """Whatever takes the place of messages that are gone is found by its own text."""
        for _ in range(3):
            uids = await self.add_letters()
            await self.until_found()
            await self.remove(uids)
            await self.store.edit_mailbox(ANN, CreateMailbox(("Short",)))
            short = (await self.info(("Short",))).id
            await self.add_letters(short)
            await self.until_found(short)
            await self.store.edit_mailbox(ANN, DeleteMailbox(("Short",)))
            await self.add_octets(SAMPLES["nul"])
            await self.add_letters()
            await self.check()

    async def test_search_samples(self) -> None:
        """Broken, nested and empty messages are found, or not, as when they are read."""
        for octets in SAMPLES.values():
            await self.add_octets(octets)
        await self.check()
        await self.until_found()
        await self.check()

    async def test_search_long_text(self) -> None:
        """A message with more text than is kept has to be read, unless what is kept says enough."""
        part = b"--b\r\nContent-Type: text/plain\r\n\r\n%b\r\n"
        straw = b"straw " * (KEPT // 6)
        head = b"Subject: long\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        uid = await self.add_octets(head + part % b"needle" + part % straw + part % b"pin" + b"--b--\r\n")
        await pause(0.8)
        for condition in (TextHas("pin"), Without(TextHas("pin")), AllOf((TextHas("needle"), TextHas("pin")))):
            self.assertEqual(await self.ask(condition), SearchAnswer([], [uid]), condition)

    async def test_search_goes_on(self) -> None:
        """What was found is found again, also when the store is opened again, whatever came and went."""
        self.searched()
        uids = await self.add_letters()
        await self.until_found()
        await self.remove(uids[-2:])
        if self.can_reopen:
            await self.reopen()
        await self.add_letters()
        await self.check()
        await self.until_found()
        await self.check()

    async def test_search_made_anew(self) -> None:
        """Made anew, it tells of each message, and all is found."""
        await self.add_letters()
        told: list[int] = []
        await self.searched().rebuild_search(ANN, told.append)
        await self.until_found()
        await self.check()
        self.assertIn(sum(told), (0, len(LETTERS)))

    async def test_search_of_a_removed_account(self) -> None:
        """An account that is removed and made again finds its new messages only."""
        await self.add_letters()
        await self.until_found()
        await self.store.remove_account(ANN)
        await self.store.open_account(ANN)
        self.inbox = (await self.info(INBOX)).id
        await self.add_octets(CHINESE)
        await self.add_octets(KOREAN)
        await self.check()
        await self.until_found()
        await self.check()


class FoundAgainCases(RetentionCases, SearchCases):
    """What `ISearchedMail` and `IRetainedMail` say together."""

    async def test_search_what_came_back(self) -> None:
        """What is put back after an expunge is found again."""
        retaining = await self.retaining()
        uids = await self.add_letters()
        await self.until_found()
        await self.remove(uids)
        await pause(0.8)
        kept = [each.id async for batch in retaining.retained(ANN) for each in batch]
        self.assertEqual(len(kept), len(uids))
        await retaining.undelete(ANN, kept)
        await self.check()
        await self.until_found()
        await self.check()
