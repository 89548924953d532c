"""Cases of the store's contract: conversations, within one account and for as long as it lasts."""

from __future__ import annotations

import itertools
import re

from mailfw.mail.mailbox import NO_FLAGS, SEEN, Appended, FlagChange, NewMessage, Want
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.fixture import ANN, BOB, StoreFixture

# objectid = 1*255(ALPHA / DIGIT / "_" / "-")                          RFC 8474 section 7
_OBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")


def letter(subject: str, own: str = "", answers: str = "", refers: str = "") -> NewMessage:
    """Return a message with ids in its fields; several to refer to are parted by spaces."""
    fields = [f"Subject: {subject}"]
    fields += [f"Message-ID: <{own}@x.example>"] if own else []
    fields += [f"In-Reply-To: <{answers}@x.example>"] if answers else []
    fields += ["References: " + " ".join(f"<{each}@x.example>" for each in refers.split())] if refers else []
    return NewMessage(MemoryContent("\r\n".join([*fields, "", "text", ""]).encode()), NO_FLAGS, 1_700_000_000)


class ConversationCases(StoreFixture):
    """What `Appended` and `Row` say of threads: RFC 8474 section 5.2, and RFC 8621 section 3."""

    async def put(self, new: NewMessage, mailbox: str | None = None) -> Appended:
        """Append one message."""
        [appended] = await self.append([new], mailbox)
        return appended

    async def thread(self, uid: int, mailbox: str | None = None) -> str | None:
        """Return the thread that a row names."""
        return (await self.row(uid, Want.THREAD, mailbox)).thread_id

    async def test_ids_are_object_ids(self) -> None:
        """Ids of mailboxes, messages and threads are such as clients may be told of."""
        new = await self.put(letter("One", "one"))
        row = await self.row(new.uid, Want.THREAD)
        self.assertEqual((row.email_id, row.thread_id), (new.email_id, new.thread_id))
        for id_ in (self.inbox, new.email_id, new.thread_id):
            self.assertIsNotNone(_OBJECT_ID.fullmatch(id_), id_)
        self.assertNotEqual(new.email_id, new.thread_id)

    async def test_rows_name_threads_only_if_wanted(self) -> None:
        """Without `Want.THREAD` there is neither a thread nor what it was made of."""
        new = await self.put(letter("One", "one"))
        row = await self.row(new.uid, Want.ENVELOPE)
        self.assertEqual((row.thread_id, row.ids), (None, None))

    async def test_answers_join_a_thread(self) -> None:
        """By References, by In-Reply-To, by an id somewhere in the middle, and in any mailbox."""
        work = await self.create("Work")
        first = await self.put(letter("Lunch", "a"))
        second = await self.put(letter("Re: Lunch", "b", "a", "a"), work)
        third = await self.put(letter("Fwd: [list] lunch", "c", "b"))
        fourth = await self.put(letter("RE: Lunch (fwd)", "d", "", "z y b x"), work)
        again = await self.put(letter("Lunch", "a"))
        self.assertEqual({each.thread_id for each in (first, second, third, fourth, again)}, {first.thread_id})
        self.assertEqual(await self.thread(second.uid, work), first.thread_id)

    async def test_one_append_is_one_conversation(self) -> None:
        """Messages that come together are as those that come one after the other."""
        appended = await self.append([letter("Lunch", "a"), letter("Other", "o"), letter("Re: Lunch", "b", "a")])
        threads = [each.thread_id for each in appended]
        self.assertEqual(threads[0], threads[2])
        self.assertNotEqual(threads[0], threads[1])

    async def test_another_subject_is_another_thread(self) -> None:
        """So is a message of no relations, with the same subject or with none at all."""
        first = await self.put(letter("Lunch", "a"))
        others = [
            await self.put(each)
            for each in (
                letter("Dinner", "b", "a", "a"),
                letter("Lunch", "c"),
                letter("Lunch"),
                letter("Lunch"),
                letter("", "d"),
            )
        ]
        threads = {first.thread_id, *(each.thread_id for each in others)}
        self.assertEqual(len(threads), 1 + len(others))

    async def test_any_order_of_arrival(self) -> None:
        """A chain of answers is one thread, whichever of its messages is the first to come."""
        chain = [("a", "", ""), ("b", "a", ""), ("c", "", "a b")]
        for number, order in enumerate(itertools.permutations(range(3))):
            named = [tuple(" ".join(f"{id_}{number}" for id_ in each.split()) for each in link) for link in chain]
            threads = {(await self.put(letter("Re: Hi", *named[place]))).thread_id for place in order}
            self.assertEqual(len(threads), 1, order)

    async def test_threads_last(self) -> None:
        """A thread is the same in copies, after moves and other flags, and whatever comes later."""
        work = await self.create("Work")
        first = await self.put(letter("Lunch", "a"))
        second = await self.put(letter("Lunch", "b"))
        [(_, copy)] = (await self.store.copy(ANN, self.inbox, [first.uid], work)).uids
        [(_, moved)] = (await self.store.copy(ANN, self.inbox, [second.uid], work, move=True)).uids
        await self.store.alter(ANN, work, [copy], FlagChange.ADD, frozenset({SEEN}))
        await self.put(letter("Re: Lunch", "c", "", "a b"))  # which belongs to both
        found = [await self.thread(copy, work), await self.thread(moved, work), await self.thread(first.uid)]
        self.assertEqual(found, [first.thread_id, second.thread_id, first.thread_id])
        self.assertNotEqual(first.thread_id, second.thread_id)

    async def test_a_retried_delivery_has_its_thread(self) -> None:
        """The answer to a delivery that is tried again names the thread of the message there is."""
        octets = b"Subject: x\r\nMessage-ID: <a@x>\r\n\r\n"
        first = await self.put(NewMessage(MemoryContent(octets), token="again"))  # noqa: S106 -- a delivery's
        self.assertEqual(await self.put(NewMessage(MemoryContent(octets), token="again")), first)  # noqa: S106

    async def test_a_thread_that_is_gone(self) -> None:
        """When all of a conversation is gone, its ids lead to no message of another."""
        first = await self.put(letter("Lunch", "a"))
        other = await self.put(letter("Lunch", "b"))
        for _ in range(20):
            more = await self.put(letter("Noise", "n"))
            await self.remove([more.uid])
        await self.remove([first.uid])
        answer = await self.put(letter("Re: Lunch", "c", "b"))
        self.assertEqual(answer.thread_id, other.thread_id)
        late = await self.put(letter("Re: Lunch", "d", "a"))
        self.assertNotEqual(late.thread_id, other.thread_id)

    async def test_accounts_have_threads_of_their_own(self) -> None:
        """What one account keeps says nothing of another."""
        await self.store.open_account(BOB)
        inbox = (await self.info(account=BOB)).id
        first = await self.put(letter("Lunch", "a", "", "z y"))
        [other] = await self.store.append(BOB, inbox, [letter("Re: Lunch", "b", "a")])
        [later] = await self.store.append(BOB, inbox, [letter("Lunch", "c", "b")])
        self.assertEqual(other.thread_id, later.thread_id)
        self.assertNotEqual(first.thread_id, other.thread_id)
