"""Cases of the store's contract: what was acknowledged outlives the process that acknowledged it."""

from __future__ import annotations

import json
import os
import random
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import DELETED, Flags, Want
from mailfw.mail.sought import FieldHas
from mailfw.optional import ISearchedMail
from mailfw.testing.store.doomed import ACCOUNT, WORKERS, mailbox_ids
from mailfw.testing.store.fixture import StoreFixture, read_all
from mailfw.testing.store.making import Maker
from mailfw.testing.store.truth import (
    FLAG_CHANGES,
    Answer,
    Change,
    Differs,
    Letter,
    Truth,
    combined,
    hold,
    letter_of,
    octets_of,
)

#: A process is killed after so many answers, at most, and so many milliseconds more.
ANSWERS, DELAY = 120, 20

#: What `IMailStore` says is done with all messages of a call or with none.
ALL_OR_NONE = ("append", "copy", "move")

#: Seconds after which a process that has not got so far is killed too.
PATIENCE = 20.0


class Doomed(ProcessProtocol):
    """Reads the notes of the process and kills it after so many answers."""

    def __init__(self, reactor: Any, answers: int, delay: float) -> None:
        self.ended: Deferred[None] = Deferred()
        self.complaints = b""
        self._octets = b""
        self._reactor = reactor
        self._answers = answers
        self._delay = delay
        self._end: Any = None

    def connectionMade(self) -> None:
        """Wait for its first note."""
        self._end = self._reactor.callLater(PATIENCE, self._kill)

    def outReceived(self, data: bytes) -> None:
        """Count answers."""
        self._octets += data
        if self._answers >= 0 and self._octets.count(b'["done"') >= self._answers and b'["opening"' in self._octets:
            self._answers = -1
            self._end.reset(self._delay)

    def errReceived(self, data: bytes) -> None:
        """Keep what it complains of."""
        self.complaints += data

    def _kill(self) -> None:
        assert self.transport is not None
        self.transport.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:
        """Say that it is over."""
        if self._end.active():
            self._end.cancel()
        self.ended.callback(None)

    @property
    def notes(self) -> list[list[Any]]:
        """What it noted; a line that it did not finish says nothing."""
        return [json.loads(line) for line in self._octets.split(b"\n")[:-1]]


