"""What `mailfw mail` asks for: what an account keeps, what was expunged from it, and to have that back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from mailfw.interfaces import IMailStore
from mailfw.mail.failure import StoreRefusal
from mailfw.mail.message import Header, read_header
from mailfw.mail.retained import Retained
from mailfw.mail.words import decode_words
from mailfw.optional import IRetainedMail
from mailfw.queue.operations import Refused

Line = dict[str, Any]

#: What each filter of a request must be.
_KINDS: Mapping[str, Any] = {"since": (int, float), "mailbox": str, "subject": str, "sender": str}


@dataclass(frozen=True, slots=True)
class _Found:
    message: Retained
    subject: str
    sender: str


class ExpungedMail:
    """Answers requests about the mail of one account."""

    def __init__(self, store: IMailStore) -> None:
        self._store = store
        self.verbs = {"usage": self.usage, "retained": self.retained, "undelete": self.undelete}

    async def usage(self, request: Mapping[str, Any], body: object) -> AsyncIterator[Line]:
        """Say what an account keeps, what it may, and what it could have back."""
        account = await self._account(request)
        quota = await self._store.quota(account)
        kept = [each async for batch in self._retaining().retained(account) for each in batch] if self._retains else []
        yield {
            "octets": quota.octets,
            "messages": quota.messages,
            "octet_limit": quota.octet_limit,
            "message_limit": quota.message_limit,
            "retained_octets": sum(each.size for each in kept),
            "retained_messages": len(kept),
        }

    async def retained(self, request: Mapping[str, Any], body: object) -> AsyncIterator[Line]:
        """List what could come back."""
        account = await self._account(request)
        async for found in self._find(account, _where(request), has_names=True):
            message = found.message
            yield {
                "id": message.id,
                "mailbox": "/".join(message.path),
                "expunged": message.expunged,
                "received": message.received,
                "size": message.size,
                "flags": sorted(message.flags),
                "from": found.sender,
                "subject": found.subject,
            }

    async def undelete(self, request: Mapping[str, Any], body: object) -> AsyncIterator[Line]:
        """Put back what the filters leave."""
        account = await self._account(request)
        ids = {found.message.id async for found in self._find(account, _where(request), has_names=False)}
        try:
            yield {"done": await self._retaining().undelete(account, ids)}
        except StoreRefusal as refused:
            raise Refused(str(refused))

    # ------------------------------------------------------------

    async def _account(self, request: Mapping[str, Any]) -> str:
        account = request.get("account", "")
        if not isinstance(account, str):
            raise Refused("account must be text")
        try:
            await self._store.mailboxes(account)
        except StoreRefusal as refused:
            raise Refused(str(refused))
        return account

    @property
    def _retains(self) -> bool:
        return IRetainedMail.providedBy(self._store)

    def _retaining(self) -> IRetainedMail:
        if not self._retains:
            raise Refused("this store keeps nothing of what was expunged")
        return IRetainedMail(self._store)

    async def _find(self, account: str, where: Mapping[str, Any], has_names: bool) -> AsyncIterator[_Found]:
        """Yield what the filters leave; headers are read only where somebody wants to know."""
        store = self._retaining()
        reads = has_names or "subject" in where or "sender" in where
        async for batch in store.retained(account):
            for each in batch:
                if not _fits(each, where):
                    continue
                header = await _header(store, account, each.id) if reads else Header(b"")
                found = _Found(each, _text(header, b"subject"), _text(header, b"from"))
                if _is_part(where.get("subject", ""), found.subject) and _is_part(
                    where.get("sender", ""), found.sender
                ):
                    yield found


def _where(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read the filters; one that is not known must not widen what is meant."""
    where = request.get("where", {})
    if not isinstance(where, dict) or not where.keys() <= _KINDS.keys():
        raise Refused("this server does not know all of these filters")
    for key, value in where.items():
        if not isinstance(value, _KINDS[key]):
            raise Refused(f"{key} has no such value")
    return where


def _fits(message: Retained, where: Mapping[str, Any]) -> bool:
    mailbox = where.get("mailbox")
    here = mailbox is None or "/".join(message.path).casefold() == mailbox.casefold()
    return bool(here and message.expunged >= where.get("since", 0))


def _is_part(wanted: str, text: str) -> bool:
    return wanted.casefold() in text.casefold()


def _text(header: Header, name: bytes) -> str:
    return decode_words(next(iter(header.values(name)), b""))


async def _header(store: IRetainedMail, account: str, id_: str) -> Header:
    content = await store.retained_content(account, id_)
    if content is None:
        return Header(b"")
    try:
        return await read_header(content)
    finally:
        await content.close()
