"""The router of a site that delivers to its own mailboxes and nowhere else."""

from __future__ import annotations

from zope.interface import implementer

from mailfw.interfaces import IDirectory, IRouter
from mailfw.mail.address import Address
from mailfw.mail.resolution import NotLocal
from mailfw.site import Site

#: The courier that delivers into mailboxes.
MAILBOX = "mailbox"


@implementer(IRouter)
class LocalRouter:
    """Sends whatever is ours to the mailbox courier; an address that is nobody's too, which will say so."""

    def __init__(self, *, directory: IDirectory) -> None:
        self._directory = directory

    async def route(self, recipient: Address) -> str | None:
        """Return ``mailbox``, or None for a domain that is not ours."""
        resolution = await self._directory.resolve(recipient)
        return None if isinstance(resolution, NotLocal) else MAILBOX


def local(site: Site, directory: IDirectory) -> LocalRouter:
    """Deliver to the mailboxes of this site only."""
    return LocalRouter(directory=directory)
