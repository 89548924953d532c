"""The SQLite store: the contract, with one file and with several."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from mailfw.testing.store import FullContract


class SqliteContractTests(FullContract, TestCase):
    spec = "sqlite"
    whole_calls = True


class FilesContractTests(FullContract, TestCase):
    spec = "sqlite:files=3"
    whole_calls = True
    few, many = 100, 1000
    histories = 5
