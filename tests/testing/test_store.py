"""The contract of stores fails whoever breaks it: one broken store for each kind of fault."""

from __future__ import annotations

import unittest
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.interfaces import IContent, IMailStore
from mailfw.mail.mailbox import (
    Altered,
    Appended,
    Copied,
    Expunged,
    FlagChange,
    Flags,
    MailboxEdit,
    MailboxInfo,
    NewMessage,
    RenameMailbox,
    Row,
    Snapshot,
    Want,
)
from mailfw.stores.kept import KeptContent
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store import StoreContract
from mailfw.testing.store.fixture import pause, read_all


class ReusesUids(MemoryStore):
    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        expunged = await super().expunge(account, mailbox, uids)
        box = self._account(account).mailbox(mailbox)
        box.uid_next = max(box.messages, default=0) + 1
        return expunged


class ForgetsVanished(MemoryStore):
    async def snapshot(self, account: str, mailbox: str, since: int) -> Snapshot:
        return replace(await super().snapshot(account, mailbox, since), vanished=())


class LosesKeywordCase(MemoryStore):
    async def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        lowered = frozenset(flag if flag.startswith("\\") else flag.lower() for flag in flags)
        return await super().alter(account, mailbox, uids, change, lowered, unchanged_since)


class TouchesTheUnchanged(MemoryStore):
    async def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        owner, box = self._find(account, mailbox)
        altered = await super().alter(account, mailbox, uids, change, flags, unchanged_since)
        for message in box.find(uids):
            if message.uid not in altered.conflicts:
                box.set_flags(message, message.flags, owner.next_modseq())
        return altered


class LosesRaces(MemoryStore):
    async def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        box = self._account(account).mailbox(mailbox)
        before = {message.uid: message.flags for message in box.find(uids)}
        await pause(0)
        for uid, old in before.items():
            new = old | flags if change is FlagChange.ADD else flags
            await super().alter(account, mailbox, [uid], FlagChange.REPLACE, new, unchanged_since)
        return Altered(box.modseq, {})


class MissesConflicts(MemoryStore):
    async def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        later = None if unchanged_since is None else unchanged_since + 1
        return await super().alter(account, mailbox, uids, change, flags, later)


class NoticesTooEarly(MemoryStore):
    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        owner, box = self._find(account, mailbox)
        owner.modseq += 1
        owner.notify([box])
        return await super().append(account, mailbox, messages)


class TellsNobody(MemoryStore):
    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        return await super().watch(account, lambda mailbox, modseq: None)


class KeepsHalfABatch(MemoryStore):
    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        return [(await super(KeepsHalfABatch, self).append(account, mailbox, [each]))[0] for each in messages]


class MendsLineEnds(MemoryStore):
    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        mended = []
        for message in messages:
            octets = await read_all(IContent(message.content))
            lines = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            mended.append(replace(message, content=MemoryContent(lines)))
        return await super().append(account, mailbox, mended)


class ForgetsTokens(MemoryStore):
    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        return await super().append(account, mailbox, [replace(message, token=None) for message in messages])


class CopiesAsNew(MemoryStore):
    async def copy(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool = False) -> Copied:
        copied = await super().copy(account, mailbox, uids, to, move)
        target = self._account(account).mailbox(to)
        for _, uid in copied.uids:
            letter = target.messages[uid].letter
            target.messages[uid].letter = replace(letter, email_id=f"{letter.email_id}-{uid}")
        return copied


class RenamesLookalikes(MemoryStore):
    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        await super().edit_mailbox(account, edit)
        if isinstance(edit, RenameMailbox):
            for info in await self.mailboxes(account):
                if info.path[0].startswith(edit.path[0]) and len(edit.path) == 1 and info.path[0] != edit.path[0]:
                    rest = info.path[0].removeprefix(edit.path[0])
                    await super().edit_mailbox(account, RenameMailbox(info.path, (*edit.to, rest)))


class CountsWrong(MemoryStore):
    async def mailbox(self, account: str, mailbox: str) -> MailboxInfo:
        info = await super().mailbox(account, mailbox)
        return replace(info, unseen=info.messages)


