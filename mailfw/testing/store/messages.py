"""Cases of the store's contract: what is appended is kept, octet by octet, and read again."""

from __future__ import annotations

import time

from mailfw.mail.mailbox import (
    DELETED,
    SEEN,
    SYSTEM_FLAGS,
    UID_LIMIT,
    DeleteMailbox,
    NewMessage,
    Row,
    Want,
)
from mailfw.mail.summary import Summariser, Summary
from mailfw.testing.contents import PLAIN, SAMPLES, BrokenContent, MemoryContent, ReadFailed
from mailfw.testing.store.fixture import ANN, StoreFixture, read_all

ALL = ~Want.NOTHING

#: What a delivery that is tried again brings; octets of any kind may be in one.
DELIVERY = "envelope-1/ann@example.org: 한글\r\n"

#: What a row carries for each thing wanted.
PARTS_OF_ROW = {
    Want.ENVELOPE: "envelope",
    Want.BODY: "body",
    Want.BODYSTRUCTURE: "bodystructure",
    Want.PARTS: "parts",
    Want.FIELDS: "fields",
    Want.SENT: "sent",
    Want.PREVIEW: "preview",
    Want.SORT: "sort",
    Want.THREAD: "ids",
}


def summarise(octets: bytes) -> Summary:
    """Return the summary of a whole message."""
    summariser = Summariser()
    summariser.feed(octets)
    return summariser.finish()


