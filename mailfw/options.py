"""The command line of ``twistd mailfw`` and ``twist mailfw``."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.endpoints import serverFromString
from twisted.python import usage

from mailfw import __version__
from mailfw.automatic import MOST_WORKERS, one_for_each_core, why_alone
from mailfw.configuration import Configuration, ConfigurationRefused, Source, usual_file
from mailfw.configuration.choices import Choices, read
from mailfw.plugins import with_octets

#: As many as suit the machine and the configuration.
AUTO = "auto"


def _count(text: str) -> int | str:
    if text == AUTO:
        return AUTO
    count = int(text)
    if not 0 <= count <= MOST_WORKERS:
        raise ValueError(f"there can be 0 to {MOST_WORKERS} workers")
    return count


class Options(AuthOptionMixin, usage.Options):
    """Which configuration to use.  After parsing it is in `source`, `configuration` and `choices`."""

    supportedInterfaces = (IUsernamePassword,)
    synopsis = "[--config FILE] [--set KEY=VALUE]… [--auth METHOD]…"
    longdesc = (
        "A mail server: SMTP, submission, LMTP, IMAP and POP3.  Without a configuration it serves localhost from "
        "./var, on loopback ports.  `mailfw config show` prints every key; `mailfw plugins` every plug-in."
    )
    optParameters = (
        ["config", "c", None, "The configuration, a TOML file."],
        [
            "workers",
            "w",
            AUTO,
            "Processes that speak with clients: a number, or auto for one per core; 0 is one process for everything.",
            _count,
        ],
    )

    source: Source
    configuration: Configuration
    choices: Choices

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        self["settings"] = []
        #: What ``--auth`` was given, for workers.
        self.auth: list[str] = []
        #: Why there are no workers though there are cores for them.
        self.why_alone = ""

    def opt_set(self, setting: str) -> None:
        """Set one key, e.g. 'listen.smtp=["tcp:25"]'; it wins over the file."""
        self["settings"].append(setting)

    opt_s = opt_set

    def opt_auth(self, description: str) -> None:
        """Specify an authentication method for the server."""
        super().opt_auth(description)  # type: ignore[no-untyped-call]  # Twisted's is untyped
        self.auth.append(description)

    def opt_version(self) -> None:
        """Display mailfw's version and exit."""
        print(f"mailfw {__version__}")  # noqa: T201  # what --version is for
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Read the configuration; what is wrong with it is said before anything starts."""
        file = Path(self["config"]) if self["config"] else usual_file()
        try:
            self.source, self.configuration, self.choices = read(file, self["settings"])
            check_endpoints(self.source, self.configuration, left_open())
        except ConfigurationRefused as refused:
            raise usage.UsageError(str(refused))
        if self["workers"] == AUTO:
            self["workers"] = self._suitable_count()

    def _suitable_count(self) -> int:
        count = one_for_each_core()
        if count:
            self.why_alone = why_alone(self.configuration, self.choices, self.source.file, self.owner, left_open())
        return 0 if self.why_alone else count

    @property
    def checkers(self) -> list[Any]:
        """What ``--auth`` gave, in place of the configuration's ``[[auth]]``."""
        return [with_octets(checker) for checker in self.get("credCheckers", [])]

    @property
    def is_daemon(self) -> bool:
        """Whether twistd leaves the terminal."""
        above: Any = self.parent or {}
        return not above.get("nodaemon", True)

    @property
    def owner(self) -> tuple[int | None, int | None]:
        """The uid and gid that twistd will change to, None for what stays."""
        above: Any = self.parent or {}
        return above.get("uid"), above.get("gid")


#: The variable that tells a program what the one before it, whose place it takes, has left open, by endpoint.
LEFT_OPEN = "MAILFW_LISTENING"


def left_open() -> dict[str, list[tuple[int, int]]]:
    """Return what the program before us has left open: descriptors with address families, by endpoint."""
    left: dict[str, list[tuple[int, int]]] = json.loads(os.environ.get(LEFT_OPEN, "{}"))
    return left


def check_endpoints(source: Source, configuration: Configuration, is_open: Collection[str] = ()) -> None:
    """
    Refuse what is no endpoint string.  Raises `ConfigurationRefused`.

    What `is_open` has been one before: systemd tells the first program alone which sockets there are.
    """
    from twisted.internet import reactor

    for service, endpoint in configuration.listen.endpoints():
        if endpoint in is_open:
            continue
        try:
            serverFromString(reactor, endpoint)
        except Exception as reason:  # a parser raises whatever its arguments make it raise
            said = str(reason) or type(reason).__name__
            raise source.refuse(("listen", service), f"{endpoint!r} is no endpoint: {said}")
