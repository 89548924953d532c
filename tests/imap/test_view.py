"""Sequence numbers, and what a client is told when."""

from array import array
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap.lexer import BadSyntax, Cursor, SequenceSet
from mailfw.imap.updates import Exists, Expunge, FlagsChanged, Keywords, Recent
from mailfw.imap.view import View
from mailfw.mail.mailbox import Altered, FlagChange, Flags, MailboxInfo, NewMessage, Snapshot
from mailfw.stores.memory import MemoryStore
from mailfw.testing.dialogue import run_now
from tests.imap.sessions import HeldDraft

NONE: Flags = frozenset()
SEEN: Flags = frozenset({"\\Seen"})


def snapshot(messages: dict[int, Flags], vanished: Any = (), modseq: int = 1, uid_next: int = 1) -> Snapshot:
    info = MailboxInfo("m", ("INBOX",), None, 7, uid_next, modseq, 1, len(messages), 0, 0, 0, True)
    return Snapshot(info, array("I", messages), array("Q", [modseq] * len(messages)), list(messages.values()), vanished)


def view(*uids: int) -> View:
    made = View(snapshot(dict.fromkeys(uids, NONE)))
    made.take_updates(True)
    return made


def numbers(text: bytes) -> SequenceSet:
    return Cursor([text]).sequence_set()


class Resolving(SynchronousTestCase):
    def test_message_numbers(self) -> None:
        here = view(3, 5, 8, 9)
        for text, uids in (
            (b"1", [3]),
            (b"*", [9]),
            (b"2:*", [5, 8, 9]),
            (b"*:3", [8, 9]),
            (b"4:2", [5, 8, 9]),
            (b"3,1,1:2,3", [3, 5, 8]),
        ):
            self.assertEqual(here.resolve(numbers(text), by_uid=False), uids)
        for text in (b"5", b"1:5", b"5:*", b"4294967295"):
            self.assertRaises(BadSyntax, here.resolve, numbers(text), False)

    def test_uids(self) -> None:
        here = view(3, 5, 8, 9)
        for text, uids in (
            (b"1", []),
            (b"3", [3]),
            (b"4:8", [5, 8]),
            (b"*", [9]),
            (b"100:*", [9]),
            (b"9:*", [9]),
            (b"*:5", [5, 8, 9]),
            (b"100:200", []),
            (b"8,1:5,4:9", [3, 5, 8, 9]),
        ):
            self.assertEqual(here.resolve(numbers(text), by_uid=True), uids)

    def test_an_empty_mailbox(self) -> None:
        self.assertEqual(view().resolve(numbers(b"1:*"), by_uid=True), [])
        self.assertEqual(view().resolve(numbers(b"1:*"), by_uid=False), [])
        self.assertRaises(BadSyntax, view().resolve, numbers(b"1"), False)

    def test_numbers_of_uids(self) -> None:
        here = view(3, 5, 8)
        self.assertEqual([here.number_of(uid) for uid in (3, 4, 8, 9)], [1, None, 3, None])
        self.assertRaises(KeyError, here.flags_of, 4)

    def test_the_first_unseen(self) -> None:
        self.assertEqual(View(snapshot({1: SEEN, 2: SEEN | {"x"}, 3: NONE, 4: NONE})).first_unseen(), 3)
        self.assertIsNone(View(snapshot({1: SEEN})).first_unseen())
        many = {uid: frozenset({f"k{uid}"}) for uid in range(2, 100)}
        self.assertEqual(View(snapshot({1: SEEN, **many})).first_unseen(), 2)


