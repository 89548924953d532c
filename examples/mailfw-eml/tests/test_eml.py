"""The contracts, over the source and over the store that mailfw makes of it."""

from __future__ import annotations

from pathlib import Path

from mailfw_eml.source import eml
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailfw.interfaces import IMessageSource
from mailfw.site import Site
from mailfw.testing.source import SourceContract
from mailfw.testing.store import (
    AnnotationCases,
    ColumnCases,
    CrashCases,
    NumberCases,
    QuotaCases,
    ReplacingCases,
    RestartCases,
    SearchCases,
    SharedHistoryCases,
    SharingCases,
    StoreContract,
)


class EmlSourceTests(SourceContract, TestCase):
    def make_source(self) -> IMessageSource:
        self.site = Site("mx.example.org", frozenset(), Path(self.mktemp()).absolute(), reactor)
        return eml(self.site)

    async def reopen_source(self, source: IMessageSource) -> IMessageSource:
        await source.close()
        return eml(self.site)


class EmlStoreTests(
    StoreContract,
    AnnotationCases,
    ColumnCases,
    ReplacingCases,
    RestartCases,
    QuotaCases,
    NumberCases,
    SearchCases,
    SharingCases,
    SharedHistoryCases,
    CrashCases,
    TestCase,
):
    spec = "mailfw_eml.source.eml"
