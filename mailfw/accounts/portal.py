"""Several checkers behind one portal, the stock ones of `twisted.cred` among them."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from twisted.cred.checkers import (
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import Interface, implementer

from mailfw.accounts.certificates import CertificateNames
from mailfw.accounts.names import NotAName, full_name
from mailfw.accounts.pretence import PretendKeys
from mailfw.accounts.textfile import WatchedFile
from mailfw.interfaces import IAccountList
from mailfw.sasl.credentials import IScramKeyring, IScramProof
from mailfw.sasl.keys import ScramKeys

log = Logger()


def build_portal(
    realm: IRealm,
    checkers: Sequence[Any],
    default_domain: str,
    accounts: Sequence[IAccountList] = (),
    secret: Callable[[], Awaitable[bytes]] | None = None,
) -> Portal:
    """
    Return a portal whose ``login(credentials, None, IAccount)`` asks each of the checkers, in order.

    A client certificate opens what it names among `accounts`.  `secret` should be the same after a restart: it keeps
    strangers from telling accounts from other names by their SCRAM salts.
    """
    by_certificate = [CertificateNames(accounts, default_domain)] if accounts else []
    return Portal(realm, [CheckerChain([*checkers, *by_certificate], default_domain, secret)])


#: What every checker of passwords must be able to judge before anybody is offered it: a client that is offered SCRAM
#: uses it, and its user may be one of the next checker's.
_FOR_ALL = frozenset({IScramProof, IUsernameHashedPassword})
#: Credentials whose name is what somebody typed.
_TYPED = (IUsernamePassword, IUsernameHashedPassword)


@implementer(ICredentialsChecker, IScramKeyring)
class CheckerChain:
    """
    Asks checkers one after the other until one knows the user; avatar ids become full account names.

    A checker that is no `IAccountList` of ours may know its users by bare names: it is asked for the name as it was
    typed, then in full, then bare if its domain is `default_domain`.  A checker that fails otherwise than by
    refusing does not hide those after it, but its failure is told when none of them knows the user.
    """

    def __init__(
        self,
        checkers: Sequence[Any],
        default_domain: str,
        secret: Callable[[], Awaitable[bytes]] | None = None,
    ) -> None:
        self._checkers = checkers
        self._default_domain = default_domain
        self._pretence = PretendKeys(secret)
        interfaces = dict.fromkeys(interface for checker in checkers for interface in checker.credentialInterfaces)
        self.credentialInterfaces = tuple(each for each in interfaces if each not in _FOR_ALL or self._can_all(each))

    def _can_all(self, interface: type[Interface]) -> bool:
        of_passwords = [checker for checker in self._checkers if _takes(checker, *_TYPED)]
        return all(_takes(checker, interface) for checker in of_passwords)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Return the account's name as UTF-8."""
        return Deferred.fromCoroutine(self._ask_all(credentials))

    async def scram_keys(self, username: bytes, mechanism: str) -> ScramKeys:
        """Return the keys of the first checker that knows the name; nobody's, which stay the same, if none does."""
        pretended = await self._pretence.keys(self._canonical(username), mechanism)
        fault: Exception | None = None
        for checker in self._checkers:
            if not IScramKeyring.providedBy(checker):
                continue
            try:
                keys: ScramKeys | None = await checker.scram_keys(username, mechanism)
            except Exception as failed:
                fault = fault or failed
                continue
            if keys is not None:
                return keys
        if fault is not None:
            raise fault
        return pretended

    def _canonical(self, username: bytes) -> str:
        name = username.decode("utf-8", "replace")
        try:
            return full_name(name, self._default_domain)
        except NotAName:
            return name.lower()

    async def _ask_all(self, credentials: Any) -> bytes | tuple[()]:
        fault: Exception | None = None
        for checker in self._checkers:
            if not any(interface.providedBy(credentials) for interface in checker.credentialInterfaces):
                continue
            try:
                return await self._ask(checker, credentials)
            except (UnauthorizedLogin, LoginDenied):
                continue
            except Exception as failed:
                fault = fault or failed
        raise fault or UnauthorizedLogin()

    async def _ask(self, checker: Any, credentials: Any) -> bytes:
        for attempt in self._spellings(checker, credentials):
            try:
                avatar = await maybeDeferred(checker.requestAvatarId, attempt)
                return full_name(bytes(avatar).decode("utf-8"), self._default_domain).encode("utf-8")
            except UnauthorizedLogin:
                continue
            except (UnicodeDecodeError, NotAName):
                log.warn("{checker} let somebody in whose name is no account's", checker=type(checker).__qualname__)  # noqa: G010  # Twisted has no longer name
        raise UnauthorizedLogin

    def _spellings(self, checker: Any, credentials: Any) -> Iterator[Any]:
        yield credentials
        if IAccountList.providedBy(checker) or not any(each.providedBy(credentials) for each in _TYPED):
            return
        typed = credentials.username
        try:
            full = full_name(typed.decode("utf-8"), self._default_domain)
        except (UnicodeDecodeError, NotAName):
            return
        local, _, domain = full.rpartition("@")
        for name in [full, local] if domain == self._default_domain else [full]:
            if name.encode("utf-8") != typed:
                other = copy.copy(credentials)
                other.username = name.encode("utf-8")
                yield other


