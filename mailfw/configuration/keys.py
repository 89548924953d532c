"""Every key there is, with its default and its meaning; ``docs/reference/configuration.md`` says more."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from mailfw.mail.address import normalise_domain


def _key(meaning: str, default: Any) -> Any:
    """Declare a key; a default that can be called is called when the key is not given."""
    made: Callable[[], Any] = default if callable(default) else lambda: default
    return field(default_factory=made, metadata={"help": meaning})


# sub-domain = Let-dig [Ldh-str]     RFC 5321 section 4.1.2, with the underscores that machines do have in their names;
#                                    address-literal as a name of a machine that has no other
_HOSTNAME = re.compile(
    r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*|\[[0-9a-z.:]+\]", re.IGNORECASE
)

# sub-domain =/ U-label              RFC 6531 section 3.3
_U_LABELS = re.compile(r"[^\W_]([\w-]*\w)?(\.[^\W_]([\w-]*\w)?)*")


def is_hostname(name: str) -> bool:
    """Whether a greeting can have this name; one in another alphabet is written in its A-labels (``xn--``)."""
    return _HOSTNAME.fullmatch(name) is not None and len(name) <= 255  # RFC 5321 section 4.5.3.1.2


def is_domain(name: str) -> bool:
    """Whether mail can be for this domain, in whichever alphabet it is written."""
    try:
        name = normalise_domain(name)
        return len(name) <= 255 and (is_hostname(name) or _U_LABELS.fullmatch(name) is not None)
    except ValueError:
        return False


def own_hostname() -> str:
    """Return this machine's full name, or ``localhost`` where it has none that is fit for a greeting."""
    name = socket.getfqdn()
    return name.lower() if "." in name and not name.endswith(".arpa") and is_hostname(name) else "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """
    Where each service listens: lists of Twisted endpoint strings, an empty one is off.

    These defaults hold while there is no configuration file; with one, what it does not list is off.
    """

    smtp: tuple[str, ...] = _key("Mail from other servers.", ("tcp:2525:interface=127.0.0.1",))
    submission: tuple[str, ...] = _key("Mail from our own users, with STARTTLS.", ("tcp:2587:interface=127.0.0.1",))
    submissions: tuple[str, ...] = _key("The same under implicit TLS.", ("tcp:2465:interface=127.0.0.1",))
    lmtp: tuple[str, ...] = _key("Mail from a server that has a queue; give it to nobody else.", ())
    imap: tuple[str, ...] = _key("Reading mail, with STARTTLS.", ("tcp:2143:interface=127.0.0.1",))
    imaps: tuple[str, ...] = _key("The same under implicit TLS.", ("tcp:2993:interface=127.0.0.1",))
    pop3: tuple[str, ...] = _key("Fetching mail, with STLS.", ("tcp:2110:interface=127.0.0.1",))
    pop3s: tuple[str, ...] = _key("The same under implicit TLS.", ("tcp:2995:interface=127.0.0.1",))
    http: tuple[str, ...] = _key(
        "Status, health and Thunderbird's autoconfiguration.", ("tcp:2080:interface=127.0.0.1",)
    )

    def endpoints(self) -> Iterator[tuple[str, str]]:
        """Yield each service's name with each of its endpoints."""
        for each in fields(self):
            for endpoint in getattr(self, each.name):
                yield each.name, endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """Where the certificates are.  With none given a self-signed one is made under `data`."""

    certificate: Path | None = _key("A PEM file: the certificate, then those between it and its authority.", None)
    key: Path | None = _key("The PEM file of its private key.", None)
    directory: Path | None = _key(
        "One folder a name, as certbot keeps them, each with fullchain.pem and privkey.pem; chosen by SNI.", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A plug-in by name; the other keys of its table are its options."""

    plugin: str = _key("A name that `mailfw plugins` lists, or python:package.module.factory.", "")
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """A delivery policy; policies are asked in the order of the configuration."""

    plugin: str = _key("A name that `mailfw plugins` lists, or python:package.module.factory.", "")
    timeout: float = _key("Seconds that it may take to answer one question.", 10.0)
    on_failure: Literal["defer", "accept", "refuse"] = _key(
        "What counts as its answer when it fails: defer, accept or refuse.", "defer"
    )
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all of them, may ask of us."""

    message_size: int = _key("Octets in one message.", 100 * 1024 * 1024)
    recipients: int = _key("Recipients of one message; RFC 5321 section 4.5.3.1.8 asks for 100 at least.", 1000)
    connections: int = _key("Connections to one service at one time.", 20_000)
    connections_per_address: int = _key("Connections to one service from one IP address at one time.", 1000)
    smtp_timeout: float = _key("Seconds of patience with a silent client; RFC 5321 section 4.5.3.2.7: 300.", 300.0)
    pop3_timeout: float = _key("The same for POP3; RFC 1939 section 3 asks for 600 at least.", 600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """When a message that could not be delivered is tried again; seconds."""

    first_pause: float = _key("How long to wait after the first attempt; then twice as long each time.", 60.0)
    longest_pause: float = _key("The longest time between two attempts.", 3600.0)
    lifetime: float = _key("When to give up and tell the sender; RFC 5321 section 4.5.4.1: 4 to 5 days.", 432_000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """All of it."""

    hostname: str = _key("How we call ourselves in greetings and Received fields.", own_hostname)
    domains: tuple[str, ...] = _key("The domains we receive mail for.", ("localhost",))
    data: Path = _key("The one directory anything is written to.", lambda: Path("var"))
    allow_plaintext_auth: bool = _key("Let clients send passwords without TLS.", False)
    listen: Listen = field(default_factory=Listen)
    tls: TLSFiles = field(default_factory=TLSFiles)
    store: Choice = field(default_factory=lambda: Choice(plugin="maildir"))
    directory: Choice = field(default_factory=lambda: Choice(plugin="accounts"))
    auth: tuple[Choice, ...] = field(default_factory=lambda: (Choice(plugin="passwords"),))
    policy: tuple[PolicyChoice, ...] = ()
    router: Choice = field(default_factory=lambda: Choice(plugin="local"))
    courier: tuple[Choice, ...] = field(default_factory=lambda: (Choice(plugin="mailbox"),))
    limits: Limits = field(default_factory=Limits)
    queue: Queue = field(default_factory=Queue)
