"""Cases of the store's contract: what concerns one message costs the same in a mailbox of any size."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from mailfw.mail.mailbox import DELETED, INBOX, SEEN, FlagChange, NewMessage, Want
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.counting import Cost, Meter
from mailfw.testing.store.fixture import ANN, StoreFixture

#: How often each cost is taken; the least counts, so that what the store does now and then does not.
ATTEMPTS = 5

#: How much dearer the larger mailbox may be: far less than the number of messages is greater, but trees get deeper.
FACTOR = 2
#: Costs below which no difference means anything.
ALLOWANCE = Cost(calls=300, instructions=300, transfers=10, octets=32_768, memory=32_768)

OCTETS = b"Subject: x\r\n\r\n"

Question = Callable[[], Awaitable[object]]


class ScalingCases(StoreFixture):
    """What `IMailStore` says of costs: counted, not timed."""

    async def fill(self, mailbox: str, count: int) -> int:
        """Append so many small messages, in batches, and return the UID in the middle."""
        uids: list[int] = []
        for start in range(0, count, 500):
            batch = [NewMessage(MemoryContent(OCTETS)) for _ in range(min(500, count - start))]
            uids += [appended.uid for appended in await self.append(batch, mailbox)]
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

    async def _compare(self, meter: Meter, few: tuple[str, int], many: tuple[str, int]) -> None:
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
            await self.rows([uid], Want.ENVELOPE, mailbox)

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

        async def expunge() -> None:
            [new] = await self.append([NewMessage(MemoryContent(OCTETS), frozenset({DELETED}))], mailbox)
            await self.store.expunge(ANN, mailbox, [new.uid])

        return {
            "rows": rows,
            "flags": flags,
            "content": content,
            "news": news,
            "append": append,
            "copy": copy,
            "expunge": expunge,
            "mailboxes": self.infos,
        }

    async def test_many_mailboxes(self) -> None:
        """Fifty mailboxes are listed whole, and one of them is asked for by id."""
        ids = {("List", str(number)): await self.create("List", str(number)) for number in range(50)}
        infos = await self.infos()
        self.assertEqual({path: infos[path].id for path in ids}, ids)
        self.assertEqual((await self.info(INBOX)).id, self.inbox)
