"""What every part of a running server may know about the site it serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Site:
    """
    The facts a plug-in's factory can ask for by having a parameter named ``site``.

    `domains` are the domains we receive mail for, normalised.  `data` is the one directory anything may be
    written to.  `reactor` provides `IReactorTime` and `IReactorThreads`.
    """

    hostname: str
    domains: frozenset[str]
    data: Path
    reactor: Any
