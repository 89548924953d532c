"""How many workers a server has that was not told how many."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.python.util import switchUID

import mailfw
from mailfw.cluster.custody import COUNTING
from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices

#: More processes than this help nobody.
MOST_WORKERS = 256
#: Endpoints that are nothing but a socket.
_SOCKETS = (TCP4ServerEndpoint, TCP6ServerEndpoint, UNIXServerEndpoint, AdoptedStreamServerEndpoint)


def one_for_each_core() -> int:
    """Return as many as there are processors for us; a single one is served best by a single process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if cores > 1 else 0


def why_alone(
    configuration: Configuration,
    choices: Choices,
    file: Path | None,
    owner: tuple[int | None, int | None],
    is_open: Collection[str] = (),
) -> str:
    """
    Return why a single process is wanted where nobody asked for workers; nothing where they do no harm.

    `owner` is the uid and gid that we change to, after which a worker has to read `file`, which the configuration is
    from.  Endpoints in `is_open` are sockets that are open already.
    """
    store = choices.store
    if not (store.takes("writer") or store.point == "source"):
        return f"the store {store.name!r} cannot be read by other processes"
    for _, recipe in choices.policy:
        if not (recipe.takes("tally") or hasattr(recipe.factory, COUNTING) or _is_ours(recipe.factory)):
            return f"the policy {recipe.name!r} does not say what it remembers"
    for service, endpoint in configuration.listen.endpoints():
        if service != "http" and endpoint not in is_open and not _is_socket(endpoint):
            return f"{endpoint!r} of listen.{service} cannot be shared"
    if owner != (None, None) and not _may_read(owner, _needed(configuration, file)):
        return "the user it changes to cannot read Python, the configuration or a key"
    return ""


def _needed(configuration: Configuration, file: Path | None) -> list[Path]:
    """Return what a worker reads before it is ready."""
    tls = configuration.tls
    folder = [tls.directory, *tls.directory.rglob("*")] if tls.directory else []
    named = [each for each in (file, tls.certificate, tls.key, tls.client_authorities) if each]
    return [Path(sys.executable), Path(mailfw.__file__), *named, *folder]


def _may_read(owner: tuple[int | None, int | None], paths: Sequence[Path]) -> bool:
    """Whether another user may read all of these; a process of its own tries, since only the system knows."""
    child = os.fork()
    if child == 0:
        try:
            switchUID(*owner)
            os._exit(not all(os.access(each, os.R_OK) for each in paths))
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _is_ours(factory: Callable[..., object]) -> bool:
    return str(getattr(factory, "__module__", "")).startswith("mailfw.")


def _is_socket(endpoint: str) -> bool:
    reactor: Any
    from twisted.internet import reactor

    return isinstance(serverFromString(reactor, endpoint), _SOCKETS)
