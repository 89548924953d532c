"""Forwarding in our own name: senders are rewritten on the way out (SRS), and lead back to who they were."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from twisted.logger import Logger
from zope.interface import implementer

from mailfw.interfaces import IDirectory
from mailfw.mail.address import Address
from mailfw.mail.resolution import Expansion, NoSuchRecipient, Resolution
from mailfw.mail.srs import Forged, NotSRS, reverse, rewrite
from mailfw.site import Site

log = Logger()

_SECRET_OCTETS = 32
_PREFIXES = ("srs0", "srs1")


class SenderRewriting:
    """Rewrites and reads senders with this site's secret, which is made when it is first needed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known: bytes | None = None

    def rewrite(self, sender: Address, forwarder: Address) -> Address:
        """Return the sender under which mail for one of our addresses is passed on; ours stay as they are."""
        if sender.domain in self._site.domains:
            return sender
        return rewrite(sender, forwarder.domain, self._secret(), self._site.reactor.seconds())

    def original(self, address: Address) -> Address | None:
        """Return who a rewritten address of ours stands for, None for every other.  Raises `Forged`."""
        if address.local[:4].lower() not in _PREFIXES or address.domain not in self._site.domains:
            return None
        try:
            return reverse(address, self._secret(), self._site.reactor.seconds())
        except NotSRS:
            return None

    def _secret(self) -> bytes:
        if self._known is None:
            self._known = read_secret(self._site.data / "srs.secret")
        return self._known


def read_secret(path: Path) -> bytes:
    """Return the secret in a file, which is made, for us alone to read, where there is none."""
    try:
        return bytes.fromhex(path.read_text("ascii"))
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(_SECRET_OCTETS).encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, path)  # never over a secret that another process has made meanwhile
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return bytes.fromhex(path.read_text("ascii"))


@implementer(IDirectory)
class ReturningDirectory:
    """A directory that knows rewritten senders too: mail for one is mail for who it was, as long as we believe it."""

    def __init__(self, directory: IDirectory, rewriting: SenderRewriting) -> None:
        self._directory = directory
        self._rewriting = rewriting

    async def resolve(self, address: Address) -> Resolution:
        """Return what the address stands for."""
        try:
            original = self._rewriting.original(address)
        except Forged as reason:
            log.info("{address} is refused: {reason}", address=str(address), reason=str(reason))
            return NoSuchRecipient()
        return await self._directory.resolve(address) if original is None else Expansion((original,))
