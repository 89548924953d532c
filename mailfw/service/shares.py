"""What `mailfw mail share` and `mailfw mail shares` ask for: who may use whose mailboxes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NoSuchAccount, StoreRefusal
from mailfw.mail.mailbox import MailboxInfo
from mailfw.mail.rights import BadRights, format_rights, identifier_of, parse_rights
from mailfw.optional import ISharedMail
from mailfw.queue.operations import Refused

Line = dict[str, Any]


class SharedMailboxes:
    """Answers requests about what accounts share."""

    def __init__(self, store: IMailStore) -> None:
        self._store = store
        self.verbs = {"share": self.share, "shares": self.shares}

    async def share(self, request: Mapping[str, Any], body: object) -> AsyncIterator[Line]:
        """Give somebody exactly these rights to a mailbox."""
        owner, mailbox, user, rights = (_text(request, key) for key in ("account", "mailbox", "user", "rights"))
        try:
            identifier = identifier_of(user, owner.rpartition("@")[2])
            if identifier.removeprefix("-") == owner:
                raise Refused("the owner of a mailbox has all rights")
            info = await self._find(owner, mailbox)
            await self._shared().grant(owner, info.id, identifier, parse_rights(rights))
        except (StoreRefusal, BadRights) as refused:
            raise Refused(str(refused))
        yield _line(owner, info, identifier, rights)

    async def shares(self, request: Mapping[str, Any], body: object) -> AsyncIterator[Line]:
        """List what an account shares, then what is shared with it."""
        account = _text(request, "account")
        for info in await self._own(account):
            for identifier, rights in sorted((await self._shared().access(account, info.id)).items()):
                yield _line(account, info, identifier, format_rights(rights))
        for owner in sorted(await self._shared().shared_with(account) - {account}):
            async for line in self._with(owner, account):
                yield line

    async def _own(self, account: str) -> list[MailboxInfo]:
        try:
            return _in_order(await self._store.mailboxes(account))
        except NoSuchAccount:
            return []  # it has no mail yet, and may have been given something to see

    async def _with(self, owner: str, account: str) -> AsyncIterator[Line]:
        try:
            infos = await self._shared().mailboxes_for(owner, account)
        except StoreRefusal:
            return  # the owner has gone meanwhile
        for info in _in_order(infos):
            yield _line(owner, info, account, format_rights(info.rights))

    def _shared(self) -> ISharedMail:
        if not ISharedMail.providedBy(self._store):
            raise Refused("this store shares nothing")
        return ISharedMail(self._store)

    async def _find(self, owner: str, name: str) -> MailboxInfo:
        self._shared()
        for info in await self._store.mailboxes(owner):
            here = "/".join(info.path)
            if here == name or here == name.upper() == "INBOX":
                return info
        raise Refused(f"{owner} has no mailbox {name!r}")


def _in_order(infos: list[MailboxInfo]) -> list[MailboxInfo]:
    return sorted(infos, key=lambda info: info.path)


def _line(owner: str, info: MailboxInfo, identifier: str, rights: str) -> Line:
    return {"owner": owner, "mailbox": "/".join(info.path), "user": identifier, "rights": rights}


def _text(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key, "")
    if not isinstance(value, str):
        raise Refused(f"{key} must be text")
    return value