class ReadsTheWholeMailbox(MemoryStore):
    async def rows(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[list[Row]]:
        box = self._account(account).mailbox(mailbox)
        rows = [message.row(want) for message in box.messages.values()]
        yield [row for row in rows if row.uid in set(uids)]


class SortsTheWholeMailbox(MemoryStore):
    """Calls no more functions for it than otherwise: what this costs shows as memory."""

    async def content(self, account: str, mailbox: str, uid: int) -> IContent | None:
        sorted([float(number) for number in self._account(account).mailbox(mailbox).messages])
        return await super().content(account, mailbox, uid)


class ReadsWholeMessages(MemoryStore):
    async def content(self, account: str, mailbox: str, uid: int) -> IContent | None:
        content = await super().content(account, mailbox, uid)
        return KeptContent(bytes(bytearray(await content.read(0, content.size)))) if content is not None else None


class ForgetsThreads(MemoryStore):
    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        self._account(account)._threads.clear()
        return await super().append(account, mailbox, messages)


def walking(method: str) -> type[MemoryStore]:
    """Return a store of which one method looks at each message of the mailbox."""

    async def walk(self: MemoryStore, account: str, mailbox: str, *others: Any, **options: Any) -> Any:
        for message in self._account(account).mailbox(mailbox).messages.values():
            len(message.flags)
        return await getattr(MemoryStore, method)(self, account, mailbox, *others, **options)

    return type(f"Walks in {method}", (MemoryStore,), {method: walk})


class MixesAccounts(MemoryStore):
    async def open_account(self, account: str) -> None:
        await super().open_account(account)
        twin = account.replace("/", "_")
        if twin in self._accounts:
            self._accounts[account] = self._accounts[twin]
        self._accounts[twin] = self._accounts[account]


class ClaimsByLooking(MemoryStore):
    async def mailbox(self, account: str, mailbox: str) -> MailboxInfo:
        info = await super().mailbox(account, mailbox)
        await self.claim_recent(account, mailbox)
        return info


#: Who breaks the contract, and the cases that must notice.
BROKEN: dict[type[MemoryStore], tuple[str, ...]] = {
    ReusesUids: ("uid_is_never_given_again", "random_histories", "several_sessions"),
    ForgetsVanished: (
        "snapshot_since_any_change",
        "move_takes_the_original_away",
        "random_histories",
        "several_sessions",
    ),
    LosesKeywordCase: ("keywords_keep_their_letters", "flags_combine", "random_histories", "several_sessions"),
    TouchesTheUnchanged: ("only_what_changes_is_changed", "no_change_at_all", "random_histories"),
    LosesRaces: ("flags_of_one_message", "several_sessions"),
    MissesConflicts: ("unchanged_since_is_exact", "random_histories"),
    NoticesTooEarly: ("no_notice_before_its_change_can_be_seen",),
    TellsNobody: ("every_change_is_noticed", "deleted_mailbox_is_noticed", "several_sessions"),
    KeepsHalfABatch: ("batch_is_all_or_none",),
    MendsLineEnds: ("octets_are_exact", "random_histories"),
    ForgetsTokens: ("token_again", "appends_with_one_token"),
    CopiesAsNew: ("copy_keeps_what_lasts", "there_and_back", "random_histories"),
    RenamesLookalikes: ("rename_takes_what_is_below_along",),
    CountsWrong: ("counts_follow", "snapshot_of_everything"),
    ReadsTheWholeMailbox: ("one_message_of_many",),
    SortsTheWholeMailbox: ("one_message_of_many",),
    ReadsWholeMessages: ("part_of_a_large_message",),
    ForgetsThreads: ("answers_join_a_thread",),
    MixesAccounts: ("odd_account_names_are_kept_apart",),
    ClaimsByLooking: ("recent_is_claimed_once",),
}


def run_case(make_store: Callable[[], IMailStore], name: str, least: int = 500, most: int = 5000) -> tuple[str, ...]:
    """Run one case of the contract over a store and return what it complained of."""

    class Tried(StoreContract, TestCase):
        histories = 8
        patience = 0.2
        few, many = least, most

        def make_store(self) -> IMailStore:
            return make_store()

    result = unittest.TestResult()
    Tried(f"test_{name}").run(result)
    assert result.testsRun == 1 and not result.skipped
    return tuple(str(complaint) for _, complaint in (*result.failures, *result.errors))


class BrokenStoreTests(SynchronousTestCase):
    def test_mixins_that_are_missing_are_named(self) -> None:
        """A class that does not try all that its store offers fails, and says what is missing."""
        [complaint] = run_case(MemoryStore, "all_that_is_offered_is_tried")
        for name in ("NumberCases", "SharingCases", "SharedHistoryCases", "SearchCases", "RetentionCases"):
            self.assertIn(name, complaint)

    def check(self, broken: Callable[[], Any], name: str) -> None:
        self.assertEqual(run_case(MemoryStore, name), (), f"{name} fails a store that is right")
        self.assertNotEqual(run_case(broken, name), (), f"{name} passes {broken}")

    def test_every_fault_is_found(self) -> None:
        for broken, names in BROKEN.items():
            for name in names:
                self.check(broken, name)

    def test_every_call_that_walks_is_found(self) -> None:
        for method in ("alter", "copy", "expunge", "append", "snapshot", "content"):
            self.assertNotEqual(run_case(walking(method), "one_message_of_many", 50, 1000), (), method)
        self.assertEqual(run_case(MemoryStore, "one_message_of_many", 50, 1000), ())

    def test_failing_history_is_shown_short(self) -> None:
        [complaint] = run_case(ReusesUids, "random_histories")
        _, _, steps = complaint.partition("after:")
        kinds = [line.split("'")[1] for line in steps.splitlines() if line.startswith("('")]
        self.assertIn("expunge", kinds)
        self.assertLess(len(kinds), 15)

    def test_failing_sessions_are_shown_short(self) -> None:
        [complaint] = run_case(ReusesUids, "several_sessions")
        _, _, steps = complaint.partition("after:\n")
        self.assertIn("expunge", steps)
        self.assertLess(len(steps.splitlines()), 8)
