"""The maildir store: the contract."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from mailfw.site import Site
from mailfw.testing.store import FullContract


def site_at(data: Path) -> Site:
    from twisted.internet import reactor

    return Site("mx.example.org", frozenset({"example.org"}), data, reactor)


class MaildirContractTests(FullContract, TestCase):
    spec = "maildir"
