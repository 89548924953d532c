"""How much each account may keep: the limits of everybody, and a small file of those with others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.accounts.names import default_domain, full_name
from mailfw.accounts.records import replace_line
from mailfw.accounts.textfile import WatchedFile, rewrite
from mailfw.interfaces import IQuotas
from mailfw.mail.quota import QuotaLimits
from mailfw.optional import ISettableQuotas
from mailfw.site import Site

log = Logger()

HEADING = "# What accounts may keep; `mailfw user quota` edits this file.\n"

# line = name *(SP ("octets" / "messages") "=" 1*18DIGIT), ours
_FIELD = re.compile(r"(octets|messages)=([0-9]{1,18})", re.ASCII)


@implementer(IQuotas, ISettableQuotas)
class QuotaFile:
    """
    The limits of a text file, read again when it changes, and `default` for whatever a line leaves out.

    `look`, `set_limits` and `own` block, and need no reactor: they are for the console command.
    """

    def __init__(self, path: Path, default: QuotaLimits, reactor: Any, domain: str = "") -> None:
        self._path = path
        self._default = default
        self._reactor = reactor
        self._domain = domain
        self._file = WatchedFile(path, self._read, reactor)

    def _read(self, text: str) -> Mapping[str, QuotaLimits]:
        found: dict[str, QuotaLimits] = {}
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, *words = line.split()
            fields = [_FIELD.fullmatch(word) for word in words]
            if not all(fields):
                # Without a limit nothing of his is refused by mistake; with a default he is as everybody.
                log.warn("Line {number} of the quota file cannot be read, and is passed over", number=number)  # noqa: G010  # Twisted has no longer name
                continue
            given = {field[1]: int(field[2]) for field in fields if field is not None}
            found[name] = QuotaLimits(
                given.get("octets", self._default.octets), given.get("messages", self._default.messages)
            )
        return found

    async def limits(self, account: str) -> QuotaLimits:
        """Return an account's limits, as they were a second ago at most."""
        return (await self._file.current()).get(account, self._default)

    async def change_limits(self, account: str, limits: QuotaLimits) -> None:
        """Give an account limits of its own, on stable storage."""
        pool = self._reactor.getThreadPool()
        await deferToThreadPool(self._reactor, pool, self.set_limits, account, limits.octets, limits.messages)

    # ------------------------------------------------------------ for the console command

    def look(self, name: str) -> QuotaLimits:
        """Return an account's limits as they are now.  Raises `NotAName`."""
        return self._file.look().get(full_name(name, self._domain), self._default)

    def set_limits(self, name: str, octets: int | None, messages: int | None) -> None:
        """Give an account limits of its own; None leaves one to everybody's.  Raises `NotAName`."""
        name = full_name(name, self._domain)
        given = {"octets": octets, "messages": messages}
        fields = [f"{key}={value}" for key, value in given.items() if value is not None]
        line = " ".join([name, *fields]) if fields else None
        rewrite(self._path, lambda text: replace_line(text or HEADING, name, line))
        self._file.forget()

    def own(self, name: str) -> Mapping[str, int]:
        """Return the limits that an account has of its own, by key.  Raises `NotAName`."""
        name = full_name(name, self._domain)
        try:
            text = self._path.read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            return {}
        lines = [line.split() for line in text.split("\n") if line.split(" ", 1)[0] == name]
        return {key: int(number) for key, number in map(_pair, lines[-1][1:])} if lines else {}


def _pair(word: str) -> tuple[str, str]:
    field = _FIELD.fullmatch(word)
    if field is None:
        raise ValueError(f"the quota file has {word!r}, which is no limit")
    return field[1], field[2]


def quota_file(site: Site, default: QuotaLimits, path: str = "quotas") -> QuotaFile:
    """
    Limits in a text file, edited by `mailfw user quota`.

    `default` is the configuration's.  `path` is the file, relative to the data directory.
    """
    return QuotaFile(site.data / os.fspath(path), default, site.reactor, default_domain(site))
