"""The contract of sources passes a source that is right, and fails whoever breaks it."""

from __future__ import annotations

import itertools
import unittest
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from mailfw.interfaces import IContent, IMessageSource
from mailfw.mail.failure import NameRefused
from mailfw.mail.mailbox import (
    INBOX,
    CreateMailbox,
    DeleteMailbox,
    Flags,
    Folder,
    Item,
    MailboxEdit,
    Path,
    RenameMailbox,
    Scan,
)
from mailfw.testing.contents import MemoryContent
from mailfw.testing.source import SourceContract
from mailfw.testing.store.fixture import read_all


@dataclass
class DictFolder:
    key: str
    path: Path
    items: dict[str, Item] = field(default_factory=dict)
    octets: dict[str, bytes] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


@implementer(IMessageSource)
class DictSource:
    """A source in dicts whose cursor counts the changes of a folder."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, DictFolder]] = {}
        self.keys = (f"k{number}" for number in itertools.count())

    async def open_account(self, account: str) -> None:
        if account not in self.accounts:
            self.accounts[account] = {}
            self._make(account, INBOX)

    async def remove_account(self, account: str) -> None:
        del self.accounts[account]

    async def folders(self, account: str) -> Sequence[Folder]:
        return [Folder(folder.key, folder.path) for folder in self.accounts[account].values()]

    async def edit_folder(self, account: str, edit: MailboxEdit) -> None:
        folders = self.accounts[account]
        match edit:
            case CreateMailbox(path):
                if not path or not all(path):
                    raise NameRefused
                self._make(account, path)
            case RenameMailbox(path, to):
                for folder in folders.values():
                    if folder.path[: len(path)] == path:
                        folder.path = to + folder.path[len(path) :]
            case DeleteMailbox(path):
                [key] = [folder.key for folder in folders.values() if folder.path == path]
                del folders[key]

    async def scan(self, account: str, folder: str, cursor: str | None) -> Scan:
        found = self.accounts[account][folder]
        now = str(len(found.changes))
        if cursor is None:
            return Scan(now, list(found.items.values()))
        changed = dict.fromkeys(found.changes[int(cursor) :])
        there = [found.items[key] for key in changed if key in found.items]
        return Scan(now, there, [key for key in changed if key not in found.items], complete=False)

    async def open(self, account: str, folder: str, key: str) -> IContent:
        return MemoryContent(self.accounts[account][folder].octets[key])

    async def put(self, account: str, folder: str, content: IContent, flags: Flags, received: int) -> Item:
        octets = await read_all(content)
        item = Item(next(self.keys), len(octets), received, flags)
        found = self.accounts[account][folder]
        found.items[item.key], found.octets[item.key] = item, octets
        found.changes.append(item.key)
        return item

    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        found = self.accounts[account][folder]
        for key in flags.keys() & found.items.keys():
            found.items[key] = replace(found.items[key], flags=flags[key])
            found.changes.append(key)

    async def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        found = self.accounts[account][folder]
        for key in set(keys) & found.items.keys():
            del found.items[key], found.octets[key]
            found.changes.append(key)

    async def close(self) -> None:
        """Do nothing."""

    def _make(self, account: str, path: Path) -> None:
        folder = DictFolder(next(self.keys), path)
        self.accounts[account][folder.key] = folder


class DictSourceContract(SourceContract, TestCase):
    def make_source(self) -> IMessageSource:
        return DictSource()

    async def reopen_source(self, source: IMessageSource) -> IMessageSource:
        # Mail in memory is kept as long as the source is referred to, closed or not.
        await source.close()
        return source


class ForgetsDrops(DictSource):
    async def scan(self, account: str, folder: str, cursor: str | None) -> Scan:
        return replace(await super().scan(account, folder, cursor), removed=())


class MissesFlags(DictSource):
    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        found = self.accounts[account][folder]
        noted = list(found.changes)
        await super().set_flags(account, folder, flags)
        found.changes = noted


class LosesKeywordCase(DictSource):
    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        lowered = {key: frozenset(map(str.lower, each)) for key, each in flags.items()}
        await super().set_flags(account, folder, lowered)


class StripsContents(DictSource):
    async def put(self, account: str, folder: str, content: IContent, flags: Flags, received: int) -> Item:
        octets = (await read_all(content)).rstrip(b"\r\n")
        return await super().put(account, folder, MemoryContent(octets), flags, received)


class ReusesKeys(DictSource):
    async def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        gone = [key for key in keys if key in self.accounts[account][folder].items]
        await super().drop(account, folder, keys)
        self.keys = itertools.chain(gone, self.keys)  # type: ignore[assignment]  # any iterator of keys will do


class LeavesChildren(DictSource):
    async def edit_folder(self, account: str, edit: MailboxEdit) -> None:
        before = {folder.key: folder.path for folder in self.accounts[account].values()}
        await super().edit_folder(account, edit)
        for folder in self.accounts[account].values():
            if isinstance(edit, RenameMailbox) and before[folder.key] != edit.path:
                folder.path = before[folder.key]


BROKEN: dict[type[DictSource], str] = {
    ForgetsDrops: "scans_follow_every_change",
    MissesFlags: "scan_from_long_ago",
    LosesKeywordCase: "flags",
    StripsContents: "octets_are_exact",
    ReusesKeys: "drop",
    LeavesChildren: "rename_takes_what_is_below_along",
}


def complaints(make_source: Callable[[], IMessageSource], name: str) -> int:
    """Run one case of the contract over a source and return how many complaints it has."""

    class Tried(SourceContract, TestCase):
        def make_source(self) -> IMessageSource:
            return make_source()

    result = unittest.TestResult()
    Tried(f"test_{name}").run(result)
    return len(result.failures) + len(result.errors)


class BrokenSourceTests(SynchronousTestCase):
    def test_every_fault_is_found(self) -> None:
        for broken, name in BROKEN.items():
            self.assertEqual(complaints(DictSource, name), 0)
            self.assertGreater(complaints(broken, name), 0, f"{name} passes {broken}")
