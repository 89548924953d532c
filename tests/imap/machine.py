"""Several clients of one store, any interleaving of commands: what each client was told is the truth."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.task import Clock

from mailfw.imap.factory import IMAPSettings, imap_factory
from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import Flags
from mailfw.stores.memory import MemoryStore
from mailfw.testing.dialogue import Dialogue
from mailfw.wire.limits import ConnectionLimits
from tests.imap.believer import Believer, Cache, Selected, Untrue, now
from tests.imap.sessions import ANN, HeldDraft, PretendRealm

SESSIONS = 3
BOXES = ("INBOX", "A", "B")
MESSAGE = b"Subject: Hello\r\n\r\nHow are you?\r\n"
FLAGS = ("\\Seen", "\\Deleted", "\\Flagged", "$Keep")
ENABLES = ("CONDSTORE", "QRESYNC", "UIDONLY", "IMAP4rev2")
WISHES = (
    "NONE",
    "SET (SELECTED (MessageNew MessageExpunge FlagChange))",
    "SET (SELECTED (MessageNew (BODY.PEEK[HEADER]) MessageExpunge FlagChange)) (PERSONAL (MessageNew MessageExpunge))",
    "SET (SELECTED-DELAYED (MessageNew (MODSEQ) MessageExpunge)) (SUBTREE (INBOX Shared) (MessageNew MessageExpunge))",
    "SET STATUS (PERSONAL (MessageNew MessageExpunge FlagChange))",
)


async def open_draft(size: int) -> HeldDraft:
    return HeldDraft()


who = st.integers(0, SESSIONS - 1)
flag_sets = st.sets(st.sampled_from(FLAGS), max_size=3).map(sorted)
#: Which of the messages that a client knows: a bit each.
which = st.integers(1, 255)


class Sessions(RuleBasedStateMachine):
    """Clients, their sessions and one store."""

    store: IMailStore

    def __init__(self) -> None:
        super().__init__()
        self.store = self.make_store()
        now(self.store.open_account(ANN))
        settings = IMAPSettings("mail.example.org", allow_plaintext_auth=True, version="1")
        self.factory = imap_factory(
            settings,
            portal=self.make_portal(),
            open_draft=open_draft,
            clock=Clock(),
            limits=ConnectionLimits(),
        )
        self.kept: list[Cache] = []
        self.clients = [self.connect(who) for who in range(SESSIONS)]

    def make_store(self) -> IMailStore:
        return MemoryStore()

    def make_portal(self) -> Portal:
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(ANN.encode(), b"secret")
        return Portal(PretendRealm(self.store), [checker])

    def account(self, who: int) -> str:
        """Whose a client is."""
        return ANN

    def name(self, who: int, box: str) -> str:
        """What a client calls one of the mailboxes."""
        return box

    def seen_by(self, account: str) -> IMailStore:
        """Return the store as it is for an account."""
        return self.store

    def connect(self, who: int) -> Believer:
        dialogue = Dialogue(self.factory)
        dialogue.hear()
        return Believer(dialogue, self.account(who))

    # ------------------------------------------------------------ the beginning, and new connections

    @initialize(enables=st.lists(st.sets(st.sampled_from(ENABLES)), min_size=SESSIONS, max_size=SESSIONS))
    def begin(self, enables: list[set[str]]) -> None:
        for who, (client, names) in enumerate(zip(self.clients, enables, strict=True)):
            if names:
                client.ask("ENABLE " + " ".join(sorted(names)))
            for _ in range(2):
                client.ask(f"APPEND {self.name(who, 'INBOX')}", MESSAGE)
            self.open(client, self.name(who, "INBOX"), "SELECT", "")

    @rule(who=who, enables=st.sets(st.sampled_from(ENABLES)))
    def come_again(self, who: int, enables: set[str]) -> None:
        """A client breaks off, and comes back as another one."""
        self.clients[who]._dialogue.leave()
        self.clients[who] = self.connect(who)
        if enables:
            self.ask(who, "ENABLE " + " ".join(sorted(enables)))

    @rule(who=who, name=st.sampled_from(ENABLES))
    def enable(self, who: int, name: str) -> None:
        """ENABLE at any time (RFC 9051 section 6.3.1 allows it where a mailbox is selected)."""
        self.ask(who, f"ENABLE {name}")

    def ask(self, who: int, command: str, literal: bytes | None = None) -> tuple[str, list[bytes]]:
        client = self.clients[who]
        if client.idling:
            client.end_idle()
        answer = ("BYE", []) if client.closed else client.ask(command, literal)
        if client.closed:
            self.clients[who] = self.connect(who)
        self.listen(who)
        return answer

    def listen(self, who: int) -> None:
        """Let all hear what comes; others than the one who has said something know the truth, where they want to."""
        for client in self.clients:
            client.listen()
        for client in self.clients[:who] + self.clients[who + 1 :]:
            if client.hears_expunges and not client.idling and not client.closed:
                self.compare(client)

    # ------------------------------------------------------------ mailboxes

    @rule(
        who=who, box=st.sampled_from(BOXES), verb=st.sampled_from(["SELECT", "SELECT", "EXAMINE"]), cond=st.booleans()
    )
    def select(self, who: int, box: str, verb: str, cond: bool) -> None:
        client = self.clients[who]
        if client.idling:
            client.end_idle()
        if not client.closed:
            self.open(client, self.name(who, box), verb, " (CONDSTORE)" if cond else "")
            if cond:
                client.enabled.add("CONDSTORE")
        self.listen(who)

    def open(self, client: Believer, box: str, verb: str, parameters: str) -> bool:
        client.selected = Selected(box)
        client.elsewhere.clear()
        status, lines = client.ask(f"{verb} {box}{parameters}")
        if status != "OK":
            client.selected = None
            return False
        if not any(b"[HIGHESTMODSEQ " in line for line in lines):
            raise Untrue("SELECT tells no HIGHESTMODSEQ")
        return True

    @rule(who=who, wishes=st.sampled_from(WISHES))
    def notify(self, who: int, wishes: str) -> None:
        client = self.clients[who]
        if "MODSEQ" in wishes:
            client.enabled.add("CONDSTORE")
        client.elsewhere.clear()
        before, client.wishes = client.wishes, wishes.removeprefix("NONE")
        if self.ask(who, f"NOTIFY {wishes}")[0] != "OK":
            client.wishes = before

    @rule(who=who, verb=st.sampled_from(["CLOSE", "UNSELECT"]))
    def leave(self, who: int, verb: str) -> None:
        if self.ask(who, verb)[0] == "OK":
            self.clients[who].selected = None

    @rule(who=who, box=st.sampled_from(["A", "B"]), is_new=st.booleans())
    def create_or_delete(self, who: int, box: str, is_new: bool) -> None:
        client = self.clients[who]
        self.forget(box)
        _, lines = self.ask(who, f"{'CREATE' if is_new else 'DELETE'} {box}")
        if any(b"[CLOSED]" in line for line in lines):
            client.selected = None

    @rule(who=who, old=st.sampled_from(BOXES), new=st.sampled_from(["A", "B"]))
    def rename(self, who: int, old: str, new: str) -> None:
        self.forget(old, new)
        if self.ask(who, f"RENAME {old} {new}")[0] == "OK" and old != "INBOX":
            for client in self.clients:
                if client.selected is not None and client.selected.mailbox == old:
                    client.selected.mailbox = new

    def forget(self, *boxes: str) -> None:
        """Let clients expect nothing of mailboxes that are about to be others: most have not asked to hear of it."""
        for who, client in enumerate(self.clients):
            for box in boxes:
                client.elsewhere.pop(self.name(who, box), None)

    # ------------------------------------------------------------ messages

    def chosen(self, who: int, bits: int, by_uid: bool) -> str | None:
        """Return a set of messages that the client knows."""
        self.ready(who)
        here = self.clients[who].selected
        return here.named(bits, by_uid) if here is not None else None

    def ready(self, who: int) -> None:
        """See to it that a client has a mailbox open."""
        if self.clients[who].selected is None:
            self.select(who, "INBOX", "SELECT", cond=False)

    @rule(
        who=who,
        bits=which,
        by_uid=st.booleans(),
        items=st.sampled_from(
            [
                "FLAGS",
                "(UID FLAGS)",
                "(UID FLAGS MODSEQ)",
                "(FLAGS BODY.PEEK[HEADER])",
                "BODY[]",
                "(FLAGS BODY[TEXT])",
                "UID",
            ]
        ),
        since=st.none() | st.just(0) | st.integers(0, 3),
        vanished=st.booleans(),
    )
    def fetch(self, who: int, bits: int, by_uid: bool, items: str, since: int | None, vanished: bool) -> None:
        named = self.chosen(who, bits, by_uid)
        client = self.clients[who]
        if named is None or client.selected is None:
            return
        modifiers = ""
        if since is not None:
            known = sorted(
                {told.modseq for told in client.selected.messages if told.modseq} | {client.selected.highest}
            )
            modseq = known[-min(since, len(known))] if since else 0
            with_vanished = vanished and by_uid and "QRESYNC" in client.enabled
            modifiers = f" (CHANGEDSINCE {modseq}{' VANISHED' if with_vanished else ''})"
        if modifiers or "MODSEQ" in items:
            self.enable_by(client, by_uid)
        status, lines = self.ask(who, f"{'UID ' * by_uid}FETCH {named} {items}{modifiers}")
        self.check_number_command(client, by_uid, status, lines)

    def enable_by(self, client: Believer, by_uid: bool) -> None:
        """Note that a command which speaks of modification sequences, and will not be refused, enables CONDSTORE."""
        if by_uid or "UIDONLY" not in client.enabled:
            client.enabled.add("CONDSTORE")

    def check_number_command(self, client: Believer, by_uid: bool, status: str, lines: list[bytes]) -> None:
        if "UIDONLY" in client.enabled and not by_uid and status != "BYE" and b" BAD [UIDREQUIRED]" not in lines[-1]:
            raise Untrue(f"with UIDONLY: {lines[-1]!r}")

    @rule(
        who=who,
        bits=which,
        by_uid=st.booleans(),
        change=st.sampled_from(["", "+", "-"]),
        flags=flag_sets,
        silent=st.booleans(),
        unchanged=st.none() | st.integers(0, 2),
    )
    def keep(
        self, who: int, bits: int, by_uid: bool, change: str, flags: list[str], silent: bool, unchanged: int | None
    ) -> None:
        """STORE."""
        named = self.chosen(who, bits, by_uid)
        client = self.clients[who]
        here = client.selected
        if named is None or here is None:
            return
        condition = ""
        if unchanged is not None:
            known = sorted({told.modseq for told in here.messages if told.modseq} | {here.highest})
            condition = f" (UNCHANGEDSINCE {known[-min(unchanged, len(known))] if unchanged else 0})"
            self.enable_by(client, by_uid)
        concerned = here.concerned(bits, by_uid)
        numbers = {id(told): number for number, told in enumerate(here.messages, 1)}
        before = {id(told): (told.uid if by_uid else numbers[id(told)], told.flags) for told in concerned}
        item = f"{change}FLAGS{'.SILENT' * silent} ({' '.join(flags)})"
        status, lines = self.ask(who, f"{'UID ' * by_uid}STORE {named}{condition} {item}")
        self.check_number_command(client, by_uid, status, lines)
        if silent and status == "OK":
            client.assume_stored(here, concerned, before, change, frozenset(flags))

    @rule(who=who, bits=which, by_uid=st.booleans(), verb=st.sampled_from(["COPY", "MOVE"]), box=st.sampled_from(BOXES))
    def copy(self, who: int, bits: int, by_uid: bool, verb: str, box: str) -> None:
        named = self.chosen(who, bits, by_uid)
        if named is not None:
            client = self.clients[who]
            status, lines = self.ask(who, f"{'UID ' * by_uid}{verb} {named} {self.name(who, box)}")
            self.check_number_command(client, by_uid, status, lines)

    @rule(who=who)
    def move_what_is_gone(self, who: int) -> None:
        """Clients do so again and again if that is not OK."""
        here = self.clients[who].selected
        if here is not None:
            status, lines = self.ask(who, f"UID MOVE 4000 {self.name(who, 'INBOX')}")
            if status not in ("OK", "BYE") and b"for reading only" not in lines[-1]:
                raise Untrue(f"{lines[-1]!r}")

    @rule(who=who, bits=which)
    def remove(self, who: int, bits: int) -> None:
        """What clients do with what a user deletes."""
        named = self.chosen(who, bits & 0b10101010, True)
        if named is not None:
            self.ask(who, f"UID STORE {named} +FLAGS (\\Deleted)")
            self.ask(who, f"UID EXPUNGE {named}")

    @rule(who=who, bits=st.none() | which)
    def expunge(self, who: int, bits: int | None) -> None:
        if bits is None:
            self.ask(who, "EXPUNGE")
            return
        named = self.chosen(who, bits, True)
        if named is not None:
            self.ask(who, f"UID EXPUNGE {named}")

    @rule(who=who, box=st.sampled_from(BOXES), flags=flag_sets)
    def append(self, who: int, box: str, flags: list[str]) -> None:
        self.ask(who, f"APPEND {self.name(who, box)} ({' '.join(flags)})", MESSAGE)

    @rule(who=who, by_uid=st.booleans(), key=st.sampled_from(["ALL", "DELETED", "UNSEEN", "KEYWORD $Keep", "MODSEQ 1"]))
    def search(self, who: int, by_uid: bool, key: str) -> None:
        self.ready(who)
        client = self.clients[who]
        if key.startswith("MODSEQ"):
            self.enable_by(client, by_uid)
        status, lines = self.ask(who, f"{'UID ' * by_uid}SEARCH {key}")
        self.check_number_command(client, by_uid, status, lines)

    # ------------------------------------------------------------ waiting, and what is believed then

    @rule(who=who)
    def idle(self, who: int) -> None:
        client = self.clients[who]
        if not client.idling and not client.closed:
            client.begin_idle()
            if not client.closed:
                self.compare(client)

    @rule(who=who)
    def done(self, who: int) -> None:
        client = self.clients[who]
        if client.idling and not client.closed:
            self.compare(client)
            client.end_idle()

    @rule(who=who, verb=st.sampled_from(["NOOP", "CHECK"]))
    def noop(self, who: int, verb: str) -> None:
        client = self.clients[who]
        status, _ = self.ask(who, verb)
        if status == "OK":
            self.compare(client)

    @rule(who=who)
    def learn_all(self, who: int) -> None:
        """Ask for everything, as clients do after EXISTS."""
        self.ready(who)
        self.ask(who, "UID FETCH 1:* (UID FLAGS)")

    def truth(self, mailbox: str, account: str = ANN) -> dict[int, tuple[Flags, int]]:
        store = self.seen_by(account)
        [info] = [info for info in now(store.mailboxes(account)) if "/".join(info.path) == mailbox]
        found = now(store.snapshot(account, info.id, 0))
        return {uid: (flags, modseq) for uid, flags, modseq in zip(found.uids, found.flags, found.modseqs, strict=True)}

    def compare(self, client: Believer) -> None:
        """What a client knows now that it was told all is so."""
        here = client.selected
        for box, count in client.elsewhere.items():
            there = len(self.truth(box, client.account))
            if (here is None or box != here.mailbox) and count != there:
                raise Untrue(f"{count} messages in {box}, and there are {there}")
        if here is None:
            return
        truth = self.truth(here.mailbox, client.account)
        if len(here.messages) != len(truth):
            raise Untrue(f"{len(here.messages)} messages, and there are {len(truth)}")
        places = list(truth)
        for place, told in enumerate(here.messages):
            uid = told.uid if "UIDONLY" in client.enabled else places[place]
            if uid is None:
                continue
            flags, modseq = truth.get(uid, (None, None))
            if told.uid not in (None, uid) or told.flags not in (None, flags) or told.modseq not in (None, modseq):
                raise Untrue(f"{told!r} is {uid} {flags} {modseq}")

    # ------------------------------------------------------------ coming back with what was kept

    @rule(who=who, sure=st.booleans())
    def remember(self, who: int, sure: bool) -> None:
        """
        Keep what is known, by the last HIGHESTMODSEQ; or, when all was told, by the highest MODSEQ there was.

        The first is less than what is known of the messages, and just as right.
        """
        self.learn_all(who)
        client = self.clients[who]
        if client.selected is None:
            return
        highest = client.selected.highest
        if sure and client.knows_modseqs and self.ask(who, "NOOP")[0] == "OK":
            highest = max([highest, *(told.modseq or 0 for told in client.selected.messages)])
        kept = client.cache(highest)
        self.kept += [kept] if kept is not None else []

    @rule(who=who, which=st.integers(0, 9), with_known=st.booleans(), with_numbers=st.booleans())
    def come_back(self, who: int, which: int, with_known: bool, with_numbers: bool) -> None:
        """SELECT (QRESYNC …) from an earlier state; the client then has the truth."""
        if not self.kept:
            self.remember(who, sure=True)
        client = self.clients[who]
        if client.idling:
            client.end_idle()
        own = [kept for kept in self.kept if kept.account == client.account]
        if client.closed or not own:
            return
        kept = own[which % len(own)]
        client.ask("ENABLE QRESYNC")
        if client.closed:
            return
        known = ",".join(map(str, sorted(kept.flags))) if with_known else ""
        parameters = f"{kept.uid_validity} {kept.modseq}{' ' * bool(known)}{known}"
        if with_numbers and kept.numbers and kept.is_whole and "UIDONLY" not in client.enabled:
            numbers, uids = (",".join(map(str, each)) for each in zip(*kept.numbers.items(), strict=True))
            parameters += f" ({numbers} {uids})"
        if not self.open(client, kept.mailbox, "SELECT", f" (QRESYNC ({parameters}))"):
            return
        here = client.selected
        assert here is not None
        if here.uid_validity != kept.uid_validity:
            if here.earlier or here.fetched:
                raise Untrue("changes of another mailbox")
            return
        believed = {uid: flags for uid, flags in kept.flags.items() if uid not in here.earlier} | here.fetched
        truth = {uid: flags for uid, (flags, _) in self.truth(kept.mailbox, kept.account).items()}
        if not kept.is_whole or known:  # what it did not know it asks for
            truth = {uid: flags for uid, flags in truth.items() if uid in believed}
        if believed != truth:
            raise Untrue(f"after QRESYNC from {kept!r} the client has {believed}, and there is {truth}")

    def teardown(self) -> None:
        for who, client in enumerate(self.clients):
            if client.idling:
                client.end_idle()
            if not client.closed and client.selected is not None:
                self.ask(who, "UID FETCH 1:* (UID FLAGS)")
            if not client.closed and self.ask(who, "NOOP")[0] == "OK":
                self.compare(client)
        super().teardown()
