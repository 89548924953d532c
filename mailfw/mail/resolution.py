"""What the directory knows about an address."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail.address import Address


@dataclass(frozen=True, slots=True)
class LocalAccount:
    """Mail for this address belongs to `account`; `detail` is what plus addressing put behind the ``+``."""

    account: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Expansion:
    """An alias: mail goes to each of `targets` instead; they are fully resolved local or remote addresses."""

    targets: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class NoSuchRecipient:
    """The domain is ours and has no such mailbox."""


@dataclass(frozen=True, slots=True)
class NotLocal:
    """The domain is not ours."""


Resolution = LocalAccount | Expansion | NoSuchRecipient | NotLocal


def account_of(address: Address, resolution: Resolution) -> LocalAccount | None:
    """
    Return the account that keeps mail for an address, None where it is somewhere else or nowhere.

    An alias that has itself among its targets keeps a copy in the account of its own name.
    """
    if isinstance(resolution, Expansion) and address in resolution.targets:
        return LocalAccount(f"{address.local}@{address.domain}")
    return resolution if isinstance(resolution, LocalAccount) else None
