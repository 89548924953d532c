"""Mailboxes that several users share, on top of any store that keeps who may do what."""

from __future__ import annotations

from mailfw.interfaces import IMailStore
from mailfw.optional import ISharedMail
from mailfw.sharing.store import SharingStore


def view_of(store: IMailStore, with_anyone: bool = False) -> IMailStore:
    """
    Return a store as a user sees it during one login: with what others share, where the store knows of that.

    `with_anyone` lets him share with everybody.
    """
    return SharingStore(store, with_anyone) if ISharedMail.providedBy(store) else store


__all__ = ["view_of"]
