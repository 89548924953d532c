"""Mail in Maildir++ directories, one file for each message, with the control files of Dovecot."""

from __future__ import annotations

from mailfw.interfaces import IQuotas
from mailfw.site import Site
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.maildir.source import MaildirSource
from mailfw.stores.threads import Threads


def maildir(site: Site, path: str = "mail", quotas: IQuotas | None = None, retention: float = 0) -> IndexedStore:
    """
    Keep mail in maildirs that Dovecot, mutt and others can read and write at the same time.

    `path` is the directory of all accounts, below the site's data unless it is absolute: the maildir of
    ``ann@example.org`` is ``mail/example.org/ann``, with mailfw's index in it.  With a `retention` expunged mail can
    come back.
    """
    root, threads = site.data / path, Threads(site.reactor)
    source = MaildirSource(root, threads, retains=retention > 0)
    return IndexedStore(source, root, site.reactor, threads=threads, quotas=quotas)


__all__ = ["maildir"]
