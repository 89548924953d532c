"""The rules that a configuration has for mail to some recipients or from some senders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailfw.mail.address import Address, normalise_domain
from mailfw.mail.destination import Destination, is_destination
from mailfw.mail.hop import Login
from mailfw.mail.reply import Reply
from mailfw.mail.route import Route, Unroutable

#: The couriers that routes name: into mailboxes, to other servers, and to servers of mailboxes.
MAILBOX, RELAY, LMTP = "mailbox", "relay", "lmtp"
#: What a rule may say instead of a URL.
_REFUSE = "refuse:"


class RouteRefused(ValueError):
    """A rule cannot be used; `place` is where in the configuration it is written, and the text begins with it."""

    def __init__(self, place: tuple[str | int, ...], reason: str) -> None:
        super().__init__(f"{'.'.join(str(step) for step in place)}: {reason}")
        self.place = place


class Written(Protocol):
    """A rule as the configuration has it."""

    @property
    def to(self) -> str:
        """A URL, ``mx``, ``mailbox`` or ``refuse: text``."""

    @property
    def recipients(self) -> Sequence[str]:
        """Patterns."""

    @property
    def senders(self) -> Sequence[str]:
        """Patterns."""


class Patterns:
    """
    ``ann@example.org``, ``example.org``, ``.example.org`` (all below it), ``[192.0.2.1]``, ``<>`` or ``*``.

    Case counts nowhere.  Raises `ValueError` for what is none of them.
    """

    def __init__(self, written: Iterable[str]) -> None:
        self._addresses: set[tuple[str, str]] = set()
        self._domains: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        self._null = False
        self._any = False
        for pattern in written:
            self._add(pattern.strip())

    def _add(self, pattern: str) -> None:
        local, at, domain = pattern.rpartition("@")
        if pattern == "*":
            self._any = True
        elif pattern == "<>":
            self._null = True
        elif not domain.strip(".") or (at and not local) or any(c in pattern for c in " *<>"):
            raise ValueError(f"{pattern!r} is no pattern: write ann@example.org, example.org, .example.org, <> or *")
        elif at:
            self._addresses.add((local.lower(), normalise_domain(domain)))
        elif domain.startswith("."):
            self._suffixes = (*self._suffixes, "." + normalise_domain(domain[1:]))
        else:
            self._domains.add(normalise_domain(domain))

    def names(self, address: Address | None) -> bool:
        """Whether an address (None: the null sender) is meant by more than ``*``."""
        if address is None:
            return self._null
        domain = address.domain
        return (
            domain in self._domains
            or domain.endswith(self._suffixes or ("\0",))
            or (address.local.lower(), domain) in self._addresses
        )

    def fits(self, address: Address | None) -> bool:
        """Whether an address is meant at all."""
        return self._any or self.names(address)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `way` is None for delivery by MX.  `name` is what it is called in explanations."""

    recipients: Patterns
    senders: Patterns
    way: Route | Unroutable | None
    name: str = ""

    def route(self, recipient: Address) -> Route | Unroutable:
        """Return the way of a recipient that the rule fits."""
        return self.way or Route(RELAY, recipient.domain)


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """
    All rules, in order: the first that fits decides.

    `relay` is the way of whatever is not local and has no rule, None for MX.  `logins` are by ``Route.destination``.
    """

    rules: tuple[Rule, ...] = ()
    relay: Route | None = None
    logins: Mapping[str, Login] = field(default_factory=dict, repr=False)


def read_table(relay: str = "", written: Sequence[Written] = ()) -> RoutingTable:
    """Make the table of a configuration, reading password files.  Raises `RouteRefused`."""
    logins: dict[str, Login] = {}
    rules = [_read_rule(("route", position), rule, logins) for position, rule in enumerate(written)]
    through = _read_url(("relay",), relay, logins) if relay else None
    return RoutingTable(tuple(rules), through, logins)


def _read_rule(place: tuple[str | int, ...], rule: Written, logins: dict[str, Login]) -> Rule:
    patterns = {}
    for key in ("recipients", "senders"):
        try:
            patterns[key] = Patterns(getattr(rule, key))
        except ValueError as reason:
            raise RouteRefused((*place, key), str(reason))
    way = _read_way((*place, "to"), rule.to, logins)
    about = [f"{key} {', '.join(getattr(rule, key))}" for key in patterns if list(getattr(rule, key)) != ["*"]]
    return Rule(patterns["recipients"], patterns["senders"], way, " and ".join(about) or "everything")


def _read_way(place: tuple[str | int, ...], to: str, logins: dict[str, Login]) -> Route | Unroutable | None:
    if to == "mx":
        return None
    if to == "mailbox":
        return Route(MAILBOX)
    if to.startswith(_REFUSE):
        text = " ".join(to.removeprefix(_REFUSE).split())
        return Unroutable(Reply(550, "5.7.1", text or "No mail is taken for this address"))
    if not is_destination(to):
        raise RouteRefused(place, f"write a URL, mx, mailbox or refuse: and a reason, not {to!r}")
    return _read_url(place, to, logins)


def _read_url(place: tuple[str | int, ...], url: str, logins: dict[str, Login]) -> Route:
    """Read a URL, and put its login aside."""
    try:
        destination = Destination.read(url).with_password()
    except ValueError as reason:
        raise RouteRefused(place, str(reason))
    name = str(destination)
    if destination.user:
        login = Login(destination.user, destination.password)
        if not login.password:
            raise RouteRefused(place, f"{name} has a user and no password (nor ?password_file=)")
        if logins.setdefault(name, login) != login:
            raise RouteRefused(place, f"two passwords are given for {name}")
    return Route(LMTP if destination.scheme == "lmtp" else RELAY, name)
