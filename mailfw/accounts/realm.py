"""The realm: gives whoever has proved to be a user the account and its mail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.cred.error import LoginDenied
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from mailfw.accounts.names import NotAName, full_name
from mailfw.interfaces import IAccount, IMailStore

#: What `twisted.cred` wants back: the interface, the avatar, and what to call at the end of the session.
Login = tuple[type[Interface], object, Callable[[], None]]


@implementer(IAccount)
@dataclass(frozen=True, slots=True)
class Account:
    """One user's account, and the store that has its mail."""

    name: str
    store: IMailStore


def _as_it_is(store: IMailStore) -> IMailStore:
    return store


@implementer(IRealm)
class MailRealm:
    """The accounts of one store; `view` returns it as the user of one login sees it."""

    def __init__(self, store: IMailStore, view: Callable[[IMailStore], IMailStore] = _as_it_is) -> None:
        self._store = store
        self._view = view

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]) -> Deferred[Login]:  # noqa: N803
        """Return the `IAccount` of an avatar id, which is the account's name as UTF-8; anonymous users have none."""
        return Deferred.fromCoroutine(self._open(avatarId, interfaces))

    async def _open(self, avatar_id: bytes | tuple[()], interfaces: tuple[type[Interface], ...]) -> Login:
        if IAccount not in interfaces:
            raise LoginDenied("This realm gives IAccount alone")
        try:
            name = full_name(bytes(avatar_id).decode("utf-8"), "")
        except (UnicodeDecodeError, NotAName):
            raise LoginDenied("No account can have this name")
        await self._store.open_account(name)
        return IAccount, Account(name, self._view(self._store)), lambda: None
