"""
The file ``dovecot-keywords``: which keyword of a folder is which letter in the names of its files.

Lines ``<index> <keyword>``, 0 to 25 for ``a`` to ``z``.  Written anew under the lock of the UID list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mailfw.disk import Disk
from mailfw.mail.mailbox import Flags
from mailfw.stores.maildir.names import FLAG_OF, LETTERS
from mailfw.stores.maildir.signature import end_of_second, identity

NAME = "dovecot-keywords"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_NUMBER = re.compile(r"[0-9]{1,9}")


class Keywords:
    """
    One folder's keywords.  Blocks.

    A letter that was given keeps its meaning; a keyword that comes when all are taken has none, and is known
    to the index alone.  Keywords that differ only in case are one, as RFC 9051 section 2.3.2 has it.
    """

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._directory = directory
        self._path = f"{directory}/{NAME}"
        self._seen: tuple[int, int, int] | None = None
        self._is_read = False
        self._by_letter: dict[str, str] = {}
        self._letters: dict[str, str] = {}

    def move_to(self, directory: str) -> None:
        """Note that the folder has another name."""
        self._directory, self._path = directory, f"{directory}/{NAME}"

    def know(self) -> None:
        """Read the file unless that has been done: until then every letter is a strange one."""
        if not self._is_read:
            self.refresh()

    def refresh(self) -> bool:
        """Read the file if somebody has written to it since, and say so."""
        seen = identity(self._path)
        self._is_read = True
        if seen == self._seen:
            return False
        self._seen = seen
        text = Path(self._path).read_bytes().decode("utf-8", "replace") if seen else ""
        self._by_letter = {}
        for line in text.splitlines():
            index, _, keyword = line.partition(" ")
            if keyword and _NUMBER.fullmatch(index) and int(index) < len(_ALPHABET):
                self._by_letter[_ALPHABET[int(index)]] = keyword
        self._letters = {keyword.casefold(): letter for letter, keyword in self._by_letter.items()}
        return True

    def lacks(self, flags: Iterable[str]) -> bool:
        """Whether any of these has no letter and could have one."""
        return len(self._by_letter) < len(_ALPHABET) and any(self._needs(flag) for flag in flags)

    def _needs(self, flag: str) -> bool:
        return not flag.startswith("\\") and flag.casefold() not in self._letters

    def learn(self, flags: Iterable[str]) -> None:
        """Give letters to keywords as far as there are any; with the lock held, and read just before."""
        free = [letter for letter in _ALPHABET if letter not in self._by_letter]
        new = {flag.casefold(): flag for flag in sorted(flags) if self._needs(flag)}
        given = dict(zip(free, new.values(), strict=False))
        if not given:
            return
        table = sorted({**self._by_letter, **given}.items())
        text = "".join(f"{_ALPHABET.index(letter)} {keyword}\n" for letter, keyword in table)
        draft = f"{self._path}.{os.getpid()}.tmp"
        Path(draft).unlink(missing_ok=True)
        self._disk.replace_file(self._path, text.encode(), draft, end_of_second(self._seen))
        self._disk.sync_directory(self._directory)
        self.refresh()

    def has(self, flag: str) -> bool:
        """Whether a file's name can say this flag."""
        return flag in LETTERS or flag.casefold() in self._letters

    def letters(self, flags: Iterable[str]) -> str:
        """Return the letters of those flags that have one, sorted."""
        found = (LETTERS.get(flag) or self._letters.get(flag.casefold()) for flag in flags)
        return "".join(sorted(filter(None, found)))

    def flags(self, letters: Iterable[str]) -> Flags:
        """Return what letters mean; those that mean nothing to us are passed over."""
        found = (FLAG_OF.get(letter) or self._by_letter.get(letter) for letter in letters)
        return frozenset(filter(None, found))

    def strange(self, letters: Iterable[str]) -> str:
        """Return the letters that mean nothing to us."""
        return "".join(letter for letter in letters if letter not in FLAG_OF and letter not in self._by_letter)
