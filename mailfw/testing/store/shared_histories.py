"""Random histories of shared mailboxes: what each user knows of them is the truth, whenever he last looked."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from mailfw.mail.mailbox import DELETED, FLAGGED, SEEN, FlagChange, Flags, Snapshot
from mailfw.mail.personal import combined, merged, parted
from mailfw.mail.rights import ALL_RIGHTS, ANYONE
from mailfw.optional import ISharedMail
from mailfw.testing.store.fixture import ANN, BOB
from mailfw.testing.store.sharing import CAT, SharedFixture

#: Mailboxes and users; the owner is one of them.
BOXES, USERS = 2, (ANN, BOB, CAT)

FLAG_SETS: tuple[Flags, ...] = tuple(
    frozenset(flags) for flags in ((SEEN,), (SEEN, FLAGGED), (DELETED,), ("$Keep",), (SEEN, DELETED), ())
)


@dataclass(slots=True)
class Message:
    """What a message must be: its flags, in which \\Seen is the owner's, and who else has seen it."""

    flags: Flags
    seen_by: set[str] = field(default_factory=set)

    def flags_for(self, user: str) -> Flags:
        """Return the flags that a user sees."""
        return self.flags if user == ANN else merged(self.flags, user in self.seen_by)

    def alter(self, user: str, change: FlagChange, flags: Flags) -> None:
        """Change flags for a user."""
        after = combined(self.flags_for(user), change, flags, ALL_RIGHTS)
        if user == ANN:
            self.flags = after
            return
        self.flags, seen = parted(after, self.flags)
        (self.seen_by.add if seen else self.seen_by.discard)(user)


@dataclass(slots=True)
class Look:
    """What a user knew of a mailbox at a modification sequence."""

    modseq: int = 0
    known: dict[int, Flags] = field(default_factory=dict)

    def after(self, snapshot: Snapshot) -> Look:
        """Return what he knows when he is told of the changes."""
        known = {uid: flags for uid, flags in self.known.items() if uid not in snapshot.vanished}
        known.update(zip(snapshot.uids, snapshot.flags, strict=True))
        return Look(snapshot.info.modseq, known)


class SharedHistoryCases(SharedFixture):
    """Shared mailboxes, whatever happens to them."""

    async def test_random_histories_of_several_users(self) -> None:
        """Whatever owner and others do, each sees what is true for him, from wherever he last looked."""
        await self.sharing()
        source = random.Random(self.seed)  # noqa: S311  # not for secrets
        for number in range(max(1, self.histories // 5)):
            self.truth: list[dict[int, Message]] = [{} for _ in range(BOXES)]
            self.boxes = [await self.create(f"Shared {number} {box}") for box in range(BOXES)]
            for mailbox in self.boxes:
                await ISharedMail(self.store).grant(ANN, mailbox, ANYONE, ALL_RIGHTS)
            looks = {(user, box): [Look()] for user in USERS for box in range(BOXES)}
            for step in range(2 * self.history_steps):
                await self._step(source, step)
                for (user, box), earlier in looks.items():
                    if source.random() < 0.3:
                        earlier.append(await self._look(user, box, source.choice(earlier)))

    async def _look(self, user: str, box: int, since: Look) -> Look:
        """Let a user look at what changed since he last did, or since any time before."""
        found = since.after(await self._snapshot(user, box, since.modseq))
        expected = {uid: message.flags_for(user) for uid, message in self.truth[box].items()}
        self.assertEqual(found.known, expected, f"{user} since {since.modseq}")
        whole = await self._snapshot(user, box, 0)
        self.assertEqual(whole.info.unseen, sum(SEEN not in flags for flags in expected.values()))
        return found

    async def _snapshot(self, user: str, box: int, since: int) -> Snapshot:
        if user == ANN:
            return await self.snap(since, self.boxes[box])
        return await self.seen_by(user, since, self.boxes[box])

    async def _step(self, source: random.Random, step: int) -> None:
        box = source.randrange(BOXES)
        uids = [uid for uid in self.truth[box] if source.random() < 0.5]
        what = source.choice(("append", "alter", "alter", "alter", "alter", "expunge", "move", "copy", "restart"))
        match what:
            case "append":
                flags = source.choice(FLAG_SETS)
                for uid in await self.add(source.randrange(1, 5), flags, self.boxes[box]):
                    self.truth[box][uid] = Message(flags)
            case "alter":
                await self._alter(source.choice(USERS), box, uids, source.choice(list(FlagChange)), source)
            case "expunge":
                gone = (await self.store.expunge(ANN, self.boxes[box], uids)).uids
                self.assertEqual(list(gone), [uid for uid in uids if DELETED in self.truth[box][uid].flags])
                for uid in gone:
                    del self.truth[box][uid]
            case "move" | "copy":
                await self._copy(box, uids, what == "move")
            case "restart" if self.can_reopen and not step % 3:
                await self.reopen()

    async def _alter(self, user: str, box: int, uids: list[int], change: FlagChange, source: random.Random) -> None:
        flags, mailbox = source.choice(FLAG_SETS), self.boxes[box]
        before = {uid: self.truth[box][uid].flags_for(user) for uid in uids}
        for uid in uids:
            self.truth[box][uid].alter(user, change, flags)
        if user == ANN:
            altered = await self.store.alter(ANN, mailbox, uids, change, flags)
        else:
            altered = await ISharedMail(self.store).alter_for(ANN, mailbox, user, uids, change, flags)
        after = {uid: self.truth[box][uid].flags_for(user) for uid in uids}
        self.assertEqual(altered.changed, {uid: flags for uid, flags in after.items() if flags != before[uid]})

    async def _copy(self, box: int, uids: list[int], move: bool) -> None:
        to = (box + 1) % BOXES
        copied = await self.store.copy(ANN, self.boxes[box], uids, self.boxes[to], move)
        for old, new in copied.uids:
            message = self.truth[box][old]
            self.truth[to][new] = Message(message.flags, set(message.seen_by))
            if move:
                del self.truth[box][old]
