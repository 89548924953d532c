"""Cases of the store's contract: flags, expunges, and the modification sequences that tell of them."""

from __future__ import annotations

from mailfw.mail.mailbox import (
    ANSWERED,
    DELETED,
    FLAGGED,
    NO_FLAGS,
    SEEN,
    Altered,
    FlagChange,
    Flags,
    NewMessage,
    Snapshot,
)
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import ANN, StoreFixture

#: Keywords made of every character an atom may have: RFC 9051 section 9, ATOM-CHAR.
KEYWORDS = (
    "$Forwarded",
    "$MDNSent",
    "$label1",
    "NonJunk",
    "Junk",
    "lower",
    "UPPER",
    "MiXeD",
    "a.b",
    "a:b,c;d",
    "!#$&'+-/<=>?@^_`|}~",
    "[bracket",
    "0",
    "x" * 100,
)


class ChangeCases(StoreFixture):
    """What `IMailStore` says of flags, expunges and snapshots."""

    async def alter(
        self, uids: list[int], change: FlagChange, *flags: str, unchanged_since: int | None = None
    ) -> Altered:
        """Change flags in the inbox."""
        return await self.store.alter(ANN, self.inbox, uids, change, frozenset(flags), unchanged_since)

    # ------------------------------------------------------------ flags

    async def test_flags_combine(self) -> None:
        """Flags are added, removed and replaced, and the answer says what each changed message has."""
        [uid] = await self.add(1, {SEEN, "$A"})
        for change, flags, expected in (
            (FlagChange.ADD, (FLAGGED, "$B"), {SEEN, FLAGGED, "$A", "$B"}),
            (FlagChange.REMOVE, (SEEN, "$A", "$Never"), {FLAGGED, "$B"}),
            (FlagChange.REPLACE, (ANSWERED, "$C"), {ANSWERED, "$C"}),
            (FlagChange.REPLACE, (), NO_FLAGS),
        ):
            altered = await self.alter([uid], change, *flags)
            self.assertEqual(altered.changed, {uid: expected})
            self.assertEqual(altered.conflicts, ())
            self.assertEqual(await self.flags(), {uid: expected})
            self.assertEqual((await self.row(uid)).flags, expected)

    async def test_only_what_changes_is_changed(self) -> None:
        """A message whose flags stay the same gets no new modification sequence, and is not in the answer."""
        uids = await self.add(2, {SEEN}) + await self.add(2)
        before = {row.uid: row.modseq for row in await self.rows(uids)}
        altered = await self.alter(uids, FlagChange.ADD, SEEN)
        self.assertEqual(altered.changed, {uids[2]: {SEEN}, uids[3]: {SEEN}})
        after = {row.uid: row.modseq for row in await self.rows(uids)}
        self.assertEqual([after[uid] for uid in uids[:2]], [before[uid] for uid in uids[:2]])
        self.assertGreater(after[uids[2]], max(before.values()))
        self.assertEqual([after[uid] for uid in uids[2:]], [altered.modseq, altered.modseq])

    async def test_no_change_at_all(self) -> None:
        """A change that changes nothing leaves the mailbox as it was."""
        uids = await self.add(2, {SEEN})
        before = await self.now()
        for change, flags in (
            (FlagChange.ADD, (SEEN,)),
            (FlagChange.ADD, ()),
            (FlagChange.REMOVE, (FLAGGED, "$X")),
            (FlagChange.REPLACE, (SEEN,)),
        ):
            altered = await self.alter(uids, change, *flags)
            self.assertEqual((altered.changed, altered.modseq), ({}, before.modseq))
        self.assertEqual(await self.now(), before)

    async def test_gone_messages_are_passed_over(self) -> None:
        """UIDs of messages that are gone, or never were, are neither changed nor conflicts."""
        uids = await self.add(3)
        await self.remove([uids[1]])
        altered = await self.alter([*uids, uids[-1] + 50], FlagChange.ADD, SEEN, unchanged_since=2**40)
        self.assertEqual(altered.changed, {uids[0]: {SEEN}, uids[2]: {SEEN}})
        self.assertEqual(altered.conflicts, ())
        self.assertEqual((await self.alter([], FlagChange.ADD, SEEN)).changed, {})

    async def test_unchanged_since(self) -> None:
        """Messages changed after the modification sequence given are conflicts and stay as they are; no others."""
        uids = await self.add(5)
        await self.alter(uids[1:2], FlagChange.ADD, FLAGGED)
        limit = (await self.now()).modseq
        await self.alter(uids[2:4], FlagChange.ADD, "$Late")
        altered = await self.alter(uids, FlagChange.ADD, SEEN, unchanged_since=limit)
        self.assertEqual(altered.conflicts, (uids[2], uids[3]))
        self.assertEqual(altered.changed, {uids[0]: {SEEN}, uids[1]: {SEEN, FLAGGED}, uids[4]: {SEEN}})
        self.assertEqual([SEEN in flags for flags in (await self.flags()).values()], [True, True, False, False, True])

    async def test_unchanged_since_is_exact(self) -> None:
        """A message's own modification sequence is no conflict, one less is; nor does it matter what would change."""
        [uid] = await self.add(1, {SEEN})
        modseq = (await self.row(uid)).modseq
        self.assertEqual((await self.alter([uid], FlagChange.ADD, SEEN, unchanged_since=modseq)).conflicts, ())
        self.assertEqual((await self.alter([uid], FlagChange.ADD, SEEN, unchanged_since=modseq - 1)).conflicts, (uid,))
        self.assertEqual((await self.alter([uid], FlagChange.ADD, SEEN, unchanged_since=0)).conflicts, (uid,))
        altered = await self.alter([uid], FlagChange.REPLACE, unchanged_since=modseq)
        self.assertEqual((altered.changed, altered.conflicts), ({uid: NO_FLAGS}, ()))

    async def test_keywords_keep_their_letters(self) -> None:
        """Keywords are kept as the client wrote them, every character of an atom."""
        uids = await self.add(len(KEYWORDS))
        for uid, keyword in zip(uids, KEYWORDS, strict=True):
            await self.alter([uid], FlagChange.ADD, keyword)
        self.assertEqual(await self.flags(), {uid: {word} for uid, word in zip(uids, KEYWORDS, strict=True)})

    async def test_many_keywords(self) -> None:
        """A mailbox may use more keywords than the alphabet has letters, and a message have all of them."""
        words = [f"$Keyword-{number}" for number in range(60)]
        uids = await self.add(60)
        for uid, word in zip(uids, words, strict=True):
            await self.alter([uid], FlagChange.ADD, word)
        await self.alter(uids[:1], FlagChange.ADD, *words)
        expected = {uid: frozenset({word}) for uid, word in zip(uids, words, strict=True)}
        self.assertEqual(await self.flags(), {**expected, uids[0]: frozenset(words)})

    async def test_counts_follow(self) -> None:
        """Messages, unseen, deleted and octets are right after every kind of change."""
        uids = await self.add(4)
        for expected, change in (
            ((4, 3, 0), lambda: self.alter(uids[:1], FlagChange.ADD, SEEN)),
            ((4, 3, 2), lambda: self.alter(uids[1:3], FlagChange.ADD, DELETED)),
            ((4, 2, 3), lambda: self.alter(uids[3:], FlagChange.REPLACE, SEEN, DELETED)),
            ((4, 3, 2), lambda: self.alter(uids[3:], FlagChange.REPLACE)),
            ((3, 2, 1), lambda: self.store.expunge(ANN, self.inbox, uids[:2])),
            ((2, 1, 0), lambda: self.store.expunge(ANN, self.inbox, None)),
            ((3, 1, 1), lambda: self.append([NewMessage(MemoryContent(PLAIN), frozenset({SEEN, DELETED}))])),
        ):
            await change()
            info = await self.now()
            self.assertEqual((info.messages, info.unseen, info.deleted), expected)
            self.assertEqual(info.size, info.messages * len(PLAIN))

    # ------------------------------------------------------------ expunge

    async def test_expunge_takes_the_deleted(self) -> None:
        """Only messages with \\Deleted go: of those named, or of all."""
        uids = await self.add(6)
        await self.flag([uids[0], uids[2], uids[4]], DELETED)
        expunged = await self.store.expunge(ANN, self.inbox, [*uids[:3], uids[-1] + 9])
        self.assertEqual(expunged.uids, (uids[0], uids[2]))
        self.assertEqual(await self.uids(), [uids[1], uids[3], uids[4], uids[5]])
        self.assertEqual(expunged.modseq, (await self.now()).modseq)
        self.assertEqual((await self.store.expunge(ANN, self.inbox, None)).uids, (uids[4],))

    async def test_expunge_of_nothing(self) -> None:
        """Where nothing goes, nothing changes."""
        uids = await self.add(2)
        before = await self.now()
        for asked in (None, uids, [], [uids[-1] + 5]):
            expunged = await self.store.expunge(ANN, self.inbox, asked)
            self.assertEqual((expunged.uids, expunged.modseq), ((), before.modseq))
        self.assertEqual(await self.now(), before)

    async def test_uid_is_never_given_again(self) -> None:
        """After an expunge of the newest, or of all, new messages have UIDs above every one before."""
        highest = 0
        for expunged in ((0,), (2,), (0, 1, 2)):
            uids = await self.add(3)
            self.assertGreater(uids[0], highest)
            highest = uids[-1]
            await self.remove([uids[index] for index in expunged])
        await self.remove(await self.uids())
        self.assertGreater((await self.now()).uid_next, highest)
        self.assertGreater((await self.add())[0], highest)

    # ------------------------------------------------------------ modification sequences

    async def test_every_change_raises_the_modseq(self) -> None:
        """Append, alter, copy, move and expunge each make the mailbox's modification sequence greater."""
        other = await self.create("Work")
        uid, moved = await self.add(2)
        for change in (
            lambda: self.append([NewMessage(MemoryContent(PLAIN))]),
            lambda: self.alter([uid], FlagChange.ADD, FLAGGED),
            lambda: self.alter([uid], FlagChange.REMOVE, FLAGGED),
            lambda: self.alter([uid], FlagChange.REPLACE, "$A"),
            lambda: self.store.copy(ANN, self.inbox, [uid], self.inbox),
            lambda: self.store.copy(ANN, self.inbox, [moved], other, move=True),
            lambda: self.remove([uid]),
        ):
            before = (await self.now()).modseq
            await change()
            self.assertGreater((await self.now()).modseq, before)

    async def test_modseq_counts_for_the_whole_account(self) -> None:
        """Whatever changes, in whichever mailbox, gets a greater one than all before; the others keep theirs."""
        other = await self.create("Work")
        highest = 0
        for mailbox, resting in ((self.inbox, other), (other, self.inbox)) * 3:
            before = (await self.now(resting)).modseq
            [appended] = await self.append([NewMessage(MemoryContent(PLAIN))], mailbox)
            self.assertGreater(appended.modseq, highest)
            altered = await self.store.alter(ANN, mailbox, [appended.uid], FlagChange.ADD, frozenset({SEEN}))
            self.assertGreater(altered.modseq, appended.modseq)
            highest = altered.modseq
            self.assertEqual((await self.now(mailbox)).modseq, highest)
            self.assertEqual((await self.now(resting)).modseq, before)

    # ------------------------------------------------------------ snapshots

    async def test_snapshot_of_everything(self) -> None:
        """Since 0: all messages, ascending, in arrays that run parallel, and nothing vanished."""
        uids = await self.add(5)
        await self.remove(uids[1:2])
        await self.flag(uids[:1], SEEN, "$A")
        snapshot = await self.snap()
        self.assertEqual(snapshot.info, await self.now())
        self.assertEqual((snapshot.uids.typecode, snapshot.modseqs.typecode), ("I", "Q"))
        self.assertEqual(list(snapshot.uids), [uids[0], *uids[2:]])
        self.assertEqual(list(snapshot.modseqs), [row.modseq for row in await self.rows(uids)])
        self.assertEqual(snapshot.flags, [row.flags for row in await self.rows(uids)])
        self.assertEqual(list(snapshot.vanished), [])
        self.assertGreater(min(snapshot.modseqs), 0)
        self.assertLessEqual(max(snapshot.modseqs), snapshot.info.modseq)

    async def test_snapshot_of_nothing(self) -> None:
        """Since now, or later: nothing."""
        uids = await self.add(3)
        await self.remove(uids[:1])
        now = await self.now()
        for since in (now.modseq, now.modseq + 1, 2**40):
            snapshot = await self.snap(since)
            self.assertEqual((list(snapshot.uids), list(snapshot.vanished)), ([], []))
            self.assertEqual(snapshot.info, now)

    async def test_snapshot_since_any_change(self) -> None:
        """From every earlier modification sequence, the snapshot leads exactly to what there is now."""
        past: list[Snapshot] = [await self.snap()]
        uids = await self.add(6)
        for change in (
            lambda: self.alter(uids[:3], FlagChange.ADD, SEEN),
            lambda: self.remove(uids[1:2]),
            lambda: self.alter(uids[2:4], FlagChange.REPLACE, "$A"),
            lambda: self.append([NewMessage(MemoryContent(PLAIN)), NewMessage(MemoryContent(PLAIN))]),
            lambda: self.store.copy(ANN, self.inbox, uids[4:5], self.inbox, move=True),
            lambda: self.remove([uids[0], uids[5]]),
        ):
            past.append(await self.snap())
            await change()
        for then in past:
            await self.check_way(then)

    async def check_way(self, then: Snapshot) -> None:
        """Fail unless the snapshot since `then` says exactly what changed since."""
        now = await self.snap()
        since = await self.snap(then.info.modseq)
        before, after = _messages(then), _messages(now)
        expected = {uid: kept for uid, kept in after.items() if kept[0] > then.info.modseq}
        if then.info.modseq:
            self.assertEqual(_messages(since), expected)
            self.assertLessEqual(before.keys() - after.keys(), set(since.vanished))
        self.assertEqual(set(since.vanished) & after.keys(), set())
        self.assertEqual(list(since.vanished), sorted(set(since.vanished)))
        self.assertEqual(list(since.uids), sorted(since.uids))
        self.assertEqual(
            {**{uid: kept for uid, kept in before.items() if uid not in set(since.vanished)}, **_messages(since)}, after
        )

    # ------------------------------------------------------------ \Recent

    async def test_recent_is_claimed_once(self) -> None:
        """What came since the last claim is for one session alone; looking at the mailbox claims nothing."""
        start = (await self.now()).recent_uid
        uids = await self.add(2)
        self.assertEqual((await self.now()).recent_uid, start)
        self.assertEqual(await self.store.claim_recent(ANN, self.inbox), start)
        self.assertLessEqual(start, uids[0])
        [newest] = await self.add(1)
        claimed = await self.store.claim_recent(ANN, self.inbox)
        self.assertTrue(uids[-1] < claimed <= newest)
        self.assertEqual(await self.store.claim_recent(ANN, self.inbox), (await self.now()).uid_next)
        self.assertEqual((await self.now()).recent_uid, (await self.now()).uid_next)


def _messages(snapshot: Snapshot) -> dict[int, tuple[int, Flags]]:
    return {
        uid: (modseq, flags) for uid, modseq, flags in zip(snapshot.uids, snapshot.modseqs, snapshot.flags, strict=True)
    }
