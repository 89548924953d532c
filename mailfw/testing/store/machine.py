"""
A Hypothesis state machine: several sessions on one account, each of which knows what it has been told.

It runs in a thread, for Hypothesis knows of no reactor; what it asks of the store is asked in the reactor's thread.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from mailfw.mail.mailbox import DELETED, FLAGGED, INBOX, SEEN, CreateMailbox, Flags, Snapshot, Want
from mailfw.testing.store.fixture import StoreFixture, pause, read_all
from mailfw.testing.store.truth import Change, Truth, hold, octets_of, outcomes, perform
from mailfw.testing.store.watching import together

T = TypeVar("T")

#: Mailboxes, and the sessions that have one of them open.
BOXES, SESSIONS = 2, 4

#: Changes made at the same time: each of their orders is tried.
AT_ONCE = 4

#: Seconds for making a failing history shorter.
SHORTENING = 10.0

FLAG_SETS: tuple[Flags, ...] = tuple(
    frozenset(flags)
    for flags in ((), (SEEN,), (DELETED,), (FLAGGED, "$Keep"), ("$Keep",), (SEEN, DELETED), (SEEN, "Case", DELETED))
)

KINDS = ("append", "append", "add", "add", "remove", "replace", "copy", "move", "expunge", "expunge")

#: What a session wants: a kind of change, which session, which of the messages it knows (a bit each), flags, whether
#: a copy goes to the other mailbox, and whether the session looks first: else it speaks of what it knew.
WISHES = st.tuples(
    st.sampled_from(KINDS),
    st.integers(0, SESSIONS - 1),
    st.just(255) | st.integers(0, 255),
    st.sampled_from(FLAG_SETS),
    st.booleans(),
    st.booleans(),
)
Wish = tuple[str, int, int, Flags, bool, bool]


@dataclass(slots=True)
class View:
    """A session with a mailbox open: the messages it knows, as of a modification sequence, and the notices it has."""

    box: int
    known: dict[int, Flags] = field(default_factory=dict)
    cursor: int = 0
    stamp: int = 0
    earlier: list[int] = field(default_factory=list)
    notices: list[int] = field(default_factory=list)
    highest: int = 0
    stop: Callable[[], None] = lambda: None

    def follow(self, snapshot: Snapshot) -> None:
        """Know what a snapshot tells."""
        for uid in snapshot.vanished:
            self.known.pop(uid, None)
        self.known.update(zip(snapshot.uids, snapshot.flags, strict=True))


class Account:
    """The store's account, and the truth about it; all methods run in the reactor's thread."""

    _names = itertools.count()

    def __init__(self, cases: StoreFixture) -> None:
        self._cases = cases
        self._name = f"views-{next(self._names)}@example.org"
        self._ids: list[str] = []
        self._truth = Truth.of(BOXES)
        self._views = [View(number % BOXES) for number in range(SESSIONS)]
        self._letters = itertools.count()

    async def open(self) -> None:
        """Make the account, its mailboxes and the sessions."""
        store = self._cases.store
        await store.open_account(self._name)
        await store.edit_mailbox(self._name, CreateMailbox(("Work",)))
        ids = {info.path: info.id for info in await store.mailboxes(self._name)}
        self._ids = [ids[INBOX], ids[("Work",)]]
        for view in self._views:
            await self._watch(view)
            await self._sync(view)

    async def close(self) -> None:
        """Let every session see what there is, and go."""
        for view in self._views:
            await self._sync(view)
            await self._is_told(view)
            view.stop()
        await self._cases.store.remove_account(self._name)

    async def _watch(self, view: View) -> None:
        def note(mailbox: str, modseq: int) -> None:
            if mailbox == self._ids[view.box]:
                view.notices.append(modseq)
                view.highest = max(view.highest, modseq)

        view.stop = await self._cases.store.watch(self._name, note)

    async def _is_told(self, view: View) -> None:
        changed = view.cursor > view.earlier[0]
        end = time.monotonic() + self._cases.patience
        while changed and view.highest < view.cursor:
            hold(time.monotonic() < end, f"no notice of {view.cursor} in mailbox {view.box}; the last: {view.highest}")
            await pause(0.01)

    # ------------------------------------------------------------ changing

    def _change(self, wish: Wish, conditional: bool) -> Change:
        what, session, bits, flags, elsewhere, _ = wish
        view = self._views[session]
        to = (view.box + elsewhere) % BOXES
        if what == "append":
            numbers = tuple(next(self._letters) for _ in range(1 + bits % 3))
        else:
            numbers = tuple(uid for place, uid in enumerate(sorted(view.known)) if bits >> place % 8 & 1)
        since = view.cursor if conditional and what in ("add", "remove", "replace") else None
        return Change(what, view.box, numbers, flags, to, since, view.stamp)

    async def change(self, wishes: Sequence[Wish], conditional: bool = False) -> None:
        """Let sessions make changes, all at the same time, of the messages they know, gone or not."""
        for _, session, *_, looks in wishes:
            if looks:
                await self._sync(self._views[session])
        changes = [self._change(wish, conditional) for wish in wishes]
        calls = (perform(self._cases.store, self._name, self._ids, change) for change in changes)
        answers = await together(*calls)
        possible = list(outcomes(self._truth, list(zip(changes, answers, strict=True))))
        there = [await self._look(box) for box in range(BOXES)]
        self._truth = next(
            (truth for truth in possible if [truth.flags(box) for box in range(BOXES)] == there), possible[0]
        )
        for box, found in enumerate(there):
            expected = self._truth.flags(box)
            hold(found == expected, f"mailbox {box} holds {found}, not {expected}, after {changes}")

    async def _look(self, box: int) -> dict[int, Flags]:
        snapshot = await self._cases.store.snapshot(self._name, self._ids[box], 0)
        hold(list(snapshot.uids) == sorted(set(snapshot.uids)), f"UIDs out of order: {snapshot.uids}")
        return dict(zip(snapshot.uids, snapshot.flags, strict=True))

    # ------------------------------------------------------------ looking

    async def listen(self, session: int, times: int) -> None:
        """Let a session hear its notices: lost, once, or several times, then from ever earlier on."""
        view = self._views[session]
        newest, view.notices = max(view.notices, default=0), []
        if times:
            await self._sync(view)
            hold(view.cursor >= newest, f"told of {newest}, there is {view.cursor}")
        for again in range(times - 1):
            await self._sync(view, view.earlier[-1 - again % len(view.earlier)])

    async def _sync(self, view: View, since: int | None = None) -> None:
        since = view.cursor if since is None else since
        snapshot = await self._cases.store.snapshot(self._name, self._ids[view.box], since)
        view.follow(snapshot)
        expected = self._truth.flags(view.box)
        hold(view.known == expected, f"since {since} a session knows {view.known}, there is {expected}")
        hold(snapshot.info.modseq >= view.cursor, f"modseq {snapshot.info.modseq} after {view.cursor}")
        view.cursor, view.stamp = snapshot.info.modseq, self._truth.stamp
        view.earlier.append(view.cursor)

    async def read(self, session: int, bits: int) -> None:
        """Let a session read messages it knows: rows of those that are there, and the octets of one."""
        view = self._views[session]
        box, mailbox = self._truth.boxes[view.box], self._ids[view.box]
        asked = [uid for place, uid in enumerate(sorted(view.known)) if bits >> place % 8 & 1]
        batches = self._cases.store.rows(self._name, mailbox, asked, Want.NOTHING)
        rows = {row.uid: (row.flags, row.size) async for batch in batches for row in batch}
        expected = {uid: (box[uid].flags, len(octets_of(box[uid].number))) for uid in asked if uid in box}
        hold(rows == expected, f"rows {rows}, not {expected}")
        for uid in asked[:1]:
            content = await self._cases.store.content(self._name, mailbox, uid)
            hold((content is not None) == (uid in box), f"message {uid} opened, or not: {content}")
            if content is not None:
                hold(await read_all(content) == octets_of(box[uid].number), f"other octets in {uid}")
                await content.close()

    async def restart(self) -> None:
        """Open the store again: sessions come back with what they know, as by QRESYNC."""
        await self._cases.reopen()
        await self._cases.store.open_account(self._name)
        for view in self._views:
            await self._watch(view)


def run_machine(cases: StoreFixture, reactor: Any) -> str | None:
    """Run the machine and return a short history that fails; in a thread."""
    limits = settings(
        max_examples=cases.histories,
        stateful_step_count=cases.history_steps,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )
    failed: list[History] = []
    try:
        run_state_machine_as_test(seed(cases.seed)(machine_over(cases, reactor, failed)), settings=limits)
    except Exception as error:  # whatever the store raises is a finding
        if not failed:
            return f"{type(error).__name__}: {error}"
    if not failed:
        return None
    return str(in_reactor(reactor, shorten(cases, failed[0])))


def in_reactor(reactor: Any, asked: Coroutine[Any, Any, T]) -> T:
    """Await something in the reactor's thread, from another."""

    def ask() -> Any:
        return Deferred.fromCoroutine(asked)

    return cast("T", blockingCallFromThread(reactor, ask))


