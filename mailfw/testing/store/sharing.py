"""Cases of mailboxes that others than their owner use: who may do what, and what each has seen."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from mailfw.mail.failure import NoPermission, NoSuchMailbox
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    INBOX,
    NO_FLAGS,
    SEEN,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    Flags,
    MailboxInfo,
    RenameMailbox,
    Snapshot,
)
from mailfw.mail.rights import ALL_RIGHTS, ANYONE, NO_RIGHTS, parse_rights
from mailfw.optional import SHARES, ISharedMail
from mailfw.testing.store.annotations import PRIVATE, SHARED
from mailfw.testing.store.fixture import ANN, BOB, StoreFixture

CAT = "cat@example.org"


class SharedFixture(StoreFixture):
    """A store in which Ann shares, and Bob has an account too."""

    async def sharing(self) -> ISharedMail:
        """Return the store as one that shares.  Raises `not_offered`."""
        self.demand(ISharedMail, "this store shares nothing")
        await self.store.open_account(BOB)
        return ISharedMail(self.store)

    async def shared(self, rights: str = "lrswipkxtea") -> ISharedMail:
        """Share Ann's inbox with Bob."""
        store = await self.sharing()
        await store.grant(ANN, self.inbox, BOB, parse_rights(rights))
        return store

    async def seen_by(self, user: str, since: int = 0, mailbox: str | None = None) -> Snapshot:
        """Return a snapshot as a user has it."""
        return await ISharedMail(self.store).snapshot_for(ANN, mailbox or self.inbox, user, since)

    async def flags_for(self, user: str, mailbox: str | None = None) -> dict[int, Flags]:
        """Return the flags of all messages, as a user has them."""
        snapshot = await self.seen_by(user, mailbox=mailbox)
        return dict(zip(snapshot.uids, snapshot.flags, strict=True))

    async def unseen(self, user: str, mailbox: str | None = None) -> int:
        """Return how much a user has not seen, which must be what a snapshot says."""
        info = await ISharedMail(self.store).mailbox_for(ANN, mailbox or self.inbox, user)
        flags = (await self.flags_for(user, mailbox)).values()
        self.assertEqual(info.unseen, sum(SEEN not in each for each in flags))
        return info.unseen

    async def see(self, user: str, *uids: int, mailbox: str | None = None) -> int:
        """Have a user see messages; return the modification sequence."""
        store, box = ISharedMail(self.store), mailbox or self.inbox
        return (await store.alter_for(ANN, box, user, uids, FlagChange.ADD, frozenset({SEEN}))).modseq


_CHANGES = (("s", "+"), ("w", "-"), ("i", "+"), ("r", "-"))


