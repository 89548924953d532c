"""A checker of client certificates: what they name must be an account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailfw.accounts.names import NotAName, full_name
from mailfw.interfaces import IAccountList
from mailfw.sasl.credentials import IClientCertificate


@implementer(ICredentialsChecker)
class CertificateNames:
    """Lets a certificate's owner in as the first of its names that one of `accounts` has, or as the one asked for."""

    credentialInterfaces = (IClientCertificate,)

    def __init__(self, accounts: Sequence[IAccountList], default_domain: str) -> None:
        self._accounts = accounts
        self._default_domain = default_domain

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Return the account's name as UTF-8, or fail with `UnauthorizedLogin`."""
        return Deferred.fromCoroutine(self._check(credentials.username, credentials.names))

    async def _check(self, username: bytes, names: Sequence[str]) -> bytes | tuple[()]:
        asked = self._full(username.decode("utf-8")) if username else ""
        for name in names:
            full = self._full(name)
            if full is not None and asked in ("", full) and await self._exists(full):
                return full.encode("utf-8")
        raise UnauthorizedLogin

    def _full(self, name: str) -> str | None:
        try:
            return full_name(name, self._default_domain)
        except NotAName:
            return None

    async def _exists(self, name: str) -> bool:
        for accounts in self._accounts:
            if await accounts.has_account(name):
                return True
        return False
