"""Hearing of changes in one's own account, and in those of others who share something."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailfw.mail.failure import NoSuchAccount
from mailfw.mail.mailbox import TREE
from mailfw.optional import ACCOUNT_ANNOTATIONS, SHARES
from mailfw.sharing.places import Place, id_of
from mailfw.turns import Turns

log = Logger()

Notice = Callable[[str, int], None]


class Watch:
    """
    Tells `notice` of every change in the mailboxes that `user` can see, until `stop` is called.

    `owners` are those who may share something with the user, as long as anybody watches.
    """

    def __init__(self, store: Any, user: str, notice: Notice) -> None:
        self._store = store
        self.user = user
        self._notice = notice
        self._turns = Turns()
        self._stops: dict[str, Callable[[], None]] = {}
        self._is_over = False
        self.owners: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Begin."""
        await self._follow(self.user, self._hear)
        try:
            await self._look()
        except BaseException:
            self.stop()
            raise

    def _hear(self, mailbox: str, modseq: int) -> None:
        if mailbox != SHARES:
            self._notice(mailbox, modseq)
        elif not self._is_over:
            looking = Deferred.fromCoroutine(self._look_again(modseq))
            looking.addErrback(lambda why: log.failure("what {user} shares is not known", why, user=self.user))

    def _hear_of(self, owner: str, mailbox: str, modseq: int) -> None:
        if mailbox == TREE:
            self._notice(TREE, modseq)
        elif mailbox not in (SHARES, ACCOUNT_ANNOTATIONS):
            self._notice(id_of(Place(owner, mailbox)), modseq)

    async def _look_again(self, modseq: int) -> None:
        """Follow others than before, and tell that the user sees other mailboxes."""
        await self._look()
        if not self._is_over:
            self._notice(TREE, modseq)

    async def _look(self) -> None:
        """Follow those who share something now, and nobody else."""
        async with self._turns:
            self.owners = await self._store.shared_with(self.user) - {self.user}
            for owner in self._stops.keys() - self.owners - {self.user}:
                self._stops.pop(owner)()
            for owner in self.owners - self._stops.keys():
                try:
                    await self._follow(owner, partial(self._hear_of, owner))
                except NoSuchAccount:
                    continue  # what was known of him is out of date
                except Exception:  # the fault of somebody else's account is not the user's
                    log.failure("{owner}, who shares with {user}, cannot be watched", owner=owner, user=self.user)

    async def _follow(self, account: str, notice: Notice) -> None:
        stop = await self._store.watch(account, notice)
        if self._is_over:
            stop()
        else:
            self._stops[account] = stop

    def stop(self) -> None:
        """End."""
        self._is_over = True
        for stop in self._stops.values():
            stop()
        self._stops.clear()