class SharingCases(SharedFixture):
    """What `ISharedMail` says."""

    async def test_rights_are_kept(self) -> None:
        """What was granted is in the list, changes, and goes when nothing is left of it."""
        store = await self.sharing()
        self.assertEqual(await store.access(ANN, self.inbox), {})
        await store.grant(ANN, self.inbox, BOB, parse_rights("lr"))
        await store.grant(ANN, self.inbox, ANYONE, parse_rights("l"))
        await store.grant(ANN, self.inbox, f"-{CAT}", parse_rights("l"))
        expected = {BOB: frozenset("lr"), ANYONE: frozenset("l"), f"-{CAT}": frozenset("l")}
        self.assertEqual(await store.access(ANN, self.inbox), expected)
        await store.grant(ANN, self.inbox, BOB, parse_rights("lrs"))
        await store.grant(ANN, self.inbox, ANYONE, NO_RIGHTS)
        expected = {BOB: frozenset("lrs"), f"-{CAT}": frozenset("l")}
        self.assertEqual(await store.access(ANN, self.inbox), expected)
        await store.grant(ANN, self.inbox, CAT, NO_RIGHTS)
        self.assertEqual(await store.access(ANN, self.inbox), expected)

    async def test_changes_of_rights_at_once(self) -> None:
        """Rights added and taken away at the same time are all added and taken away."""
        store = await self.shared("lrw")
        asked = [store.grant(ANN, self.inbox, BOB, parse_rights(right), change) for right, change in _CHANGES]
        await gatherResults([Deferred.fromCoroutine(each) for each in asked], consumeErrors=True)
        self.assertEqual(await store.access(ANN, self.inbox), {BOB: frozenset("sil")})
        await store.grant(ANN, self.inbox, BOB, ALL_RIGHTS, "-")
        self.assertEqual(await store.access(ANN, self.inbox), {})
        await store.grant(ANN, self.inbox, BOB, NO_RIGHTS, "+")
        self.assertEqual(await store.access(ANN, self.inbox), {})

    async def test_rights_of_a_user(self) -> None:
        """A user has what is given to him and to everybody, less what is taken from either."""
        store = await self.shared("lrs")
        await store.grant(ANN, self.inbox, ANYONE, parse_rights("lri"))
        await store.grant(ANN, self.inbox, f"-{BOB}", parse_rights("i"))
        await store.grant(ANN, self.inbox, f"-{CAT}", parse_rights("lri"))
        self.assertEqual((await store.mailbox_for(ANN, self.inbox, BOB)).rights, frozenset("lrs"))
        self.assertEqual((await store.mailbox_for(ANN, self.inbox, CAT)).rights, NO_RIGHTS)
        [info] = await store.mailboxes_for(ANN, BOB)
        self.assertEqual((info.id, info.path, info.rights), (self.inbox, INBOX, frozenset("lrs")))
        self.assertEqual(await store.mailboxes_for(ANN, CAT), [])
        self.assertEqual((await self.now()).rights, ALL_RIGHTS)

    async def test_who_shares_with_whom(self) -> None:
        """Whoever has been granted anything learns by whom, and not where nothing is left of it."""
        store = await self.shared("lr")
        work = await self.create("Work")
        await store.grant(ANN, work, BOB, parse_rights("lr"))
        self.assertIn(ANN, await store.shared_with(BOB))
        self.assertNotIn(ANN, await store.shared_with(CAT))
        await store.grant(ANN, self.inbox, BOB, NO_RIGHTS)
        self.assertIn(ANN, await store.shared_with(BOB))
        self.assertEqual([info.id for info in await store.mailboxes_for(ANN, BOB)], [work])
        await store.grant(ANN, work, BOB, NO_RIGHTS)
        self.assertEqual(await store.mailboxes_for(ANN, BOB), [])
        await store.grant(ANN, work, "authenticated", parse_rights("l"))
        self.assertIn(ANN, await store.shared_with(CAT))

    async def test_seen_is_each_users_own(self) -> None:
        """What Bob has seen Ann has not, and the other way round; other flags are everybody's."""
        store = await self.shared()
        first, second = await self.add(2)
        altered = await store.alter_for(ANN, self.inbox, BOB, [first], FlagChange.ADD, frozenset({SEEN, FLAGGED}))
        self.assertEqual(altered.changed, {first: frozenset({SEEN, FLAGGED})})
        await self.flag([second], SEEN)
        self.assertEqual(await self.flags(), {first: {FLAGGED}, second: {SEEN}})
        self.assertEqual(await self.flags_for(BOB), {first: {SEEN, FLAGGED}, second: NO_FLAGS})
        self.assertEqual(await self.flags_for(CAT), {first: {FLAGGED}, second: NO_FLAGS})
        self.assertEqual([(await self.now()).unseen, await self.unseen(BOB), await self.unseen(CAT)], [1, 1, 2])
        self.assertEqual(await store.readers(ANN, self.inbox), {BOB})
        [mark] = await store.marks(ANN, self.inbox, BOB, [first, second])
        self.assertEqual((mark.uid, mark.seen, mark.modseq), (first, True, altered.modseq))

    async def test_seen_and_no_longer(self) -> None:
        """A mark is taken back, replaced, and set again; one that stays changes nothing."""
        store = await self.shared()
        [uid] = await self.add(1, {FLAGGED})
        modseq = await self.see(BOB, uid)
        self.assertEqual(await self.see(BOB, uid), modseq)
        for change, flags, expected in (
            (FlagChange.REMOVE, {SEEN}, {FLAGGED}),
            (FlagChange.REPLACE, {SEEN, "$Work"}, {SEEN, "$Work"}),
            (FlagChange.REPLACE, {FLAGGED}, {FLAGGED}),
        ):
            altered = await store.alter_for(ANN, self.inbox, BOB, [uid], change, frozenset(flags))
            self.assertEqual((altered.changed, await self.flags_for(BOB)), ({uid: expected}, {uid: expected}))
            self.assertGreater(altered.modseq, modseq)
            modseq = altered.modseq
        self.assertEqual(await self.unseen(BOB), 1)

    async def test_the_owners_seen_stays(self) -> None:
        """Bob replacing all flags leaves it to Ann what she has seen."""
        store = await self.shared()
        [uid] = await self.add(1, {SEEN})
        await store.alter_for(ANN, self.inbox, BOB, [uid], FlagChange.REPLACE, frozenset({FLAGGED}))
        self.assertEqual((await self.flags(), await self.flags_for(BOB)), ({uid: {SEEN, FLAGGED}}, {uid: {FLAGGED}}))

    async def test_what_changed_for_a_user(self) -> None:
        """A snapshot since a modification sequence has Bob's marks, and only for Bob."""
        await self.shared()
        first, second, third = await self.add(3)
        start = (await self.now()).modseq
        modseq = await self.see(BOB, first, third)
        snapshot = await self.seen_by(BOB, start)
        self.assertEqual((list(snapshot.uids), list(snapshot.modseqs)), ([first, third], [modseq, modseq]))
        self.assertEqual((snapshot.flags, snapshot.info.modseq), ([{SEEN}, {SEEN}], modseq))
        self.assertEqual(list((await self.seen_by(CAT, start)).uids), [])
        self.assertEqual(list((await self.snap(start)).uids), [])
        self.assertEqual(list((await self.seen_by(BOB, modseq)).uids), [])
        await self.flag([second], FLAGGED)
        await self.remove([first])
        snapshot = await self.seen_by(BOB, modseq)
        self.assertEqual((list(snapshot.uids), list(snapshot.vanished)), ([second], [first]))
        self.assertEqual(await self.flags_for(BOB), {second: {FLAGGED}, third: {SEEN}})
        self.assertEqual(await self.unseen(BOB), 1)

    async def test_changes_by_a_user_who_was_told_all(self) -> None:
        """UNCHANGEDSINCE counts the user's own marks: what he marked since is a conflict, and for others is none."""
        store = await self.shared()
        await store.grant(ANN, self.inbox, CAT, ALL_RIGHTS)
        first, second = await self.add(2)
        start = (await self.now()).modseq
        await self.see(BOB, first)
        flags = frozenset({SEEN})
        altered = await store.alter_for(ANN, self.inbox, BOB, [first, second], FlagChange.REMOVE, flags, start)
        self.assertEqual((altered.conflicts, altered.changed), ((first,), {}))
        altered = await store.alter_for(ANN, self.inbox, CAT, [first, second], FlagChange.ADD, flags, start)
        self.assertEqual((altered.conflicts, sorted(altered.changed)), ((), [first, second]))

    async def test_flags_that_may_be_changed(self) -> None:
        """\\Seen takes s, \\Deleted takes t, others take w: what is not allowed stays, and all of it is refused."""
        store = await self.sharing()
        [uid] = await self.add(1, {FLAGGED})
        everything = frozenset({SEEN, DELETED, "$Work"})
        for rights, expected in (("lrs", {SEEN}), ("lrt", {DELETED}), ("lrw", {"$Work"}), ("lrst", {SEEN, DELETED})):
            await store.grant(ANN, self.inbox, BOB, parse_rights(rights))
            await store.alter_for(ANN, self.inbox, BOB, [uid], FlagChange.ADD, everything)
            self.assertEqual((await self.flags_for(BOB))[uid] - {FLAGGED}, expected)
            await store.alter_for(ANN, self.inbox, BOB, [uid], FlagChange.REPLACE, frozenset())
            kept = {FLAGGED} if "w" not in rights else NO_FLAGS
            self.assertEqual(await self.flags_for(BOB), {uid: kept})
            await self.store.alter(ANN, self.inbox, [uid], FlagChange.REPLACE, frozenset({FLAGGED}))
        await store.grant(ANN, self.inbox, BOB, parse_rights("lri"))
        for change in FlagChange:
            asked = store.alter_for(ANN, self.inbox, BOB, [uid], change, everything)
            await self.refuses(NoPermission, asked)
        await store.grant(ANN, self.inbox, BOB, parse_rights("lw"))
        await self.refuses(NoPermission, store.alter_for(ANN, self.inbox, BOB, [uid], FlagChange.ADD, everything))
        await store.grant(ANN, self.inbox, BOB, NO_RIGHTS)
        await self.refuses(NoSuchMailbox, store.alter_for(ANN, self.inbox, BOB, [uid], FlagChange.ADD, everything))
        self.assertEqual(await self.flags(), {uid: {FLAGGED}})

    async def test_everything_is_noticed(self) -> None:
        """Who watches hears of marks and of rights, with the modification sequence that shows them."""
        store = await self.shared()
        [uid] = await self.add(1)
        heard: list[tuple[str, int]] = []
        stop = await self.store.watch(ANN, lambda *notice: heard.append(notice))
        modseq = await self.see(BOB, uid)
        await self.eventually(lambda: (self.inbox, modseq) in heard, "a notice of a mark")
        await store.grant(ANN, self.inbox, BOB, parse_rights("lr"))
        modseq = (await self.now()).modseq
        await self.eventually(lambda: (self.inbox, modseq) in heard, "a notice of rights")
        self.assertEqual((await self.seen_by(BOB, modseq)).info.rights, frozenset("lr"))
        stop()

    async def test_what_a_notice_tells_of_can_be_seen(self) -> None:
        """When a notice comes, rights are what they are from then on, and marks too."""
        store = await self.shared("lr")
        [uid] = await self.add(1)
        looks: list[Deferred[Snapshot]] = []
        stop = await self.store.watch(ANN, lambda *_: looks.append(Deferred.fromCoroutine(self.seen_by(BOB))))
        await store.grant(ANN, self.inbox, BOB, parse_rights("lrs"))
        await self.eventually(lambda: bool(looks), "a notice of rights")
        self.assertEqual((await looks.pop()).info.rights, frozenset("lrs"))
        await gatherResults(looks)
        looks.clear()
        await self.see(BOB, uid)
        await self.eventually(lambda: bool(looks), "a notice of a mark")
        self.assertEqual((await looks[0]).flags, [{SEEN}])
        stop()
        shown: list[Deferred[list[MailboxInfo]]] = []

        def look(mailbox: str, modseq: int) -> None:
            if mailbox == SHARES:
                shown.append(Deferred.fromCoroutine(store.mailboxes_for(ANN, BOB)))

        stop = await self.store.watch(BOB, look)
        await store.grant(ANN, self.inbox, BOB, NO_RIGHTS)
        await self.eventually(lambda: bool(shown), "a notice of what is shared")
        self.assertEqual(await shown[0], [])
        stop()

    async def test_the_grantee_is_told(self) -> None:
        """Who watches an account hears when something is shared with it, or with everybody, or no longer."""
        store = await self.sharing()
        heard: list[str] = []
        stop = await self.store.watch(BOB, lambda mailbox, _: heard.append(mailbox))
        for identifier, rights in ((BOB, "lr"), (BOB, ""), (ANYONE, "l"), (ANYONE, "")):
            heard.clear()
            await store.grant(ANN, self.inbox, identifier, parse_rights(rights))
            await self.eventually(lambda: SHARES in heard, "a notice of what is shared")
        stop()

    async def test_marks_follow_copies(self) -> None:
        """A message that moves between shared mailboxes has been seen by whoever saw it; elsewhere nobody has."""
        store = await self.shared()
        first, second = await self.add(2)
        await self.see(BOB, first)
        work, own = await self.create("Work"), await self.create("Own")
        await store.grant(ANN, work, BOB, parse_rights("lr"))
        copied = await self.store.copy(ANN, self.inbox, [first, second], work, move=True)
        there = dict(copied.uids)
        self.assertEqual(await self.flags_for(BOB, work), {there[first]: {SEEN}, there[second]: NO_FLAGS})
        self.assertEqual(await self.flags(work), {there[first]: NO_FLAGS, there[second]: NO_FLAGS})
        self.assertEqual((await self.unseen(BOB, work), await self.unseen(BOB)), (1, 0))
        [(_, uid), _] = (await self.store.copy(ANN, work, list(there.values()), own)).uids
        await store.grant(ANN, own, BOB, parse_rights("lr"))
        self.assertEqual((await self.flags_for(BOB, own))[uid], NO_FLAGS)

    async def test_mailboxes_made_and_deleted(self) -> None:
        """A mailbox made below another begins with its list; one that is renamed keeps it; one made anew has none."""
        store = await self.sharing()
        work = await self.create("Work")
        await store.grant(ANN, work, BOB, parse_rights("lrsi"))
        year = await self.create("Work", "2026")
        self.assertEqual(await store.access(ANN, year), {BOB: frozenset("lrsi")})
        [uid] = await self.add(1, mailbox=year)
        await self.see(BOB, uid, mailbox=year)
        await self.store.edit_mailbox(ANN, RenameMailbox(("Work", "2026"), ("Old",)))
        self.assertEqual(await store.access(ANN, year), {BOB: frozenset("lrsi")})
        self.assertEqual(await self.flags_for(BOB, year), {uid: {SEEN}})
        await self.store.edit_mailbox(ANN, DeleteMailbox(("Old",)))
        self.assertEqual([info.id for info in await store.mailboxes_for(ANN, BOB)], [work])
        await self.store.edit_mailbox(ANN, CreateMailbox(("Old",)))
        self.assertEqual(await store.access(ANN, (await self.info(("Old",))).id), {})
        await self.refuses(NoSuchMailbox, store.grant(ANN, year, BOB, ALL_RIGHTS))
        await self.refuses(NoSuchMailbox, store.access(ANN, year))

    async def test_a_removed_account(self) -> None:
        """With an account goes what it shared, what was shared with it, and what it had seen."""
        store = await self.shared()
        [uid] = await self.add(1)
        await self.see(BOB, uid)
        await self.store.remove_account(BOB)
        self.assertEqual(await store.access(ANN, self.inbox), {})
        await self.store.open_account(BOB)
        await store.grant(ANN, self.inbox, BOB, parse_rights("lr"))
        self.assertEqual(await self.flags_for(BOB), {uid: NO_FLAGS})
        await self.store.remove_account(ANN)
        self.assertNotIn(ANN, await store.shared_with(BOB))
        await self.store.open_account(ANN)
        self.assertEqual(await store.mailboxes_for(ANN, BOB), [])

    async def test_many_at_once(self) -> None:
        """Marks of several users and changes of the owner at once: nothing is lost, and nobody's is another's."""
        store = await self.shared()
        await store.grant(ANN, self.inbox, ANYONE, ALL_RIGHTS)
        uids = await self.add(20)
        users = [f"user{number}@example.org" for number in range(5)]
        asked = [self.see(user, uid) for user in users for uid in uids if (uid + len(user)) % 2]
        asked += [self._flag(uid) for uid in uids]
        await gatherResults([Deferred.fromCoroutine(each) for each in asked], consumeErrors=True)
        for user in users:
            seen = [uid for uid, flags in (await self.flags_for(user)).items() if SEEN in flags]
            self.assertEqual(seen, [uid for uid in uids if (uid + len(user)) % 2])
        self.assertEqual(set((await self.flags()).values()), {frozenset({FLAGGED})})
        self.assertEqual([await self.unseen(user) for user in users], [10] * 5)

    async def _flag(self, uid: int) -> int:
        await self.flag([uid], FLAGGED)
        return uid

    async def test_rights_and_marks_last(self) -> None:
        """Rights, marks, who shares with whom and what changed are there, also after a restart."""
        store = await self.shared("lrst")
        first, second, third = await self.add(3)
        start = await self.see(BOB, first, second, third)
        await store.alter_for(ANN, self.inbox, BOB, [second], FlagChange.REMOVE, frozenset({SEEN}))
        await self.remove([third])
        if self.can_reopen:
            await self.reopen()
            store = await self.sharing()
        self.assertEqual(await store.access(ANN, self.inbox), {BOB: frozenset("lrst")})
        self.assertIn(ANN, await store.shared_with(BOB))
        [info] = await store.mailboxes_for(ANN, BOB)
        self.assertEqual((info.messages, info.unseen), (2, 1))
        snapshot = await self.seen_by(BOB, start)
        self.assertEqual((list(snapshot.uids), snapshot.flags), ([second], [NO_FLAGS]))
        self.assertEqual(await self.flags_for(BOB), {first: {SEEN}, second: NO_FLAGS})

    async def test_private_annotations_of_others(self) -> None:
        """Who shares a mailbox has private entries of his own and sees the shared ones; his go when he does."""
        shared = await self.sharing()
        store = self.annotated
        await store.annotate(ANN, self.inbox, {SHARED: b"all", PRIVATE: b"ann's"})
        await store.annotate(ANN, self.inbox, {PRIVATE: b"bob's", "/shared/x": b"by bob"}, BOB)
        self.assertEqual(
            await store.annotations(ANN, self.inbox), {SHARED: b"all", "/shared/x": b"by bob", PRIVATE: b"ann's"}
        )
        of_bob = {SHARED: b"all", "/shared/x": b"by bob", PRIVATE: b"bob's"}
        self.assertEqual(await store.annotations(ANN, self.inbox, BOB), of_bob)
        self.assertEqual(await store.all_annotations(ANN, BOB), {self.inbox: of_bob})
        self.assertEqual(await store.annotators(ANN, self.inbox), {BOB})
        await shared.forget_user(ANN, BOB)
        self.assertEqual(await store.annotators(ANN, self.inbox), frozenset())
        self.assertEqual((await store.annotations(ANN, self.inbox))[PRIVATE], b"ann's")
