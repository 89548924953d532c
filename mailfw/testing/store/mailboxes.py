"""Cases of the store's contract: the tree of mailboxes, its names and the subscriptions."""

from __future__ import annotations

from mailfw.mail.failure import MailboxExists, NameRefused, NoSuchMailbox, RoleTaken, StoreRefusal
from mailfw.mail.mailbox import (
    INBOX,
    SEEN,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    MailboxEdit,
    NewMessage,
    Path,
    RenameMailbox,
    Role,
    SetRole,
    Subscribe,
    Want,
)
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import ANN, StoreFixture

#: Names every store holds, on any level and exactly as they are: people use such names.
NAMES = (
    "Work",
    "R&D",
    "&",
    "&-",
    "&AOk-",
    'the "big" one',
    "it's",
    "a.b.c",
    ".hidden",
    "trailing.",
    "two  spaces",
    " leading",
    "trailing ",
    "back\\slash",
    "star * and % percent",
    "{5}",
    "(list)",
    "~home",
    "#news",
    "-dash",
    "semi;colon:comma,",
    "cur",
    "new",
    "tmp",
    "dovecot-uidlist",
    "maildirfolder",
    "NIL",
    "Entwürfe",
    "받은 편지함",
    "送信済み",
    "Отправленные",
    "المرسلة",
    "נשלח",
    "ส่งแล้ว",
    "ﬁ ligature",
    "e\u0301 combined",
    "½ ² Ⅷ",
    "€ ± ¬",
    "📨 emoji",
    "👩\u200d👩\u200d👧 joined",
    "ideographic\u3000space",
    "no-break\u00a0space",
    "x" * 60,
)

#: Names a store may be unable to hold; then it says `NameRefused` and keeps nothing.
DIFFICULT_PATHS: tuple[Path, ...] = (
    (".",),
    ("..",),
    ("..", "..", "etc"),
    ("a/b",),
    ("../escape",),
    ("nul\x00nul",),
    ("line\r\nend",),
    ("\x7f\x1b",),
    ("\ue000private",),
    ("\ud800surrogate",),
    ("x" * 1000,),
    ("한" * 300,),
    ("😀" * 100,),
    tuple("deep" for _ in range(200)),
)

EMPTY_PATHS: tuple[Path, ...] = ((), ("",), ("", "a"), ("a", ""), ("a", "", "b"))