class Afterwards:
    """What must be there after all the lives so far, compared with what there is."""

    def __init__(self, whole_calls: bool) -> None:
        self.acknowledged = 0
        self.in_part = 0
        self.found = 0
        self._whole_calls = whole_calls
        self._truth = Truth.of(2 * WORKERS)
        self._told: list[tuple[int, int, dict[int, Flags]]] = []
        self._letters: list[tuple[int, int]] = []
        self._modseq = 0

    async def look(self, store: IMailStore, notes: list[list[Any]]) -> None:
        """Compare everything with what was noted in one more life.  Raises `Differs`."""
        ids = await mailbox_ids(store)
        there = [await self._read(store, mailbox) for mailbox in ids]
        begun: dict[int, Change] = {}
        for what, worker, *noted in (note for note in notes if len(note) > 1):
            begun[worker] = Change.read(noted[0])
            if what == "done":
                self._take(begun.pop(worker), Answer.read(noted[1]))
        for change in begun.values():
            self._resolve(change, there)
        for box, found in enumerate(there):
            expected = {uid: (each.number, each.flags) for uid, each in self._truth.boxes[box].items()}
            hold(found == expected, f"mailbox {box} holds {_less(found, expected)}, not {_less(expected, found)}")
            await self._search(store, ids[box], found)
        await self._sequences(store, ids)
        for change in begun.values():
            if change.what == "append":
                await self._again(store, ids, change)

    async def _read(self, store: IMailStore, mailbox: str) -> dict[int, tuple[int, Flags]]:
        found: dict[int, tuple[int, Flags]] = {}
        uids = (await store.snapshot(ACCOUNT, mailbox, 0)).uids
        async for batch in store.rows(ACCOUNT, mailbox, uids, Want.ENVELOPE):
            for row in batch:
                content = await store.content(ACCOUNT, mailbox, row.uid)
                assert content is not None, f"message {row.uid} cannot be opened"
                octets = await read_all(content)
                await content.close()
                number = int(octets.partition(b"\r\n")[0].removeprefix(b"Subject: "))
                hold(octets == octets_of(number), f"message {row.uid} has been damaged")
                found[row.uid] = (number, row.flags)
        hold(list(found) == list(uids), f"rows for {list(found)}, messages {list(uids)}")
        return found

    async def _search(self, store: IMailStore, mailbox: str, there: dict[int, tuple[int, Flags]]) -> None:
        """A store that finds text finds that of each letter, or says that it must be read."""
        if not ISearchedMail.providedBy(store):
            return
        for digit in "0123456789":
            answer = await ISearchedMail(store).search(ACCOUNT, mailbox, list(there), FieldHas("subject", digit))
            unread = set(answer.unread)
            right = [uid for uid, (number, _) in there.items() if digit in str(number) and uid not in unread]
            hold(list(answer.found) == right, f"mailbox {mailbox}: with {digit} it finds {answer.found}, not {right}")
            self.found += len(right)

    def _take(self, change: Change, answer: Answer) -> None:
        self._truth.take(change, answer)
        self.acknowledged += 1
        self._modseq = max(self._modseq, answer.modseq)
        box = change.to if change.what in ("copy", "move") else change.box
        self._told.append((box, answer.modseq, self._truth.flags(box)))
        if change.what == "append":
            self._letters += answer.uids

    def _resolve(self, change: Change, there: list[dict[int, tuple[int, Flags]]]) -> None:
        """Find out whether a change that was not acknowledged has been made: whole, not at all, or in part."""
        to = change.to if change.what in ("copy", "move") else change.box
        new = [uid for uid in sorted(there[to]) if uid >= self._truth.free[to]]
        found = [{uid: flags for uid, (_, flags) in there[box].items()} for box in (change.box, to)]
        after = self._truth.copy()
        with suppress(ValueError):  # there is another number of new messages than of those to be added
            after.foresee(change, new)
            if found == [after.flags(box) for box in (change.box, to)]:
                self._truth = after
                return
        if found != [self._truth.flags(box) for box in (change.box, to)]:
            may_be = change.what not in ALL_OR_NONE and not self._whole_calls
            hold(may_be, f"a part of it is there: {change}")
            self.in_part += 1
            self._resolve_one_by_one(change, there)

    def _resolve_one_by_one(self, change: Change, there: list[dict[int, tuple[int, Flags]]]) -> None:
        """Find out which messages of a call have been changed."""
        to = change.to if change.what in ("copy", "move") else change.box
        letters, after = self._letters_of(change), self._truth.copy()
        moved: list[tuple[int, Flags]] = []
        for uid, (number, flags) in there[to].items():
            if uid >= after.free[to]:
                hold((number, flags) in letters, f"letter {number} is there, with {flags}, after {change}")
                letters.remove((number, flags))  # one more would be one too many
                moved.append((number, flags))
                after.boxes[to][uid] = Letter(number, flags, after.stamp)
        for uid in change.numbers if change.what != "append" else ():
            kept = after.boxes[change.box].get(uid)
            if kept is None:
                continue
            if uid not in there[change.box]:
                may_go = change.what == "move" or (change.what == "expunge" and DELETED in kept.flags)
                hold(may_go, f"message {uid} is gone after {change}")
                if change.what == "move":
                    hold((kept.number, kept.flags) in moved, f"{kept} is nowhere after {change}")
                    moved.remove((kept.number, kept.flags))
                del after.boxes[change.box][uid]
            elif change.what in FLAG_CHANGES and there[change.box][uid][1] == combined(kept.flags, change):
                after.boxes[change.box][uid] = replace(kept, flags=combined(kept.flags, change))
        hold(change.what != "move" or not moved, f"{moved} have moved and are still there after {change}")
        after.free[to] = max([after.free[to], *(uid + 1 for uid in there[to])])
        self._truth = after

    def _letters_of(self, change: Change) -> list[tuple[int, Flags]]:
        """Return the letters that a change may add, with their flags."""
        if change.what == "append":
            return [(number, change.flags) for number in change.numbers]
        box = self._truth.boxes[change.box]
        kept = [box[uid] for uid in change.numbers if uid in box] if change.what in ("copy", "move") else []
        return [(each.number, each.flags) for each in kept]

    async def _sequences(self, store: IMailStore, ids: list[str]) -> None:
        """UIDs and modification sequences go on where they were, and what was told before is still good."""
        infos = {info.id: info for info in await store.mailboxes(ACCOUNT)}
        for box, mailbox in enumerate(ids):
            free = self._truth.free[box]
            hold(infos[mailbox].uid_next >= free, f"mailbox {box}: next UID {infos[mailbox].uid_next}, not {free}")
        highest = max(info.modseq for info in infos.values())
        hold(highest >= self._modseq, f"modseq {highest} after {self._modseq}")
        self._modseq = highest
        for box, modseq, known in self._told[-200::7]:
            since = await store.snapshot(ACCOUNT, ids[box], modseq)
            follow = {uid: flags for uid, flags in known.items() if uid not in set(since.vanished)}
            follow.update(zip(since.uids, since.flags, strict=True))
            hold(follow == self._truth.flags(box), f"mailbox {box}: since {modseq} it is {follow}")

    async def _again(self, store: IMailStore, ids: list[str], change: Change) -> None:
        """A delivery that nobody acknowledged is tried again, as a queue does: it is there once."""
        box = self._truth.boxes[change.box]
        kept = {each.number: uid for uid, each in box.items()}
        new = [number for number in change.numbers if number not in kept]
        letters = [letter_of(number, change.flags) for number in change.numbers]
        appended = await store.append(ACCOUNT, ids[change.box], letters)
        for number, answer in zip(change.numbers, appended, strict=True):
            hold(kept.get(number, answer.uid) == answer.uid, f"letter {number} is there twice")
        if new:
            uids = {number: each.uid for number, each in zip(change.numbers, appended, strict=True)}
            pairs = tuple((number, uids[number]) for number in new)
            self._take(replace(change, numbers=tuple(new)), Answer(max(each.modseq for each in appended), pairs))


