"""What a server that was told nothing makes for itself: its directory, a certificate and a first account."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import secrets
import stat
import time
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from mailfw.commands.language import LOCK
from mailfw.configuration import Configuration, ConfigurationRefused, Source
from mailfw.service.ports import CannotStart
from mailfw.tls.certificates import CertificateRefused, Certificates, KeyPair
from mailfw.tls.self_signed import PEM, write

#: Seconds to wait for whoever holds the data directory.
_OTHERS_PATIENCE = 5.0


def make_directory(data: Path, owner: tuple[int | None, int | None]) -> None:
    """Make the data directory, while we still may, for the user that we are about to become.  Raises `CannotStart`."""
    uid, gid = owner
    if uid is not None and gid is None:
        gid = pwd.getpwuid(uid).pw_gid  # as twistd does
    try:
        ours = [each for each in (data, *data.parents) if not each.exists()]
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in ours or _made_by_commands(data):
            os.chown(each, -1 if uid is None else uid, -1 if gid is None else gid)
    except OSError as reason:
        raise CannotStart(f"data directory {data}: {reason.strerror}")


def _made_by_commands(data: Path) -> list[Path]:
    """
    Return the directory and what is in it if root's ``mailfw user add`` made them, before any server was there.

    Such a directory is nobody else's business yet, and holds nothing but files that have a lock beside them.
    """
    files = list(data.iterdir())
    status = [each.lstat() for each in (data, *files)]
    private = all(each.st_uid == 0 and not each.st_mode & 0o077 for each in status)
    names = {each.name for each in files}
    plain = all(stat.S_ISREG(each.st_mode) for each in status[1:])
    locked = all(name.removesuffix(".lock") + ".lock" in names for name in names)
    served = LOCK in names
    return [data, *files] if files and private and plain and locked and not served else []


class InUse(Exception):
    """Another process holds the data directory; the text says which."""


def lock(data: Path) -> int:
    """Do what `hold` does, for a server.  Raises `CannotStart`."""
    try:
        return hold(data)
    except InUse as reason:
        raise CannotStart(str(reason))


def hold(data: Path) -> int:
    """
    Return a descriptor that holds the data directory for this process alone.  Raises `InUse` and `CannotStart`.

    A command that answers in the server's place holds it for a moment, which must not keep the server from starting.
    """
    path = data / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as reason:
        raise CannotStart(
            f"{path}: {reason.strerror}; {data} and all in it must belong to the user that mailfw runs as"
        )
    until = time.monotonic() + _OTHERS_PATIENCE
    while not _held(descriptor):
        if time.monotonic() > until:
            other = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise InUse(f"{data} is in use by another mailfw, process {other}")
        time.sleep(0.05)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return descriptor


def _held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# ---------------------------------------------------------------- certificates


def configured_certificates(configuration: Configuration) -> Certificates | None:
    """Load what the configuration names, None where it names nothing.  Raises `CertificateRefused`."""
    files = configuration.tls
    pair = KeyPair(files.certificate, files.key) if files.certificate and files.key else None
    if pair is None and files.directory is None:
        return None
    return Certificates(configuration.hostname, pair, files.directory, files.client_authorities)


def own_pair(configuration: Configuration) -> KeyPair:
    """Return where the self-signed certificate is, or will be."""
    folder = configuration.data / "tls"
    return KeyPair(folder / "certificate.pem", folder / "key.pem")


def own_certificates(configuration: Configuration, fresh: PEM) -> Certificates:
    """Load the self-signed certificate; where there is none yet, it is `fresh`.  Raises `CannotStart`."""
    pair = own_pair(configuration)
    try:
        if not pair.certificate.exists():
            write(fresh, pair.certificate, pair.key)
        return Certificates(configuration.hostname, pair, authorities=configuration.tls.client_authorities)
    except CertificateRefused as reason:
        raise CannotStart(str(reason))
    except OSError as reason:
        raise CannotStart(f"{reason.filename}: {reason.strerror}")


def check_certificates(source: Source, configuration: Configuration) -> None:
    """Refuse certificates that cannot be used.  Raises `ConfigurationRefused`."""
    try:
        configured_certificates(configuration)
    except CertificateRefused as reason:
        raise ConfigurationRefused(f"{source.refuse(('tls',), str(reason))}")


# ---------------------------------------------------------------- the first account


async def make_first_account(checker: Any, domain: str, reactor: Any) -> tuple[str, str | None]:
    """
    Return an account to try the server with, and its password where the account was made just now.

    `checker` keeps accounts that can be edited.  Whatever blocks runs in a thread.
    """

    def make() -> tuple[str, str | None]:
        names = checker.names()
        if names:
            return names[0], None
        # 80 bits, and no character that a shell or a person could take for another.
        password = "-".join(
            "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(4)) for _ in range(4)
        )
        return checker.add(f"postmaster@{domain}", password), password

    made: tuple[str, str | None] = await deferToThreadPool(reactor, reactor.getThreadPool(), make)
    return made


def release(descriptor: int) -> None:
    """Let go of the lock."""
    with contextlib.suppress(OSError):
        os.close(descriptor)
