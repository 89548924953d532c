"""The contracts, over the source and over the store that mailfw makes of it."""

from __future__ import annotations

from pathlib import Path

from mailfw_eml.source import eml
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailfw.interfaces import IMailStore, IMessageSource
from mailfw.site import Site
from mailfw.stores.indexed import indexed
from mailfw.testing.source import SourceContract
from mailfw.testing.store import StoreContract


class EmlSourceTests(SourceContract, TestCase):
    def make_source(self) -> IMessageSource:
        self.site = Site("mx.example.org", frozenset(), Path(self.mktemp()).absolute(), reactor)
        return eml(self.site)

    async def reopen_source(self, source: IMessageSource) -> IMessageSource:
        await source.close()
        return eml(self.site)


class EmlStoreTests(StoreContract, TestCase):
    def make_store(self) -> IMailStore:
        self.site = Site("mx.example.org", frozenset(), Path(self.mktemp()).absolute(), reactor)
        return indexed(eml(self.site), self.site)

    async def reopen_store(self, store: IMailStore) -> IMailStore:
        await store.close()
        return indexed(eml(self.site), self.site)