def _less(one: dict[int, Any], other: dict[int, Any]) -> dict[int, Any]:
    return {uid: what for uid, what in one.items() if other.get(uid) != what}


class CrashCases(StoreFixture):
    """A killed process loses nothing that it acknowledged, and doubles nothing."""

    #: What a process that is to be killed does.
    doomed = "from mailfw.testing.store.doomed import main; main()"

    async def test_killed_at_random_moments(self) -> None:
        """
        After SIGKILL, all acknowledged changes are there, each other one whole or not at all, and numbers go on.

        Of other flags for several messages, and of their removal, a part may be there, unless `whole_calls`.
        """
        if not (self.spec and self.can_reopen):
            raise self.not_offered(
                "a process cannot be killed: no `spec` says how another makes this store over the same data"
            )
        chance = random.Random(self.seed)  # noqa: S311  # no secret: the same moments every time, nearly
        maker = self.new_maker()
        after = Afterwards(self.whole_calls)
        for life in range(self.crashes):
            notes = await self._one_life(maker, self.seed * self.crashes + life, chance)
            store = maker.make_store()
            try:
                await after.look(store, notes)
            except Differs as difference:
                self.fail(f"after crash {life + 1}, {after.acknowledged} changes acknowledged: {difference}")
            finally:
                await store.close()
        self.note(f"killed {self.crashes} times, {after.acknowledged} changes acknowledged: none lost, none doubled")
        if after.found:
            self.note(f"{after.found} times a letter was found by its text")
        if after.in_part:
            self.note(f"of the calls that were not acknowledged, {after.in_part} were done in part")

    async def _one_life(self, maker: Maker, seed: int, chance: random.Random) -> list[list[Any]]:
        """Let a process work and kill it; return its notes."""
        answers = chance.choice((0, chance.randrange(10), chance.randrange(ANSWERS), chance.randrange(ANSWERS)))
        reactor = maker.site.reactor
        doomed = Doomed(reactor, answers, chance.randrange(DELAY) / 1000 if answers else chance.random())
        told = (self.spec, str(maker.site.data), str(seed))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = (sys.executable, "-c", self.doomed, *told)
        reactor.spawnProcess(doomed, sys.executable, command, environment)
        await doomed.ended
        if doomed.complaints:
            self.fail(f"the process complained: {doomed.complaints.decode(errors='replace')[-2000:]}")
        return doomed.notes
