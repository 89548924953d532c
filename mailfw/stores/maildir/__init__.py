"""Mail in Maildir++ directories, one file for each message, with the control files of Dovecot."""

from __future__ import annotations

from mailfw.generations import Generations
from mailfw.interfaces import IMailStore, IQuotas
from mailfw.site import Site
from mailfw.stores.index.read_only import ReadDatabases
from mailfw.stores.index.search_file import search_place
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.maildir.reading import MaildirBodies
from mailfw.stores.maildir.source import MaildirSource
from mailfw.stores.reading import ReadingStore
from mailfw.stores.threads import Threads


def maildir(
    site: Site,
    path: str = "mail",
    quotas: IQuotas | None = None,
    retention: float = 0,
    generations: Generations | None = None,
    writer: IMailStore | None = None,
    search: bool = True,
) -> IMailStore:
    """
    Keep mail in maildirs that Dovecot, mutt and others can read and write at the same time.

    `path` is the directory of all accounts, below the site's data unless it is absolute: the maildir of
    ``ann@example.org`` is ``mail/example.org/ann``, with mailfw's index in it.  With a `retention` expunged mail can
    come back.  With `search` messages are found by their text without being read.
    """
    root, threads = site.data / path, Threads(site.reactor)
    if generations is not None and writer is not None:
        return ReadingStore(ReadDatabases(root, threads), MaildirBodies(root, threads), writer, generations, threads)
    source = MaildirSource(root, threads, retains=retention > 0)
    place = search_place(root) if search else None
    return IndexedStore(
        source, root, site.reactor, threads=threads, quotas=quotas, generations=generations, search=place
    )


__all__ = ["maildir"]
