"""The password file: a checker for `twisted.cred` that is also a list of accounts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.accounts import names
from mailfw.accounts.hashing import HashingQueue, dummy_hash, make_hasher, matches
from mailfw.accounts.names import AccountRefusal, NotAName, full_name
from mailfw.accounts.records import Record, read_records, replace_line
from mailfw.accounts.remembered import RememberedLogins
from mailfw.accounts.textfile import WatchedFile, rewrite
from mailfw.interfaces import IAccountList
from mailfw.sasl.credentials import IScramKeyring, IScramProof
from mailfw.sasl.keys import HASHES, ScramKeys, make_keys
from mailfw.sasl.saslprep import prepare_password
from mailfw.site import Site

log = Logger()

#: A longer password only costs memory: SMTP's longest response (RFC 4954 section 4) could carry more.
LONGEST_PASSWORD = 1024
#: The same before SASLprep, which makes one octet of up to four; preparing more would hold up the reactor.
LONGEST_RAW_PASSWORD = 4 * LONGEST_PASSWORD


class AccountExists(AccountRefusal):
    """There is an account of this name."""


class AccountUnknown(AccountRefusal):
    """There is no account of this name."""


class PasswordRefused(AccountRefusal):
    """Nobody could log in with this password."""


@implementer(ICredentialsChecker, IScramKeyring, IAccountList)
class PasswordFile:
    """
    Checks passwords against Argon2id hashes, and SCRAM proofs against keys, in a file read again when it changes.

    The methods that edit and list it block, and need no reactor: they are for the console command.
    """

    credentialInterfaces = (IUsernamePassword, IScramProof)

    def __init__(
        self, path: Path, reactor: Any, default_domain: str = "", hasher: PasswordHasher | None = None
    ) -> None:
        self._path = path
        self._reactor = reactor
        self._default_domain = default_domain
        self._hasher = hasher or make_hasher()
        self._dummy = dummy_hash(self._hasher)
        self._file = WatchedFile(path, read_records, reactor)
        self._queue = HashingQueue(reactor)
        self._remembered = RememberedLogins()

    # ------------------------------------------------------------ for twisted.cred and the directory

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Return the account's name as UTF-8, or fail with `UnauthorizedLogin`, or with `Overloaded`."""
        if IScramProof.providedBy(credentials):
            return Deferred.fromCoroutine(self._check_proof(credentials))
        return Deferred.fromCoroutine(self._check(credentials.username, credentials.password))

    async def scram_keys(self, username: bytes, mechanism: str) -> ScramKeys | None:
        """Return an account's keys, None where there is no such account or it has none."""
        record = await self._record(username)
        return record.scram.get(mechanism) if record is not None else None

    async def has_account(self, name: str) -> bool:
        """Whether the file has this account."""
        return name in await self._file.current()

    async def first_account(self) -> str | None:
        """Return the name on the first line that has one."""
        return next(iter(await self._file.current()), None)

    async def _check_proof(self, credentials: Any) -> bytes | tuple[()]:
        record = await self._record(credentials.username)
        keys = record.scram.get(credentials.mechanism) if record is not None else None
        if record is None or keys is None or not credentials.check_keys(keys):
            raise UnauthorizedLogin
        return record.name.encode("utf-8")

    async def _check(self, username: bytes, password: bytes) -> bytes | tuple[()]:
        record = await self._record(username)
        password = prepare_password(password) if len(password) <= LONGEST_RAW_PASSWORD else b""
        stored = record.hash if record is not None else self._dummy

        def known() -> bool:
            now = self._reactor.seconds()
            return record is not None and self._remembered.holds(now, record.name, password, stored)

        if record is not None and known():
            return record.name.encode("utf-8")
        right = await self._queue.run(lambda: matches(self._hasher, stored, password), known)
        if not right or record is None or not password:
            raise UnauthorizedLogin
        if self._is_current(record) or not await self._queue.run(lambda: self._renew(record, password), lambda: False):
            self._remembered.add(self._reactor.seconds(), record.name, password, stored)
        return record.name.encode("utf-8")

    def _is_current(self, record: Record) -> bool:
        """Whether a record has today's hash and the keys of every SCRAM."""
        return not self._hasher.check_needs_rehash(record.hash) and all(each in record.scram for each in HASHES)

    async def _record(self, username: bytes) -> Record | None:
        records = await self._file.current()
        try:
            return records.get(full_name(username.decode("utf-8"), self._default_domain))
        except (UnicodeDecodeError, NotAName):
            return None

    def _renew(self, record: Record, password: bytes) -> bool:
        """Hash with the parameters of today, with all keys, unless the password has been changed meanwhile."""
        try:
            self._edit(
                record.name, lambda old: self._line(old.name, password) if old.hash == record.hash else old.encode()
            )
        except (OSError, AccountUnknown):
            log.failure("The hash of {account} could not be renewed", account=record.name)
            return False
        return True

    # ------------------------------------------------------------ for the console command

    def names(self) -> list[str]:
        """Return the names of all accounts, in the order of the file."""
        return list(self._file.look())

    def add(self, name: str, password: str) -> str:
        """Make an account and return its full name.  Raises `NotAName`, `AccountExists`, `PasswordRefused`."""
        name = full_name(name, self._default_domain)
        line = self._line(name, _checked(password))

        def change(text: str) -> str:
            if name in read_records(text):
                raise AccountExists(f"There is an account {name} already")
            return replace_line(text, name, line)

        self._rewrite(change)
        return name

    def set_password(self, name: str, password: str) -> None:
        """Give an account another password.  Raises `NotAName`, `AccountUnknown`, `PasswordRefused`."""
        line = self._line(full_name(name, self._default_domain), _checked(password))
        self._edit(name, lambda _: line)

    def remove(self, name: str) -> None:
        """Remove an account; its mail stays where it is.  Raises `NotAName`, `AccountUnknown`."""
        self._edit(name, lambda _: None)

    def _edit(self, name: str, new_line: Callable[[Record], str | None]) -> None:
        name = full_name(name, self._default_domain)

        def change(text: str) -> str:
            record = read_records(text).get(name)
            if record is None:
                raise AccountUnknown(f"There is no account {name}")
            return replace_line(text, name, new_line(record))

        self._rewrite(change)

    def _rewrite(self, change: Callable[[str], str]) -> None:
        rewrite(self._path, change)
        self._file.forget()

    def _line(self, name: str, password: bytes) -> str:
        keys = {mechanism: make_keys(mechanism, password) for mechanism in HASHES}
        return Record(name, self._hasher.hash(password), keys).encode()


def _checked(password: str) -> bytes:
    octets = prepare_password(password.encode("utf-8", "surrogateescape"))
    if not octets:
        raise PasswordRefused("A password has at least one character")
    if b"\0" in octets:
        raise PasswordRefused("A password cannot hold a NUL")  # RFC 4616 section 2 separates with it
    if len(octets) > LONGEST_PASSWORD:
        raise PasswordRefused(f"A password has at most {LONGEST_PASSWORD} octets")
    return octets


def password_file(site: Site, path: str = "passwords", default_domain: str = "") -> PasswordFile:
    """
    Accounts in a text file of hashed passwords, edited by `mailfw user`.

    `path` is the file, relative to the data directory.  `default_domain` is the domain of those who log in
    with a bare name; without it that is the site's domain where it has only one.
    """
    return PasswordFile(site.data / os.fspath(path), site.reactor, default_domain or names.default_domain(site))
