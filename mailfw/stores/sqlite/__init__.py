"""
All mail in SQLite: the fastest store, for who wants speed and no other program at the files.

It is the index of `mailfw.stores.index` itself, with two differences: bodies are in it, and the accounts of a site
share a file.  A message, its summary, its UID and the numbers of its mailbox are one transaction; nothing has to be
compared with anything afterwards.  Bodies above 64 KiB are files beside it, synced before the commit that names them.

Why many accounts share a file: a commit costs a sync, and with one file for each account the deliveries of a moment
cost as many syncs as they have recipients (SQLite alone keeps 2,500 messages a second so, 20,000 in one file), three
descriptors for each account in use, and a schema to be read for each that comes.  Keys begin with the account all the
same, and no operation touches two.  What a file for each account would give, a copy of one user's mail, is what backing
up one account is for.  More than one file is for sites whose mail is too much for one; each has a committer of its own.

Durability: every commit is synced (write-ahead log, ``synchronous=FULL``); deliveries of all accounts that come
within one visit to a thread are one commit, and so are other changes that come while the last is written.

One connection writes each file and checkpoints it, and a lock keeps other processes away: SQLite from 3.7.0 to 3.51.2
may damage a file that two connections write or checkpoint at the same moment (see "The WAL Reset Bug" in its
documentation), and mapping files into memory makes it worse, so that is off.  Never open the files with another
program that might write, ``sqlite3`` among them, while mailfw runs; not on NFS either.
"""

from __future__ import annotations

from mailfw.disk import Disk
from mailfw.generations import Generations
from mailfw.interfaces import IMailStore, IQuotas
from mailfw.site import Site
from mailfw.stores.index.search_file import search_place
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.reading import ReadingStore
from mailfw.stores.sqlite.reading import ReadShards, SqliteBodies
from mailfw.stores.sqlite.shard import check_version
from mailfw.stores.sqlite.shards import Shards
from mailfw.stores.sqlite.source import SqliteSource
from mailfw.stores.threads import Threads


def sqlite(
    site: Site,
    quotas: IQuotas | None = None,
    path: str = "sqlite",
    files: int = 1,
    retention: float = 0,
    generations: Generations | None = None,
    writer: IMailStore | None = None,
    search: bool = True,
) -> IMailStore:
    """
    Keep mail in SQLite.

    `path` is the directory, below the site's data unless it is absolute.  `files` is over how many files the accounts
    are spread; it cannot be changed when there is mail.  With a `retention` expunged mail can come back.  With
    `search` messages are found by their text without being read: each account has a file for that, below ``search``.
    """
    if not 1 <= files <= 64:
        raise ValueError("files: 1 to 64")
    threads, disk = Threads(site.reactor), Disk()
    if generations is not None and writer is not None:
        files_read = ReadShards(site.data / path, files, threads, disk)
        return ReadingStore(files_read, SqliteBodies(files_read, threads, disk), writer, generations, threads)
    for there in (site.data / path).glob("mail-*.sqlite"):
        check_version(there)  # at the start, not when the first user logs in
    shards = Shards(site.data / path, files, threads, disk, retains=retention > 0)
    source = SqliteSource(shards, threads, disk)
    place = search_place(site.data / path / "search") if search else None
    return IndexedStore(
        source, shards, site.reactor, threads=threads, quotas=quotas, generations=generations, search=place
    )


__all__ = ["sqlite"]