class Telling(SynchronousTestCase):
    def test_an_expunged_message_keeps_its_number_until_told(self) -> None:
        here = view(1, 2, 3)
        here.absorb(snapshot({4: NONE}, [2]))
        self.assertEqual(here.take_updates(expunges_allowed=False), [Exists(4)])
        self.assertEqual(here.number_of(3), 3)
        self.assertTrue(here.is_gone(2))
        self.assertEqual(here.resolve(numbers(b"2"), by_uid=False), [2])
        self.assertEqual(here.take_updates(expunges_allowed=True), [Expunge(2)])
        self.assertEqual(here.number_of(3), 2)
        self.assertEqual(here.take_updates(expunges_allowed=True), [])

    def test_expunges_come_from_the_last_to_the_first(self) -> None:
        here = view(*range(1, 101))
        here.absorb(snapshot({}, [1, 50, 100]))
        self.assertEqual(here.take_updates(True), [Expunge(100), Expunge(50), Expunge(1)])
        here.absorb(snapshot({}, range(2, 90)))
        self.assertEqual(len(here.take_updates(True)), 87)
        self.assertEqual(list(here.uids), list(range(90, 100)))
        self.assertEqual(here.flags_of(95), NONE)

    def test_a_store_that_has_forgotten_may_name_any_uid(self) -> None:
        here = view(5, 9)
        here.absorb(snapshot({}, range(6, 10_000_000)))
        self.assertEqual(here.take_updates(True), [Expunge(2)])

    def test_a_message_that_came_and_went_unheard_is_not_spoken_of(self) -> None:
        here = view(1)
        here.absorb(snapshot({2: NONE}))
        here.absorb(snapshot({}, [2]))
        self.assertEqual(here.take_updates(True), [])
        self.assertEqual(list(here.uids), [1])

    def test_flags_are_told_once_and_only_if_they_are_others(self) -> None:
        here = view(1, 2)
        here.absorb(snapshot({1: SEEN, 2: NONE}))
        self.assertEqual(here.take_updates(False), [FlagsChanged(1, 1, SEEN, False)])
        here.absorb(snapshot({1: SEEN}))
        self.assertEqual(here.take_updates(False), [])

    def test_the_echo_of_an_own_change_is_not_heard(self) -> None:
        here = view(1)
        here.note_flags(Altered(2, {1: SEEN}))
        here.absorb(snapshot({1: SEEN}, modseq=3))
        self.assertEqual(here.take_updates(True), [])

    def test_a_change_that_was_the_only_one_needs_no_snapshot(self) -> None:
        here = view(1)
        here.note_flags(Altered(2, {1: SEEN}))
        self.assertEqual(here.modseq, 2)
        here.note_flags(Altered(4, {1: NONE}))
        self.assertEqual(here.modseq, 2)

    def test_new_keywords_are_told_before_they_are_used(self) -> None:
        here = view(1)
        here.absorb(snapshot({1: frozenset({"$Junk"})}))
        self.assertEqual(
            here.take_updates(True), [Keywords(("$Junk",)), FlagsChanged(1, 1, frozenset({"$Junk"}), False)]
        )

    def test_sets_of_flags_that_are_no_more_are_forgotten(self) -> None:
        here = view(1, 2)
        for number in range(3000):
            here.note_flags(Altered(0, {1: frozenset({f"k{number}"})}, ()))
            here.take_updates(True)
        self.assertLess(len(here._kinds), 1100)
        self.assertEqual([here.flags_of(uid) for uid in (1, 2)], [{"k2999"}, NONE])
        here.absorb(snapshot({2: SEEN, 3: frozenset({"k2999"})}))
        self.assertEqual([here.flags_of(uid) for uid in (1, 2, 3)], [{"k2999"}, SEEN, {"k2999"}])

    def test_recent_is_what_this_session_claimed(self) -> None:
        here = view(1, 2, 3)
        here.claim_recent(3)
        self.assertEqual(here.recent_count, 1)
        here.absorb(snapshot({4: NONE, 6: NONE}))
        here.claim_recent(6)
        self.assertEqual([uid for uid in here.uids if here.is_recent(uid)], [3, 6])
        self.assertEqual(here.take_updates(True), [Exists(5), Recent(2)])
        here.absorb(snapshot({7: NONE}, [3]))
        here.claim_recent(7)
        self.assertEqual(here.take_updates(True), [Expunge(3), Exists(5), Recent(2)])
        self.assertEqual([uid for uid in here.uids if here.is_recent(uid)], [6, 7])


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["append", "store", "expunge", "look", "peek"]), st.integers(0, 1), st.integers(1, 6)),
    max_size=40,
)


class Client:
    """What a client believes, from what it is told alone."""

    def __init__(self, count: int) -> None:
        self.messages: list[Flags | None] = [None] * count

    def hear(self, updates: list[Any]) -> None:
        for update in updates:
            match update:
                case Expunge(number):
                    del self.messages[number - 1]
                case Exists(count):
                    assert count >= len(self.messages)
                    self.messages += [None] * (count - len(self.messages))
                case FlagsChanged(_, number, flags, _):
                    self.messages[number - 1] = flags


class TwoSessions(SynchronousTestCase):
    """Two sessions change one mailbox; at the end each client knows as many messages as there are, and their flags."""

    @given(ACTIONS)
    def test_every_client_ends_with_the_truth(self, actions: list[tuple[str, int, int]]) -> None:
        store = MemoryStore()
        call: Callable[[Any], Any] = lambda coroutine: run_now(self, coroutine)  # noqa: E731
        call(store.open_account("a"))
        box = next(info.id for info in call(store.mailboxes("a")) if info.path == ("INBOX",))
        views = [View(call(store.snapshot("a", box, 0))) for _ in range(2)]
        clients = [Client(0), Client(0)]
        for action, who, number in actions:
            here, client = views[who], clients[who]
            if action == "append":
                call(store.append("a", box, [NewMessage(HeldDraft())]))
            elif action == "store" and number <= len(here):
                flags = frozenset({"\\Deleted", f"k{number}"})
                uids = here.resolve(SequenceSet(((number, number),)), by_uid=False)
                altered = call(store.alter("a", box, uids, FlagChange.REPLACE, flags))
                here.note_flags(altered)
                for uid, changed in altered.changed.items():
                    client.messages[(here.number_of(uid) or 0) - 1] = changed
            elif action == "expunge":
                call(store.expunge("a", box, None))
            elif action in ("look", "peek"):
                self.look(store, box, here, client, action == "look")
        for here, client in zip(views, clients, strict=True):
            self.look(store, box, here, client, True)
            truth = call(store.snapshot("a", box, 0))
            self.assertEqual(list(here.uids), list(truth.uids))
            self.assertEqual([here.flags_of(uid) for uid in here.uids], truth.flags)
            self.assertEqual(client.messages, truth.flags)

    def look(self, store: MemoryStore, box: str, here: View, client: Client, expunges: bool) -> None:
        here.absorb(run_now(self, store.snapshot("a", box, here.modseq)))
        client.hear(here.take_updates(expunges))
        self.assertEqual(len(client.messages), len(here))
        for number, flags in enumerate(client.messages):
            if flags is None:  # clients ask for the flags of new messages
                client.messages[number] = here.flags_of(here.uids[number])
