"""An index made anew has what the files say, and what only the old index knew where that can be read."""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NoSuchAccount
from mailfw.mail.mailbox import CreateMailbox, FlagChange, MailboxInfo, RenameMailbox, Role, Want
from mailfw.optional import IAnnotatedMail, IRebuildable
from mailfw.stores.index.ledger import Known, Survey
from mailfw.stores.maildir.folder import MaildirFolder
from mailfw.stores.maildir.source import MaildirSource
from mailfw.stores.memory import MemoryStore
from mailfw.testing.store.conversations import letter
from tests.transfer.test_backup import ANN, Case

#: More keywords than a maildir's file names have letters for.
WORDS = frozenset(f"$Word{number}" for number in range(40))


class RebuildTests(Case):
    async def rebuild(self, store: IMailStore) -> int:
        told: list[int] = []
        await IRebuildable(store).rebuild(ANN, told.append)
        return sum(told)

    async def infos(self, store: IMailStore) -> dict[tuple[str, ...], MailboxInfo]:
        return {each.path: each for each in await store.mailboxes(ANN)}

    @property
    def index(self) -> Path:
        return self.home / "data/mail/example.org/ann/mailfw-index.sqlite"

    async def prepared(self) -> IMailStore:
        store = self.maildir()
        await self.fill(store)
        await store.edit_mailbox(ANN, RenameMailbox(("Sent",), ("Outgoing",)))
        await store.edit_mailbox(ANN, CreateMailbox(("Sent",)))
        await store.alter(ANN, await self.find(store, ("INBOX",)), [1, 2], FlagChange.ADD, WORDS)
        return store

    async def saved(self, store: IMailStore, mailbox: str) -> dict[int, int | None]:
        uids = (await store.snapshot(ANN, mailbox, 0)).uids
        batches = store.rows(ANN, mailbox, uids, Want.SAVED)
        return {row.uid: row.saved for row in [row async for batch in batches for row in batch]}

    async def test_nothing_is_lost(self) -> None:
        self.patch(MaildirSource, "saved", lambda source, key, now: now)  # as with names of other programs
        store = await self.prepared()
        verifyObject(IRebuildable, store)
        noted, inbox = IAnnotatedMail(store), (await self.infos(store))["INBOX",].id
        await noted.annotate(ANN, inbox, {"/shared/comment": b"kept"})
        await noted.annotate(ANN, inbox, {"/private/comment": b"kept"}, "bob@example.org")
        await noted.annotate(ANN, None, {"/private/comment": b"kept too"})
        saved = await self.saved(store, inbox)
        await deferLater(reactor, 1.1)
        before, infos = await self.contents(store), await self.infos(store)
        self.assertEqual(await self.rebuild(store), sum(each.messages for each in infos.values()))
        self.assertEqual(await self.contents(store), before)
        self.assertEqual(await self.saved(store, inbox), saved)
        self.assertEqual(await noted.annotations(ANN, inbox), {"/shared/comment": b"kept"})
        self.assertEqual(await noted.annotators(ANN, inbox), {"bob@example.org"})
        self.assertEqual(await noted.annotations(ANN, None), {"/private/comment": b"kept too"})
        after = await self.infos(store)
        for path, info in infos.items():
            now = after[path]
            self.assertEqual(
                (now.id, now.uid_validity, now.uid_next, now.role, now.messages, now.size, now.unseen, now.recent_uid),
                (
                    info.id,
                    info.uid_validity,
                    info.uid_next,
                    info.role,
                    info.messages,
                    info.size,
                    info.unseen,
                    info.recent_uid,
                ),
            )
            self.assertGreater(now.modseq, info.modseq)
        self.assertEqual(after["Outgoing",].role, Role.SENT)

    async def test_what_goes_meanwhile_is_left_out(self) -> None:
        """Another program removes a mailbox when it is its turn: the others are all there."""
        survey = MaildirFolder.survey

        def interrupted(folder: MaildirFolder, known: Known) -> Survey:
            if folder.directory.endswith("Outgoing") and Path(folder.directory).exists():
                shutil.rmtree(folder.directory)
            return survey(folder, known)

        store = await self.prepared()
        await deferLater(reactor, 1.1)
        before = await self.contents(store)
        self.patch(MaildirFolder, "survey", interrupted)
        await self.rebuild(store)
        del before["Outgoing",]
        await deferLater(reactor, 1.1)
        self.assertEqual(await self.contents(store), before)

    async def test_clients_hear_everything_anew(self) -> None:
        store = await self.prepared()
        info = (await self.infos(store))["INBOX",]
        await self.rebuild(store)
        snapshot = await store.snapshot(ANN, info.id, info.modseq)
        self.assertEqual(len(snapshot.uids), info.messages)

    async def test_threads_are_what_they_were(self) -> None:
        """Also those that messages would be given in another order, and those they are found by later."""
        store = self.maildir()
        await store.open_account(ANN)
        sent, inbox = await self.find(store, ("Sent",)), await self.find(store, ("INBOX",))
        given_ = {}
        for mailbox, new in (
            (sent, letter("Re: Lunch", "b", "a")),
            (inbox, letter("Lunch", "a", "", "z")),
            (inbox, letter("Re: Lunch", "c", "", "y b")),
            (inbox, letter("Alone")),
        ):
            [appended] = await store.append(ANN, mailbox, [new])
            given_[appended.email_id] = appended.thread_id
        await self.rebuild(store)
        found = {}
        for mailbox, uids in ((sent, [1]), (inbox, [1, 2, 3])):
            async for rows in store.rows(ANN, mailbox, uids, Want.THREAD):
                found.update({row.email_id: row.thread_id for row in rows})
        self.assertEqual(found, given_)
        [late] = await store.append(ANN, inbox, [letter("Re: Lunch", "d", "y")])
        self.assertEqual(late.thread_id, next(iter(given_.values())))

    async def test_of_an_index_that_is_broken(self) -> None:
        store = await self.prepared()
        before = {path: each[2] for path, each in (await self.contents(store)).items() if path != ("INBOX",)}
        infos = await self.infos(store)
        await store.close()
        for each in self.index.parent.glob("mailfw-index.sqlite-*"):
            each.unlink()
        self.index.write_bytes(b"this is no database" * 1000)
        store = self.maildir()
        await self.rebuild(store)
        after = await self.contents(store)
        self.assertEqual({path: each[2] for path, each in after.items() if path != ("INBOX",)}, before)
        for path, info in (await self.infos(store)).items():
            self.assertEqual((info.uid_validity, info.uid_next), (infos[path].uid_validity, infos[path].uid_next))

    async def test_of_an_account_that_is_not(self) -> None:
        store = self.maildir()
        await self.assertFailure(Deferred.fromCoroutine(self.rebuild(store)), NoSuchAccount)
        self.assertFalse(self.index.parent.exists())

    def test_who_has_nothing_to_rebuild(self) -> None:
        self.assertFalse(IRebuildable.providedBy(MemoryStore()))