@dataclass(frozen=True, slots=True)
class History:
    """Steps, each a method of `Account` and what it is called with, and what the last of them raised."""

    steps: Sequence[tuple[str, tuple[Any, ...]]]
    error: str

    def __str__(self) -> str:
        return "\n".join((self.error, "after:", *(f"{name} {', '.join(map(str, told))}" for name, told in self.steps)))


async def shorten(cases: StoreFixture, history: History) -> History:
    """
    Take out steps that do not matter, many at once at first; in the end a history that still fails.

    Hypothesis would find a shorter one, in a thousand times as many attempts, which a store on a disk has no time for.
    """
    end = time.monotonic() + SHORTENING
    many = len(history.steps) // 2
    while many:
        position = 0
        while position < len(history.steps) and time.monotonic() < end:
            steps = [*history.steps[:position], *history.steps[position + many :]]
            error = await live(cases, steps)
            if error is None:
                position += many
            else:
                history = History(steps, error)
        many //= 2
    for position in reversed(range(len(history.steps))):
        while (fewer := await _with_fewer(cases, history, position)) is not None and time.monotonic() < end:
            history = fewer
    return history


async def _with_fewer(cases: StoreFixture, history: History, position: int) -> History | None:
    """Return a history that fails with one thing less done at once in a step."""
    name, told = history.steps[position]
    wishes = told[0] if name == "change" else ()
    for place in range(len(wishes) if len(wishes) > 1 else 0):
        step = (name, ([*wishes[:place], *wishes[place + 1 :]], *told[1:]))
        steps = [*history.steps[:position], step, *history.steps[position + 1 :]]
        error = await live(cases, steps)
        if error is not None:
            return History(steps, error)
    return None


