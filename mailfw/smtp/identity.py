"""Send-as control: an account sends as itself and its aliases (RFC 6409 section 6.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from mailfw.interfaces import IContent, IDirectory
from mailfw.mail.address import Address, normalise_domain
from mailfw.mail.address_list import parse_addresses
from mailfw.mail.message import read_header
from mailfw.mail.resolution import Expansion, LocalAccount

#: Targets of an alias that are looked up; a list with more members is nobody's own address.
MOST_TARGETS = 20
#: The fields that say who has written a message, and who has sent it (RFC 5322 section 3.6.2).
_AUTHORS = (b"from", b"sender")


async def may_send_as(directory: IDirectory, account: str, address: Address) -> bool:
    """Whether mail to an address comes to the account: it is its own, with any detail, or an alias that leads there."""
    if f"{address.local}@{address.domain}".lower() == account:
        return True
    resolution = await directory.resolve(address)
    if not isinstance(resolution, Expansion):
        return isinstance(resolution, LocalAccount) and resolution.account == account
    for target in resolution.targets[:MOST_TARGETS]:
        if f"{target.local}@{target.domain}".lower() == account:
            return True
        found = await directory.resolve(target)
        if isinstance(found, LocalAccount) and found.account == account:
            return True
    return False


async def has_own_authors(directory: IDirectory, account: str, content: IContent) -> bool:
    """Whether all addresses in From and Sender are the account's; what cannot be read as an address is not."""
    async for address in _authors(content):
        if address is None or not await may_send_as(directory, account, address):
            return False
    return True


async def _authors(content: IContent) -> AsyncIterator[Address | None]:
    header = await read_header(content)
    for name in _AUTHORS:
        for value in header.values(name):
            found = [each for each in parse_addresses(value) if each.host is not None]
            if not found:
                yield None
            for each in found:
                yield _read(each.mailbox, each.host)


def _read(mailbox: bytes | None, host: bytes | None) -> Address | None:
    try:
        return Address((mailbox or b"").decode("utf-8"), normalise_domain((host or b"").decode("utf-8")))
    except ValueError:
        return None
