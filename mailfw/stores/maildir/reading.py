"""Messages of maildirs, opened by a process that changes nothing there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path as FilePath

from zope.interface import implementer

from mailfw.disk import Disk
from mailfw.interfaces import IContent
from mailfw.mail.failure import NameRefused
from mailfw.mail.mailbox import INBOX, Flags, Path
from mailfw.optional import IUniqueIds
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.kept import KeptContent
from mailfw.stores.maildir import layout
from mailfw.stores.maildir.content import FileContent, Octets, message_at_hand, read_if_small
from mailfw.stores.maildir.folder import MaildirFolder
from mailfw.stores.maildir.names import INFO
from mailfw.stores.maildir.unique_ids import read_unique_ids
from mailfw.stores.places import account_directory
from mailfw.stores.threads import Threads

#: Folders of which something is remembered: the keywords, and where other programs gave names of their own, those.
FOLDERS = 200


class _Folder:
    """
    A folder, in which messages are looked for where our flags would have them, then where they were, then everywhere.

    Another process renames files at any time.  Blocks; any thread may ask.
    """

    def __init__(self, directory: str, folder: MaildirFolder) -> None:
        self.directory = directory
        self._folder = folder
        self._names: dict[str, str] = {}

    def open_all(self, wanted: Sequence[tuple[str, Flags]]) -> list[Octets | bytes | None]:
        """Open messages by what never changes of their names; None for those that are gone."""
        self._folder.keywords.know()
        if any(not self._folder.keywords.has(flag) for flag in {flag for _, flags in wanted for flag in flags}):
            self._folder.keywords.refresh()
        found = [self._find(base, self._likely(base, flags)) for base, flags in wanted]
        missing = [place for place, each in enumerate(found) if each is None]
        if missing:
            self._names = self._list()
            for place in missing:
                base = wanted[place][0]
                found[place] = self._find(base, [self._names[base]] if base in self._names else [])
        return found

    def at_hand(self, base: str, flags: Flags) -> bytes | None:
        """Return a message that is in memory under a name that it is likely to have.  This does not block."""
        for name in self._likely(base, flags):
            octets = message_at_hand(self._folder.path(name), base)
            if octets is not None:
                return octets
        return None

    def _likely(self, base: str, flags: Flags) -> Iterator[str]:
        letters = self._folder.keywords.letters(flags)
        if not letters:
            yield f"new/{base}"
        yield f"cur/{base}{INFO}{letters}"
        if base in self._names:
            yield self._names[base]

    def _find(self, base: str, names: Iterator[str] | list[str]) -> Octets | bytes | None:
        for name in names:
            try:
                return read_if_small(self._folder.open_file(name))
            except FileNotFoundError:
                continue
        return None

    def _list(self) -> dict[str, str]:
        try:
            return self._folder.listing()
        except FileNotFoundError:
            return {}


@implementer(IUniqueIds)
class MaildirBodies:
    """Opens messages below `root`, where each account ``local@domain`` is in ``domain/local``."""

    is_ours = False

    def __init__(self, root: FilePath, threads: Threads, disk: Disk | None = None) -> None:
        self._root = root
        self._threads = threads
        self._disk = disk or Disk()
        self._guard = threading.Lock()
        self._folders: OrderedDict[str, _Folder] = OrderedDict()
        self._directory = lru_cache(FOLDERS)(self._find_directory)

    def at_hand(self, account: str, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> list[IContent | None]:
        """Return messages that are in memory, of a folder that others were opened in."""
        folder = self._folders.get(self._directory(account, box.path))
        if folder is None:
            return [None] * len(wanted)
        found = [folder.at_hand(base, flags) for base, flags in wanted]
        return [None if octets is None else KeptContent(octets) for octets in found]

    async def open_many(
        self, account: str, box: Mailbox, wanted: Sequence[tuple[str, Flags]]
    ) -> Sequence[IContent | None]:
        """Open messages in one visit to a thread."""
        found = await self._threads.run(self._open_all, account, box, wanted)
        return [None if each is None else self._content(each) for each in found]

    def _content(self, octets: Octets | bytes) -> IContent:
        return KeptContent(octets) if isinstance(octets, bytes) else FileContent(self._threads, octets)

    def _open_all(self, account: str, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> list[Octets | bytes | None]:
        return self._folder(self._directory(account, box.path)).open_all(wanted)

    def _find_directory(self, account: str, path: Path) -> str:
        root = str(account_directory(self._root, account))
        return root if path == INBOX else f"{root}/{layout.directory_of(path)}"

    def _folder(self, directory: str) -> _Folder:
        with self._guard:
            found = self._folders.get(directory)
            if found is None:
                found = self._folders[directory] = _Folder(
                    directory, MaildirFolder(self._disk, directory, _no_validity, directory)
                )
                if len(self._folders) > FOLDERS:
                    self._folders.popitem(last=False)
            self._folders.move_to_end(directory)
            return found

    async def unique_ids(self, account: str) -> Mapping[int, str]:
        """Return what the UID list of the inbox says."""
        return await self._threads.run(read_unique_ids, str(account_directory(self._root, account)))

    async def close(self) -> None:
        """Let go of what is remembered."""
        self._folders.clear()
        self._disk.release()


def _no_validity() -> int:
    raise NameRefused("only the process that writes gives numbers")