async def live(cases: StoreFixture, steps: Sequence[tuple[str, tuple[Any, ...]]]) -> str | None:
    """Take these steps in an account of their own and return what went wrong."""
    account = Account(cases)
    try:
        await account.open()
        for name, told in steps:
            await getattr(account, name)(*told)
        await account.close()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def machine_over(cases: StoreFixture, reactor: Any, failed: list[History]) -> type[RuleBasedStateMachine]:
    """Return the machine that tries the store of these cases, and notes what fails."""

    class Sessions(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.account = Account(cases)
            self.steps: list[tuple[str, tuple[Any, ...]]] = []
            self.failed = False
            self.ask(self.account.open())

        def ask(self, asked: Coroutine[Any, Any, None]) -> None:
            try:
                in_reactor(reactor, asked)
            except Exception as error:
                self.failed = True
                failed.append(History(self.steps, f"{type(error).__name__}: {error}"))
                raise

        def do(self, name: str, *told: Any) -> None:
            self.steps.append((name, told))
            self.ask(getattr(self.account, name)(*told))

        @rule(wish=WISHES)
        def change(self, wish: Wish) -> None:
            self.do("change", [wish])

        @rule(wish=WISHES)
        def change_what_has_not_changed(self, wish: Wish) -> None:
            self.do("change", [wish], True)

        @rule(wishes=st.lists(WISHES, min_size=2, max_size=AT_ONCE))
        def change_at_once(self, wishes: list[Wish]) -> None:
            self.do("change", wishes)

        @rule(session=st.integers(0, SESSIONS - 1), times=st.integers(0, 3))
        def listen(self, session: int, times: int) -> None:
            self.do("listen", session, times)

        @rule(session=st.integers(0, SESSIONS - 1), bits=st.integers(0, 255))
        def read(self, session: int, bits: int) -> None:
            self.do("read", session, bits)

        @precondition(lambda self: cases.can_reopen)
        @rule()
        def restart(self) -> None:
            self.do("restart")

        def teardown(self) -> None:
            if not self.failed:
                self.ask(self.account.close())

    return Sessions