class MessageCases(StoreFixture):
    """What `IMailStore` says of messages."""

    # ------------------------------------------------------------ append

    async def test_uids_ascend(self) -> None:
        """New messages get ascending UIDs from the next UID on, below `UID_LIMIT`."""
        expected = (await self.now()).uid_next
        for count in (1, 3, 1):
            uids = await self.add(count)
            self.assertEqual(uids, sorted(set(uids)))
            self.assertGreaterEqual(uids[0], expected)
            expected = (await self.now()).uid_next
            self.assertGreater(expected, uids[-1])
            self.assertLess(expected, UID_LIMIT)

    async def test_append_says_what_is_there(self) -> None:
        """UID, modification sequence and email id of the answer are those of the row."""
        for appended in await self.append([NewMessage(MemoryContent(PLAIN), frozenset({SEEN}), 7) for _ in range(3)]):
            row = await self.row(appended.uid)
            self.assertEqual((row.modseq, row.email_id), (appended.modseq, appended.email_id))
            self.assertEqual((row.flags, row.size, row.received), (frozenset({SEEN}), len(PLAIN), 7))

    async def test_octets_are_exact(self) -> None:
        """NULs, 8-bit, lone CR and LF, no last line end, no octets at all: what is read is what was written."""
        uids = {name: await self.add_octets(octets) for name, octets in SAMPLES.items()}
        for name, uid in uids.items():
            content = await self.open(uid)
            self.assertEqual(content.size, len(SAMPLES[name]), name)
            self.assertEqual(await read_all(content), SAMPLES[name], name)
            self.assertEqual((await self.row(uid)).size, len(SAMPLES[name]), name)
        self.assertEqual((await self.now()).size, sum(map(len, SAMPLES.values())))

    async def test_five_megabytes(self) -> None:
        """A large message is kept whole."""
        line = b"0123456789" * 7 + b"\r\n"
        octets = b"Subject: large\r\n\r\n" + line * (5_000_000 // len(line))
        uid = await self.add_octets(octets)
        self.assertTrue(await self.octets(uid) == octets, "the octets differ")

    async def test_batch_is_kept_in_order(self) -> None:
        """Messages appended together have ascending UIDs in the order given."""
        octets = [f"Subject: {number}\r\n\r\n".encode() for number in range(50)]
        appended = await self.append([NewMessage(MemoryContent(each)) for each in octets])
        uids = [each.uid for each in appended]
        self.assertEqual(uids, sorted(uids))
        self.assertEqual([await self.octets(uid) for uid in uids], octets)

    async def test_batch_is_all_or_none(self) -> None:
        """Where one content cannot be read, its error comes through and none of the batch is there."""
        await self.add(2)
        before, flags = await self.now(), await self.flags()
        for position in range(3):
            contents = [MemoryContent(PLAIN), MemoryContent(PLAIN), MemoryContent(PLAIN)]
            contents[position] = BrokenContent(PLAIN * 5000)
            await self.refuses(ReadFailed, self.append([NewMessage(content) for content in contents]))
            now = await self.now()
            self.assertEqual((now.messages, now.size, now.unseen), (before.messages, before.size, before.unseen))
            self.assertEqual(await self.flags(), flags)
        await self.add(1)
        self.assertEqual((await self.now()).messages, before.messages + 1)

    async def test_empty_batch(self) -> None:
        """Appending nothing changes nothing."""
        before = await self.now()
        self.assertEqual(await self.append([]), [])
        self.assertEqual(await self.now(), before)

    async def test_contents_stay_the_callers(self) -> None:
        """The store closes no content it was handed."""
        content = MemoryContent(PLAIN)
        await self.append([NewMessage(content)])
        self.assertEqual(content.closed, 0)

    async def test_flags_are_kept(self) -> None:
        """System flags and keywords given at once are there, their letters as they were."""
        flags = frozenset({*SYSTEM_FLAGS, "$Forwarded", "NonJunk", "lower", "UPPER"})
        [uid] = await self.add(1, flags)
        self.assertEqual((await self.flags())[uid], flags)
        self.assertEqual((await self.row(uid)).flags, flags)

    async def test_received_is_kept(self) -> None:
        """The internal date is kept to the second, long ago or far ahead, and never changes."""
        dates = (0, 1, 951_782_400, 1_767_225_599, 2**31 - 1, 2**31, 4_102_444_800)
        appended = await self.append([NewMessage(MemoryContent(PLAIN), received=date) for date in dates])
        uids = [each.uid for each in appended]
        self.assertEqual([row.received for row in await self.rows(uids)], list(dates))
        await self.flag(uids, SEEN, "$Label")
        self.assertEqual([row.received for row in await self.rows(uids)], list(dates))

    async def test_received_now(self) -> None:
        """Without a date, a message is received now."""
        before = int(time.time())
        [uid] = await self.add()
        self.assertTrue(before - 1 <= (await self.row(uid)).received <= time.time() + 1)

    # ------------------------------------------------------------ tokens and ids

    async def test_token_again(self) -> None:
        """A message with a token the mailbox holds is not stored again: the answer names the one it has."""
        [first] = await self.append([NewMessage(MemoryContent(PLAIN), token=DELIVERY)])
        before = await self.now()
        [second] = await self.append([NewMessage(MemoryContent(PLAIN), token=DELIVERY)])
        self.assertEqual((second.uid, second.email_id), (first.uid, first.email_id))
        self.assertEqual(await self.now(), before)

    async def test_token_twice_in_a_batch(self) -> None:
        """The same token twice in a batch stores one message; others of the batch are stored."""
        messages = [NewMessage(MemoryContent(PLAIN), token=token) for token in ("a", "b", "a", None, None)]
        uids = [each.uid for each in await self.append(messages)]
        self.assertEqual(uids[2], uids[0])
        self.assertEqual(await self.uids(), sorted(set(uids)))
        self.assertEqual(len(set(uids)), 4)

    async def test_token_in_another_mailbox(self) -> None:
        """A token stands for a message of one mailbox, not of all."""
        other = await self.create("Work")
        for mailbox in (self.inbox, other):
            await self.append([NewMessage(MemoryContent(PLAIN), token=DELIVERY)], mailbox)
        self.assertEqual(((await self.now()).messages, (await self.now(other)).messages), (1, 1))

    async def test_email_ids_differ(self) -> None:
        """Messages of different octets have different email ids."""
        octets = [f"Subject: {number}\r\n\r\n".encode() for number in range(20)]
        appended = await self.append([NewMessage(MemoryContent(each)) for each in octets])
        self.assertEqual(len({each.email_id for each in appended}), 20)

    # ------------------------------------------------------------ rows

    async def test_rows_are_those_asked_for(self) -> None:
        """Rows come ascending; messages that are gone, or never were, are left out."""
        uids = await self.add(6)
        await self.remove([uids[1], uids[4]])
        asked = [*uids, uids[-1] + 1, uids[-1] + 1000, UID_LIMIT - 1]
        self.assertEqual([row.uid for row in await self.rows(asked)], [uids[0], uids[2], uids[3], uids[5]])
        self.assertEqual([row.uid for row in await self.rows(uids[1:4])], uids[2:4])
        self.assertEqual(await self.rows([uids[1]]), [])
        self.assertEqual(await self.rows([]), [])

    async def test_rows_carry_what_is_wanted(self) -> None:
        """What is wanted is there, as `Summariser` makes it, and all else is None."""
        for octets in SAMPLES.values():
            uid, summary = await self.add_octets(octets), summarise(octets)
            for want in (Want.NOTHING, *Want, Want.ENVELOPE | Want.SENT, ALL):
                self._check_row(await self.row(uid, want), want, summary)

    def _check_row(self, row: Row, want: Want, summary: Summary) -> None:
        for part, name in PARTS_OF_ROW.items():
            expected = getattr(summary, name) if part in want else None
            self.assertEqual(getattr(row, name), expected, f"{name} where {want} is wanted")
        self.assertTrue(row.saved is None or Want.SAVED in want, f"saved where {want} is wanted")

    async def test_rows_of_many(self) -> None:
        """A long list of messages is answered whole and in order, whatever the batches."""
        uids = await self.add(1200)
        await self.remove(uids[100:1100:100])
        expected = [uid for uid in uids if uid not in uids[100:1100:100]]
        self.assertEqual([row.uid for row in await self.rows(uids, Want.FIELDS)], expected)

    async def test_rows_while_messages_go(self) -> None:
        """Expunging between two batches does no harm: no row comes twice, and what stays is there."""
        uids = await self.add(1200)
        seen: list[int] = []
        async for batch in self.store.rows(ANN, self.inbox, uids, Want.NOTHING):
            if not seen:
                await self.remove(uids[::2])
            seen += [row.uid for row in batch]
        self.assertEqual(seen, sorted(set(seen)))
        self.assertLessEqual(set(uids[1::2]), set(seen))

    async def test_rows_left_early(self) -> None:
        """Whoever stops asking for rows leaves nothing behind that is in the way."""
        uids = await self.add(600)
        rows = self.store.rows(ANN, self.inbox, uids, Want.ENVELOPE)
        self.assertEqual((await anext(aiter(rows)))[0].uid, uids[0])
        close = getattr(rows, "aclose", None)
        if close is not None:
            await close()
        await self.remove(uids[:1])
        self.assertEqual((await self.now()).messages, 599)

    # ------------------------------------------------------------ content

    async def test_content_by_offset(self) -> None:
        """Any stretch can be read, in any order; fewer octets come only at the end, and none after it."""
        uid = await self.add_octets(octets := bytes(range(256)) * 400)
        content = await self.open(uid)
        for offset, length in ((0, 10), (100_000, 2400), (50, 1), (65_535, 2), (0, len(octets)), (102_399, 1)):
            self.assertEqual(await content.read(offset, length), octets[offset : offset + length])
        self.assertEqual(await content.read(len(octets) - 3, 100), octets[-3:])
        self.assertEqual(await content.read(len(octets), 100), b"")
        self.assertEqual(await content.read(len(octets) + 1000, 100), b"")
        self.assertEqual(await content.read(5, 0), b"")

    async def test_content_that_is_not_there(self) -> None:
        """A message that is gone, or never was, cannot be opened: None."""
        [uid] = await self.add()
        await self.remove([uid])
        for gone in (uid, uid + 1, UID_LIMIT - 1):
            self.assertIsNone(await self.store.content(ANN, self.inbox, gone))

    async def test_content_closed_twice(self) -> None:
        """Closing again does nothing, and other openings of the message go on."""
        [uid] = await self.add()
        first, second = await self.open(uid), await self.open(uid)
        await first.close()
        await first.close()
        self.assertEqual(await read_all(second), PLAIN)

    async def test_open_content_outlives_its_message(self) -> None:
        """Once open, a message can be read to its end, expunged, moved, or its mailbox deleted."""
        work = await self.create("Work")
        octets = PLAIN * 5000
        uids = [await self.add_octets(octets, work) for _ in range(3)]
        contents = [await self.open(uid, work) for uid in uids]
        started = [await content.read(0, 1000) for content in contents]
        await self.remove(uids[:1], work)
        await self.store.copy(ANN, work, uids[1:2], self.inbox, move=True)
        await self.store.edit_mailbox(ANN, DeleteMailbox(("Work",)))
        for content, start in zip(contents, started, strict=True):
            self.assertTrue(start + await content.read(1000, len(octets)) == octets, "the octets differ")

    async def test_open_content_outlives_a_flag(self) -> None:
        """Changing flags is no matter to whoever is reading, nor is reading to the flags."""
        [uid] = await self.add()
        content = await self.open(uid)
        await self.flag([uid], SEEN, DELETED, "$Label")
        self.assertEqual(await read_all(content, 10), PLAIN)
        self.assertEqual((await self.flags())[uid], {SEEN, DELETED, "$Label"})
