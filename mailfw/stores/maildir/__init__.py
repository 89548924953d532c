"""Mail in Maildir++ directories, one file for each message, with the control files of Dovecot."""

from __future__ import annotations

from mailfw.site import Site
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.maildir.source import MaildirSource
from mailfw.stores.threads import Threads


def maildir(site: Site, path: str = "mail") -> IndexedStore:
    """
    Keep mail in maildirs that Dovecot, mutt and others can read and write at the same time.

    `path` is the directory of all accounts, below the site's data unless it is absolute: the maildir of
    ``ann@example.org`` is ``mail/example.org/ann``, with mailfw's index in it.
    """
    root, threads = site.data / path, Threads(site.reactor)
    return IndexedStore(MaildirSource(root, threads), root, site.reactor, threads=threads)


__all__ = ["maildir"]
