"""The HTTP listener: a status page, a health check, and autoconfiguration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Protocol

from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import Site

from mailfw import __version__
from mailfw.http.autoconfig import Listener, autoconfig


class Status(Protocol):
    """What the pages tell, asked anew for each request."""

    @property
    def hostname(self) -> str:
        """How the server calls itself."""

    @property
    def domains(self) -> Sequence[str]:
        """What it receives mail for."""

    @property
    def listeners(self) -> Sequence[Listener]:
        """What is open."""

    @property
    def is_ready(self) -> bool:
        """Whether mail can be taken and read."""

    def connections(self) -> dict[str, int]:
        """Return how many there are now, by service."""


class Page(Resource):
    """One page that somebody writes when it is asked for."""

    isLeaf = True

    def __init__(self, kind: str, write: Callable[[Any], bytes]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        self._kind = kind
        self._write = write

    def render_GET(self, request: Any) -> bytes:
        """Answer GET, and HEAD by way of it."""
        request.setHeader("Content-Type", self._kind)
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("X-Content-Type-Options", "nosniff")
        request.setHeader("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        return self._write(request)


class Folder(Resource):
    """A step on the way to a page, and no page itself."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's is untyped

    def render(self, request: Any) -> Any:
        """Answer 404, whatever the method."""
        return notFound().render(request)


def http_site(status: Status) -> Site:
    """Return the factory for ``listen.http``."""
    pages = Page("application/xml; charset=utf-8", lambda _: _autoconfig(status))
    root = Folder()
    root.putChild(b"", Page("text/html; charset=utf-8", lambda _: _status_page(status)))
    root.putChild(b"health", Page("text/plain; charset=utf-8", lambda request: _health(status, request)))
    for path in ((b".well-known", b"autoconfig", b"mail"), (b"mail",)):
        folder = root
        for step in path:
            below = Folder()
            folder.putChild(step, below)
            folder = below
        folder.putChild(b"config-v1.1.xml", pages)
    site = Site(root, timeout=30)
    site.noisy = False
    site.displayTracebacks = False
    # One log event a connection is enough, and a health check is not worth one.
    site.log = lambda request: None  # type: ignore[method-assign]  # Twisted's way to say so is a subclass
    return site


def _autoconfig(status: Status) -> bytes:
    return autoconfig(status.hostname, status.domains, status.listeners)


def _health(status: Status, request: Any) -> bytes:
    if status.is_ready:
        return b"ok\n"
    request.setResponseCode(503)
    return b"not ready\n"


def _status_page(status: Status) -> bytes:
    connections = status.connections()
    rows = "".join(
        f"<tr><td>{escape(each.service)}<td>{escape(str(each))}<td>{connections.get(each.service, 0)}"
        for each in status.listeners
    )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>mailfw on {escape(status.hostname)}</title>'
        "<style>body{font:1rem/1.5 sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}"
        "td,th{text-align:left;padding:.2rem 1rem .2rem 0}</style>"
        f"<h1>{escape(status.hostname)}</h1><p>mailfw {__version__}, "
        f"{'ready' if status.is_ready else 'not ready'}, receives mail for {escape(', '.join(status.domains))}."
        f"<table><tr><th>service<th>listens on<th>connections{rows}</table></html>\n"
    )
    return page.encode("utf-8")
