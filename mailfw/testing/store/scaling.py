"""Cases of the store's contract: what concerns one message costs the same in a mailbox of any size."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from mailfw.mail.mailbox import INBOX, SEEN, FlagChange, NewMessage, Want
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.fixture import ANN, StoreFixture

#: How many messages the smaller mailbox has.
FEW = 200

#: How often each cost is taken; the least counts, so that other work of the machine does not.
ATTEMPTS = 15

#: How much dearer the larger mailbox may be: far less than the number of messages is greater, far more than chance.
FACTOR = 4
#: Seconds of processor time below which no difference means anything.
ALLOWANCE = 0.001

OCTETS = b"Subject: x\r\n\r\n"


class ScalingCases(StoreFixture):
    """What `IMailStore` says of costs: measured as processor time of all threads, without waiting for disks."""

    async def fill(self, mailbox: str, count: int) -> list[int]:
        """Append so many small messages, in batches."""
        for start in range(0, count, 500):
            batch = [NewMessage(MemoryContent(OCTETS)) for _ in range(min(500, count - start))]
            await self.append(batch, mailbox)
        return await self.uids(mailbox)

    async def least(self, ask: Callable[[], Awaitable[object]]) -> float:
        """Return the least processor time, in seconds, that asking took."""
        least = float("inf")
        for _ in range(ATTEMPTS):
            start = time.process_time()
            await ask()
            least = min(least, time.process_time() - start)
        return least

    async def test_one_message_of_many(self) -> None:
        """Rows, flags, content, the mailbox's numbers and what is new do not cost what the mailbox holds."""
        costs: dict[str, list[float]] = {}
        for name, count in (("Few", FEW), ("Many", self.many)):
            mailbox = await self.create(name)
            uids = await self.fill(mailbox, count)
            for what, ask in self.questions(mailbox, uids[count // 2]).items():
                costs.setdefault(what, []).append(await self.least(ask))
        for what, (few, many) in costs.items():
            self.assertLessEqual(
                many,
                few * FACTOR + ALLOWANCE,
                f"{what} of one message costs {few * 1000:.2f} ms where there are {FEW}, "
                f"{many * 1000:.2f} ms where there are {self.many}",
            )

    def questions(self, mailbox: str, uid: int) -> dict[str, Callable[[], Awaitable[object]]]:
        """Return what is asked of one message of a mailbox."""

        async def rows() -> None:
            await self.rows([uid], Want.ENVELOPE, mailbox)

        async def alter() -> None:
            for change in (FlagChange.ADD, FlagChange.REMOVE):
                await self.store.alter(ANN, mailbox, [uid], change, frozenset({SEEN}))

        async def content() -> None:
            opened = await self.store.content(ANN, mailbox, uid)
            assert opened is not None
            await opened.close()

        async def snapshot() -> None:
            info = await self.now(mailbox)
            await self.snap(info.modseq, mailbox)

        async def append() -> None:
            await self.append([NewMessage(MemoryContent(OCTETS))], mailbox)

        return {"rows": rows, "alter": alter, "content": content, "snapshot": snapshot, "append": append}

    async def test_many_mailboxes(self) -> None:
        """Fifty mailboxes are listed whole, and one of them is asked for by id."""
        ids = {("List", str(number)): await self.create("List", str(number)) for number in range(50)}
        infos = await self.infos()
        self.assertEqual({path: infos[path].id for path in ids}, ids)
        self.assertEqual((await self.info(INBOX)).id, self.inbox)