def _takes(checker: Any, *interfaces: type[Interface]) -> bool:
    return any(interface in checker.credentialInterfaces for interface in interfaces)


@runtime_checkable
class OrderedAccounts(Protocol):
    """A list of accounts that knows which one is the first: postmaster's mail goes there."""

    async def first_account(self) -> str | None:
        """Return the first account's name, None while there is none."""


def account_list(checker: Any, reactor: Any, default_domain: str) -> IAccountList | None:
    """Return the accounts a checker knows; None where it cannot tell."""
    if IAccountList.providedBy(checker):
        listed: IAccountList = checker
        return listed
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        return MemoryAccounts(checker, default_domain)
    if isinstance(checker, FilePasswordDB):
        return FileAccounts(checker, reactor, default_domain)
    return None


def _named(names: Sequence[bytes], default_domain: str) -> list[str]:
    full: list[str] = []
    for name in names:
        try:
            full.append(full_name(name.decode("utf-8"), default_domain))
        except (UnicodeDecodeError, NotAName):
            log.warn("A checker has a user whose name is no account's")  # noqa: G010  # Twisted has no longer name
    return full


@implementer(IAccountList)
class MemoryAccounts:
    """The accounts of a stock ``memory:`` checker."""

    def __init__(self, checker: InMemoryUsernamePasswordDatabaseDontUse, default_domain: str) -> None:
        self._checker = checker
        self._default_domain = default_domain

    async def has_account(self, name: str) -> bool:
        """Whether the checker has this user."""
        return name in _named(list(self._checker.users), self._default_domain)

    async def first_account(self) -> str | None:
        """Return the first user."""
        return next(iter(_named(list(self._checker.users), self._default_domain)), None)


@implementer(IAccountList)
class FileAccounts:
    """The accounts of a stock ``file:`` checker."""

    def __init__(self, checker: FilePasswordDB, reactor: Any, default_domain: str) -> None:
        self._checker = checker
        self._default_domain = default_domain
        self._file = WatchedFile(Path(checker.filename), self._read, reactor)

    def _read(self, text: str) -> dict[str, None]:
        rows = (line.split(self._checker.delim) for line in text.encode("utf-8", "surrogateescape").split(b"\n"))
        users = [
            row[self._checker.ufield] for row in rows if len(row) > max(self._checker.ufield, self._checker.pfield)
        ]
        return dict.fromkeys(_named(users, self._default_domain))

    async def has_account(self, name: str) -> bool:
        """Whether the file has this user."""
        return name in await self._file.current()

    async def first_account(self) -> str | None:
        """Return the first user."""
        return next(iter(await self._file.current()), None)
