"""The maildir store: the contract."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from mailfw.interfaces import IMailStore
from mailfw.site import Site
from mailfw.stores.maildir import maildir
from mailfw.testing.store import StoreContract


def site_at(data: Path) -> Site:
    from twisted.internet import reactor

    return Site("mx.example.org", frozenset({"example.org"}), data, reactor)


class MaildirContractTests(StoreContract, TestCase):
    def make_store(self) -> IMailStore:
        self.data = Path(self.mktemp()).absolute()
        return self._open()

    def _open(self) -> IMailStore:
        store: IMailStore = maildir(site_at(self.data))
        return store

    async def reopen_store(self, store: IMailStore) -> IMailStore:
        await store.close()
        return self._open()