class MailboxCases(StoreFixture):
    """What `IMailStore` says of the tree."""

    async def edit(self, edit: MailboxEdit) -> None:
        """Change Ann's tree."""
        await self.store.edit_mailbox(ANN, edit)

    # ------------------------------------------------------------ create

    async def test_created_mailbox_is_empty(self) -> None:
        """A new mailbox has no messages, no role and no subscription; what is listed and asked by id agree."""
        await self.edit(CreateMailbox(("Work",)))
        info = await self.info(("Work",))
        self.assertEqual((info.messages, info.unseen, info.deleted, info.size), (0, 0, 0, 0))
        self.assertIsNone(info.role)
        self.assertFalse(info.subscribed)
        self.assertEqual(await self.now(info.id), info)
        self.assertEqual(await self.uids(info.id), [])

    async def test_created_with_a_role(self) -> None:
        """A mailbox can be made for a purpose."""
        await self.edit(DeleteMailbox(("Junk",)))
        await self.edit(CreateMailbox(("스팸",), Role.JUNK))
        self.assertIs((await self.info(("스팸",))).role, Role.JUNK)

    async def test_one_mailbox_for_a_role(self) -> None:
        """A second mailbox for the same use is refused; a role can be given up and passed on."""
        await self.create("Work")
        await self.refuses(RoleTaken, self.edit(CreateMailbox(("Entwürfe",), Role.DRAFTS)))
        self.assertNotIn(("Entwürfe",), await self.infos())
        before = await self.info(("Work",))
        await self.refuses(RoleTaken, self.edit(SetRole(("Work",), Role.DRAFTS)))
        self.assertEqual(await self.info(("Work",)), before)
        await self.edit(SetRole(("Drafts",), None))
        await self.edit(SetRole(("Work",), Role.DRAFTS))
        self.assertIsNone((await self.info(("Drafts",))).role)
        after = await self.info(("Work",))
        self.assertIs(after.role, Role.DRAFTS)
        self.assertGreater(after.modseq, before.modseq)
        self.assertEqual(await self.store.mailbox(ANN, after.id), after)
        await self.edit(SetRole(("Work",), Role.DRAFTS))
        self.assertEqual(await self.info(("Work",)), after, "nothing was changed")
        await self.refuses(NoSuchMailbox, self.edit(SetRole(("Nowhere",), None)))
        await self.refuses(NameRefused, self.edit(SetRole(INBOX, Role.ARCHIVE)))
        if self.can_reopen:
            await self.reopen()
            self.assertEqual(await self.info(("Work",)), after)

    async def test_existing_name_is_refused(self) -> None:
        """Making what is there raises `MailboxExists` and leaves it as it is."""
        await self.add_octets(PLAIN, await self.create("Work"))
        before = await self.infos()
        for path in (("Work",), ("Sent",), INBOX):
            await self.refuses(MailboxExists, self.edit(CreateMailbox(path)))
        self.assertEqual(await self.infos(), before)

    async def test_parents_are_not_made(self) -> None:
        """A mailbox may stand below a name that is none, which can be made later."""
        child = await self.create("A", "B", "C")
        self.assertNotIn(("A",), await self.infos())
        self.assertNotIn(("A", "B"), await self.infos())
        await self.create("A", "B")
        self.assertEqual((await self.info(("A", "B", "C"))).id, child)

    async def test_names_are_held_exactly(self) -> None:
        """Every name people give a mailbox comes back as it was, and the mailbox works."""
        for name in NAMES:
            mailbox = await self.create(name)
            uid = await self.add_octets(name.encode(), mailbox)
            self.assertEqual(await self.octets(uid, mailbox), name.encode(), name)
        self.assertLessEqual({(name,) for name in NAMES}, set(await self.infos()))

    async def test_names_are_held_on_lower_levels(self) -> None:
        """The same names work as parents and as children."""
        for name in NAMES:
            await self.create(name, "child")
            await self.create("Parent", name)
        paths = set(await self.infos())
        self.assertLessEqual({(name, "child") for name in NAMES} | {("Parent", name) for name in NAMES}, paths)

    async def test_ten_levels(self) -> None:
        """A tree may be ten levels deep."""
        path = tuple(f"level {level}" for level in range(10))
        uid = await self.add_octets(PLAIN, await self.create(*path))
        self.assertEqual(await self.octets(uid, (await self.info(path)).id), PLAIN)

    async def test_difficult_names_are_held_or_refused(self) -> None:
        """A name the store cannot hold is refused with `NameRefused`, and nothing is left of it."""
        for path in DIFFICULT_PATHS:
            before = await self.infos()
            try:
                await self.edit(CreateMailbox(path))
            except NameRefused:
                self.assertEqual(await self.infos(), before, repr(path))
            else:
                uid = await self.add_octets(PLAIN, (await self.info(path)).id)
                self.assertEqual(await self.octets(uid, (await self.info(path)).id), PLAIN)

    async def test_empty_names_are_refused(self) -> None:
        """A path without names, or with an empty one, is no path."""
        await self.create("Work")
        before = await self.infos()
        for path in EMPTY_PATHS:
            await self.refuses(NameRefused, self.edit(CreateMailbox(path)))
            await self.refuses(NameRefused, self.edit(RenameMailbox(("Work",), path)))
        self.assertEqual(await self.infos(), before)

    # ------------------------------------------------------------ delete

    async def test_deleted_mailbox_is_gone(self) -> None:
        """Every method that names a deleted mailbox raises `NoSuchMailbox`."""
        mailbox = await self.create("Work")
        [uid] = await self.add(mailbox=mailbox)
        [here] = await self.add()
        await self.edit(DeleteMailbox(("Work",)))
        self.assertNotIn(("Work",), await self.infos())
        store = self.store
        for asked in (
            lambda: store.mailbox(ANN, mailbox),
            lambda: store.claim_recent(ANN, mailbox),
            lambda: store.snapshot(ANN, mailbox, 0),
            lambda: anext(aiter(store.rows(ANN, mailbox, [uid], Want.NOTHING))),
            lambda: store.content(ANN, mailbox, uid),
            lambda: store.append(ANN, mailbox, [NewMessage(MemoryContent(PLAIN))]),
            lambda: store.alter(ANN, mailbox, [uid], FlagChange.ADD, frozenset({SEEN})),
            lambda: store.copy(ANN, mailbox, [uid], self.inbox),
            lambda: store.copy(ANN, self.inbox, [here], mailbox),
            lambda: store.copy(ANN, self.inbox, [here], mailbox, move=True),
            lambda: store.expunge(ANN, mailbox, None),
        ):
            await self.refuses(NoSuchMailbox, asked())
        self.assertEqual(await self.uids(), [here])

    async def test_unknown_mailbox(self) -> None:
        """Deleting or renaming what is not there raises `NoSuchMailbox`."""
        await self.refuses(NoSuchMailbox, self.edit(DeleteMailbox(("Nowhere",))))
        await self.refuses(NoSuchMailbox, self.edit(RenameMailbox(("Nowhere",), ("There",))))
        await self.refuses(NoSuchMailbox, self.store.mailbox(ANN, "no such id"))
        await self.refuses(NoSuchMailbox, self.store.mailbox(ANN, "../../x"))

    async def test_children_outlive_their_parent(self) -> None:
        """Deleting a mailbox leaves those below it where they are."""
        await self.create("A")
        child = await self.create("A", "B")
        uid = await self.add_octets(PLAIN, child)
        await self.edit(DeleteMailbox(("A",)))
        self.assertEqual((await self.info(("A", "B"))).id, child)
        self.assertEqual(await self.octets(uid, child), PLAIN)

    async def test_inbox_stays(self) -> None:
        """The inbox can be neither deleted nor renamed, nor anything renamed to it."""
        await self.create("Work")
        [uid] = await self.add()
        before = await self.infos()
        await self.refuses(StoreRefusal, self.edit(DeleteMailbox(INBOX)))
        await self.refuses(StoreRefusal, self.edit(RenameMailbox(INBOX, ("Old",))))
        await self.refuses(StoreRefusal, self.edit(RenameMailbox(("Work",), INBOX)))
        self.assertEqual(await self.infos(), before)
        self.assertEqual(await self.octets(uid), PLAIN)

    async def test_mailbox_made_again_has_greater_validity(self) -> None:
        """Deleted and made again, at once and several times, a mailbox is another with a greater UIDVALIDITY."""
        validities, ids = [], []
        for _ in range(4):
            mailbox = await self.create("Work")
            await self.add(2, mailbox=mailbox)
            ids.append(mailbox)
            validities.append((await self.info(("Work",))).uid_validity)
            await self.edit(DeleteMailbox(("Work",)))
        self.assertEqual(validities, sorted(set(validities)))
        self.assertEqual(len(set(ids)), 4)
        self.assertEqual(await self.uids(await self.create("Work")), [])

    # ------------------------------------------------------------ rename

    async def test_rename_keeps_everything_but_the_path(self) -> None:
        """Id, UIDVALIDITY, UIDs, flags, role and octets stay."""
        sent = (await self.info(("Sent",))).id
        uids = await self.add(3, {SEEN, "$Label"}, sent)
        await self.remove(uids[:1], sent)
        before, flags = await self.now(sent), await self.flags(sent)
        await self.edit(RenameMailbox(("Sent",), ("보낸 편지함",)))
        after = await self.info(("보낸 편지함",))
        self.assertNotIn(("Sent",), await self.infos())
        for name in ("id", "role", "uid_validity", "uid_next", "recent_uid", "messages", "unseen", "deleted", "size"):
            self.assertEqual(getattr(after, name), getattr(before, name), name)
        self.assertEqual(await self.flags(sent), flags)
        self.assertEqual(await self.octets(uids[1], sent), PLAIN)

    async def test_rename_takes_what_is_below_along(self) -> None:
        """All levels below move too, and nothing whose name only looks alike."""
        moved = {("Work", *rest): ("Office", "Old", *rest) for rest in ((), ("A",), ("A", "B"), ("C.D", "한"))}
        alike = [("Workshop",), ("Work.A",), ("work-2",), ("Other", "Work")]
        ids = {path: await self.create(*path) for path in (*moved, *alike)}
        await self.edit(RenameMailbox(("Work",), ("Office", "Old")))
        infos = await self.infos()
        for path, to in moved.items():
            self.assertNotIn(path, infos)
            self.assertEqual(infos[to].id, ids[path])
        for path in alike:
            self.assertEqual(infos[path].id, ids[path])

    async def test_rename_to_another_level(self) -> None:
        """A mailbox can move below another and out again."""
        await self.create("A")
        mailbox = await self.create("B", "C", "D")
        for path, to in ((("B", "C", "D"), ("A", "D")), (("A", "D"), ("D",)), (("D",), ("INBOX", "D"))):
            await self.edit(RenameMailbox(path, to))
            self.assertEqual((await self.info(to)).id, mailbox)

    async def test_rename_to_a_taken_name(self) -> None:
        """`MailboxExists` is raised and nothing moves, also where only a name below is taken."""
        await self.add_octets(PLAIN, await self.create("A"))
        await self.create("A", "x")
        await self.create("B")
        await self.create("C", "x")
        before = await self.infos()
        await self.refuses(MailboxExists, self.edit(RenameMailbox(("A",), ("B",))))
        await self.refuses(MailboxExists, self.edit(RenameMailbox(("A",), ("C",))))
        self.assertEqual(await self.infos(), before)

    async def test_old_name_is_free_after_a_rename(self) -> None:
        """A mailbox made where another was has another id, no messages and a greater UIDVALIDITY."""
        old = await self.create("Work")
        await self.add(2, mailbox=old)
        await self.edit(RenameMailbox(("Work",), ("Old work",)))
        new = await self.create("Work")
        self.assertNotEqual(new, old)
        self.assertEqual(await self.uids(new), [])
        self.assertGreater((await self.now(new)).uid_validity, (await self.now(old)).uid_validity)

    async def test_two_mailboxes_change_names(self) -> None:
        """Renaming round a circle mixes nothing up."""
        first, second = await self.create("A"), await self.create("B")
        uid = await self.add_octets(b"first", first)
        await self.add_octets(b"second", second)
        for path, to in ((("A",), ("T",)), (("B",), ("A",)), (("T",), ("B",))):
            await self.edit(RenameMailbox(path, to))
        self.assertEqual(((await self.info(("A",))).id, (await self.info(("B",))).id), (second, first))
        self.assertEqual(await self.octets(uid, first), b"first")

    # ------------------------------------------------------------ subscriptions

    async def test_subscribing(self) -> None:
        """A name is subscribed and no longer; twice is as once; the mailbox says so too."""
        await self.create("Work")
        for wanted in (True, True, False, False, True):
            await self.edit(Subscribe(("Work",), wanted))
            self.assertEqual((await self.info(("Work",))).subscribed, wanted)
            self.assertEqual(("Work",) in await self.store.subscriptions(ANN), wanted)

    async def test_subscribed_name_need_not_exist(self) -> None:
        """A name can be subscribed before its mailbox is made, and stays when it is deleted."""
        path = ("미래", 'a "b" & c')
        await self.edit(Subscribe(path))
        self.assertIn(path, await self.store.subscriptions(ANN))
        self.assertNotIn(path, await self.infos())
        await self.create(*path)
        self.assertTrue((await self.info(path)).subscribed)
        await self.edit(DeleteMailbox(path))  # RFC 3501 section 6.3.9: the name is not removed with the mailbox
        self.assertIn(path, await self.store.subscriptions(ANN))

    async def test_rename_keeps_other_subscriptions(self) -> None:
        """Renaming touches no subscription of any other name."""
        for path in (("A",), ("Other",), ("Nowhere",)):
            await self.edit(Subscribe(path))
        await self.create("A")
        before = await self.store.subscriptions(ANN)
        await self.edit(RenameMailbox(("A",), ("B",)))
        changing = {("A",), ("B",)}
        self.assertEqual(await self.store.subscriptions(ANN) - changing, before - changing)
