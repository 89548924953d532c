"""Cases of the store's contract: what concerns one message costs the same in a mailbox of any size."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from mailfw.mail.mailbox import DELETED, INBOX, SEEN, FlagChange, NewMessage, Want
from mailfw.mail.rights import ALL_RIGHTS
from mailfw.mail.sought import TextHas
from mailfw.optional import IAnnotatedMail, IReplacingMail, ISearchedMail, ISharedMail
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.counting import Cost, Meter
from mailfw.testing.store.fixture import ANN, BOB, StoreFixture, pause

#: How often each cost is taken; the least counts, so that what the store does now and then does not.
ATTEMPTS = 5

#: How much dearer the larger mailbox may be: far less than the number of messages is greater, but trees get deeper.
FACTOR = 2
#: Costs below which no difference means anything.
ALLOWANCE = Cost(calls=300, instructions=300, transfers=10, octets=32_768, memory=32_768)

OCTETS = b"Subject: x\r\n\r\n"

#: Octets of a large message.
LARGE = 8 * 2**20

Question = Callable[[], Awaitable[object]]


class ScalingCases(StoreFixture):
    """What `IMailStore` says of costs: counted, not timed."""

    async def fill(self, mailbox: str, count: int) -> int:
        """Append so many small messages, in batches, and return the UID in the middle."""
        uids: list[int] = []
        for start in range(0, count, 500):
            batch = [NewMessage(MemoryContent(OCTETS)) for _ in range(min(500, count - start))]
            uids += [appended.uid for appended in await self.append(batch, mailbox)]
        if ISharedMail.providedBy(self.store):
            shared = ISharedMail(self.store)
            await shared.grant(ANN, mailbox, BOB, ALL_RIGHTS)
            await shared.alter_for(ANN, mailbox, BOB, uids, FlagChange.ADD, frozenset({SEEN}))
        return uids[count // 2]

    async def test_one_message_of_many(self) -> None:
        """Rows, flags, content, copies, what is new: of one message they cost the same among few and many."""
        from twisted.internet import reactor  # trial has no other reactor than the installed one

        meter = Meter(reactor)
        if self.can_reopen:  # what is counted begins with the store, which is not the time to fill mailboxes
            few, many = await self._fill_both()
            with meter.installed():
                await self.reopen()
                await self._compare(meter, few, many)
                await self.reopen()  # while its threads count there is no end of counting
        else:
            with meter.installed():
                made = self.make_store()
                await self.store.close()
                self.store = await made if inspect.isawaitable(made) else made
                await self.store.open_account(ANN)
                await self._compare(meter, *await self._fill_both())

    async def _fill_both(self) -> tuple[tuple[str, int], tuple[str, int]]:
        few, many = await self.create("Few"), await self.create("Many")
        return (few, await self.fill(few, self.few)), (many, await self.fill(many, self.many))

    async def _settle(self, mailbox: str) -> None:
        """Wait until a store that finds text has taken what it needs from messages; that is not what a call costs."""
        if ISearchedMail.providedBy(self.store):
            uids = await self.uids(mailbox)
            while (await ISearchedMail(self.store).search(ANN, mailbox, uids, TextHas("x"))).unread:
                await pause(0.1)

    async def _compare(self, meter: Meter, few: tuple[str, int], many: tuple[str, int]) -> None:
        for mailbox, _ in (few, many):
            await self._settle(mailbox)
        other = await self.create("Other")
        small, large = self.questions(*few, other), self.questions(*many, other)
        dearer: list[str] = []
        for what in small:
            cost, larger = await self._least(meter, small[what]), await self._least(meter, large[what])
            self.note(f"{what} of one in {self.few:,}: {cost}; in {self.many:,}: {larger}")
            dearer += [f"{what}: {more}" for more in larger.beyond(cost, FACTOR, ALLOWANCE)]
        self.assertEqual(dearer, [], f"one message of {self.many} costs more than one of {self.few}")

    async def _least(self, meter: Meter, ask: Question) -> Cost:
        await ask()  # what is opened at the first call is not what a call costs
        least = await meter.measure(ask)
        for _ in range(ATTEMPTS - 1):
            least &= await meter.measure(ask)
        return least

    def questions(self, mailbox: str, uid: int, other: str) -> dict[str, Question]:
        """Return what is asked of one message of a mailbox, or concerning one."""

        async def rows() -> None:
            await self.rows([uid], Want.ENVELOPE | Want.SAVED, mailbox)

        async def flags() -> None:
            for change in (FlagChange.ADD, FlagChange.REMOVE):
                await self.store.alter(ANN, mailbox, [uid], change, frozenset({SEEN}))

        async def content() -> None:
            opened = await self.store.content(ANN, mailbox, uid)
            assert opened is not None
            await opened.read(0, 100)
            await opened.close()

        async def news() -> None:
            info = await self.now(mailbox)
            await self.snap(info.modseq, mailbox)

        async def append() -> None:
            await self.append([NewMessage(MemoryContent(OCTETS))], mailbox)

        async def copy() -> None:
            await self.store.copy(ANN, mailbox, [uid], other)

        async def annotate() -> None:
            for value in (b"x", None):
                await IAnnotatedMail(self.store).annotate(ANN, mailbox, {"/private/comment": value})

        async def replace() -> None:
            [new] = await self.append([NewMessage(MemoryContent(OCTETS))], mailbox)
            message = NewMessage(MemoryContent(OCTETS))
            replaced = await IReplacingMail(self.store).replace(ANN, mailbox, new.uid, mailbox, message)
            await self.remove([replaced.appended.uid], mailbox)

        async def expunge() -> None:
            [new] = await self.append([NewMessage(MemoryContent(OCTETS), frozenset({DELETED}))], mailbox)
            await self.store.expunge(ANN, mailbox, [new.uid])

        return {
            **(self.shared_questions(mailbox, uid) if ISharedMail.providedBy(self.store) else {}),
            **({"annotate": annotate} if IAnnotatedMail.providedBy(self.store) else {}),
            **({"replace": replace} if IReplacingMail.providedBy(self.store) else {}),
            "rows": rows,
            "flags": flags,
            "content": content,
            "news": news,
            "append": append,
            "copy": copy,
            "expunge": expunge,
            "mailboxes": self.infos,
        }

    def shared_questions(self, mailbox: str, uid: int) -> dict[str, Question]:
        """Return what is asked for somebody with whom the mailbox is shared, and who has seen all of it."""
        shared = ISharedMail(self.store)

        async def marks() -> None:
            for change in (FlagChange.REMOVE, FlagChange.ADD):
                await shared.alter_for(ANN, mailbox, BOB, [uid], change, frozenset({SEEN}))
            await shared.marks(ANN, mailbox, BOB, [uid])

        async def shared_news() -> None:
            info = await shared.mailbox_for(ANN, mailbox, BOB)
            await shared.snapshot_for(ANN, mailbox, BOB, info.modseq)

        return {"marks": marks, "shared news": shared_news}

    async def test_part_of_a_large_message(self) -> None:
        """To read a little of a large message costs that little, in octets read and in memory."""
        from twisted.internet import reactor  # as above

        uid = await self.add_octets(OCTETS + b"line\r\n" * (LARGE // 6))
        meter = Meter(reactor)

        async def read() -> None:
            opened = await self.store.content(ANN, self.inbox, uid)
            assert opened is not None
            self.assertEqual(len(await opened.read(LARGE // 2, 1000)), 1000)
            await opened.close()

        cost = await self._least(meter, read)
        self.note(f"1,000 octets of {LARGE:,}: {cost}")
        self.assertLess(cost.octets, LARGE // 10, "octets that were read")
        self.assertLess(cost.memory, LARGE // 10, "memory")

    async def test_many_mailboxes(self) -> None:
        """Fifty mailboxes are listed whole, and one of them is asked for by id."""
        ids = {("List", str(number)): await self.create("List", str(number)) for number in range(50)}
        infos = await self.infos()
        self.assertEqual({path: infos[path].id for path in ids}, ids)
        self.assertEqual((await self.info(INBOX)).id, self.inbox)
