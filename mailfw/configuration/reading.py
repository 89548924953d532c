"""From plain values to `Configuration`, refusing what is unknown or of the wrong kind where it is written."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mailfw.configuration.keys import (
    MECHANISMS,
    Choice,
    Configuration,
    Listen,
    PolicyChoice,
    Queue,
    QuotaChoice,
    StoreChoice,
    is_domain,
    is_hostname,
    is_rate,
)
from mailfw.configuration.source import Place, Source, dotted
from mailfw.imap.capabilities import CAPABILITIES
from mailfw.mail.address import normalise_domain
from mailfw.mail.destination import Destination, is_destination
from mailfw.network import Networks
from mailfw.plugins import unknown

#: What the kinds of values are called in a refusal.
KINDS: Mapping[type, str] = {str: "a string", bool: "true or false", int: "an integer", float: "a number"}
#: Keys whose 0 means that something is not done.
MAY_BE_NONE = frozenset(
    {
        "warning_after",
        "messages_per_connection",
        "connections_per_minute",
        "errors_per_minute",
        "junk_commands",
        "greeting_delay",
        "error_delay",
    }
)
# ehlo-param of RFC 5321 section 4.1.1.1, as RFC 3865 section 4 and RFC 6710 section 4.1 narrow it
_EHLO_WORD = re.compile(r"[A-Za-z][A-Za-z0-9._:-]*")
#: Tables whose unknown keys are the options of a plug-in.
OPEN = (Choice, PolicyChoice, QuotaChoice, StoreChoice)


def configure(source: Source) -> Configuration:
    """Make the configuration.  Raises `ConfigurationRefused`."""
    configuration: Configuration = _table(source, (), source.values, Configuration())
    if source.file is not None:
        configuration = dataclasses.replace(configuration, listen=_only_given(source, configuration.listen))
    _check(source, configuration)
    beside = source.file.parent if source.file is not None and source.origin(("data",)) == "default" else Path()
    return dataclasses.replace(
        configuration,
        hostname=configuration.hostname.lower(),
        domains=tuple(normalise_domain(domain) for domain in configuration.domains),
        data=(beside / configuration.data).absolute(),
    )


def _only_given(source: Source, listen: Listen) -> Listen:
    """With a file there are no listeners but those it lists: nobody should find ports open that he did not write."""
    given = source.values.get("listen", {})
    return dataclasses.replace(
        listen, **{each.name: () for each in dataclasses.fields(listen) if each.name not in given}
    )


def _check(source: Source, configuration: Configuration) -> None:
    """Refuse what every key by itself allows."""
    if not is_hostname(configuration.hostname):
        raise source.refuse(("hostname",), f"hostname must be a host's name in ASCII, not {configuration.hostname!r}")
    for position, domain in enumerate(configuration.domains):
        if not is_domain(domain):
            raise source.refuse(("domains", position), f"domains: {domain!r} is no domain name")
    for position, name in enumerate(configuration.mechanisms):
        if name not in MECHANISMS:
            raise source.refuse(("mechanisms", position), unknown("mechanism", name, MECHANISMS))
    if not configuration.domains:
        raise source.refuse(("domains",), "domains must name one domain at least")
    if (configuration.tls.certificate is None) != (configuration.tls.key is None):
        raise source.refuse(("tls",), "tls.certificate and tls.key go together")
    for table in ("limits", "queue"):
        for each in dataclasses.fields(getattr(configuration, table)):
            amount = getattr(getattr(configuration, table), each.name)
            if type(amount) in (int, float) and (amount or each.name not in MAY_BE_NONE):
                _check_amount(source, (table, each.name), amount)
    _check_bounds(source, configuration)
    _check_imap(source, configuration)
    _check_rates(source, configuration.queue)
    _check_trust(source, configuration)
    _check_routes(source, configuration)
    for position, policy in enumerate(configuration.policy):
        _check_amount(source, ("policy", position, "timeout"), policy.timeout)


def _check_bounds(source: Source, configuration: Configuration) -> None:
    """Refuse what nothing can be counted with; 0 is no limit, and no time."""
    places: dict[Place, float] = {
        ("store", "retention"): configuration.store.retention,
        ("quota", "octets"): configuration.quota.octets,
        ("quota", "messages"): configuration.quota.messages,
        ("pop3", "login_delay"): configuration.pop3.login_delay,
    }
    for place, amount in places.items():
        if not 0 <= amount < math.inf:
            raise source.refuse(place, f"{dotted(place)} must be 0 or more, and finite, not {amount}")
    if configuration.pop3.expire < -1:
        raise source.refuse(("pop3", "expire"), "pop3.expire must be a number of days, or -1 for ever")


def _check_imap(source: Source, configuration: Configuration) -> None:
    """Refuse limits that are none, what is no network, and capabilities that there are not."""
    names = sorted(each.name.decode("ascii").upper() for each in CAPABILITIES)
    tables: list[tuple[Place, Any]] = [(("imap",), configuration.imap)]
    tables += [(("imap_client", n), each) for n, each in enumerate(configuration.imap_client)]
    for place, table in tables:
        for name in ("line", "command", "message", "search_time"):
            amount = getattr(table, name, None)
            if amount is not None:
                _check_amount(source, (*place, name), amount)
        for position, capability in enumerate(table.without):
            if capability.upper() not in names:
                raise source.refuse((*place, "without", position), unknown("capability", capability.upper(), names))
        if (table.sessions or 0) < 0:
            raise source.refuse((*place, "sessions"), f"{dotted((*place, 'sessions'))} must be 0 or more")
        if table.message_limit and not 1000 <= table.message_limit < 2**32:  # RFC 9738 section 3
            at = (*place, "message_limit")
            raise source.refuse(at, f"{dotted(at)} must be 0, or at least 1000 and of 32 bits")
    for n, client in enumerate(configuration.imap_client):
        for position, network in enumerate(client.networks):
            try:
                Networks([network])
            except ValueError:
                at = ("imap_client", n, "networks", position)
                raise source.refuse(at, f"imap_client.networks: {network!r} is neither an IP address nor a network")


def _check_trust(source: Source, configuration: Configuration) -> None:
    """Refuse what is no network, and what no client could be told."""
    for key in ("relay", "proxy", "xclient", "unlimited"):
        for position, network in enumerate(getattr(configuration.trust, key)):
            try:
                Networks([network])
            except ValueError:
                place = ("trust", key, position)
                raise source.refuse(place, f"trust.{key}: {network!r} is neither an IP address nor a network")
    for key in ("longest_hold", "shortest_deliver_by"):
        if not 0 <= getattr(configuration.extensions, key) < 1_000_000_000:  # RFC 4865 section 3, RFC 2852 section 4
            raise source.refuse(("extensions", key), f"extensions.{key} must have nine digits at most")
    for key, words in (
        ("priority_policy", (configuration.extensions.priority_policy,)),
        ("no_soliciting", configuration.extensions.no_soliciting),
    ):
        for word in words:
            if word and not _EHLO_WORD.fullmatch(word):
                raise source.refuse(("extensions", key), f"extensions.{key}: {word!r} is no word of an EHLO line")


def _check_rates(source: Source, queue: Queue) -> None:
    """Refuse what is no rate; what one is good for is the queue's to say."""
    for position, entry in enumerate(queue.destination_rates):
        name, _, rate = entry.rpartition("=")
        if not name.strip() or not is_rate(rate.strip()):
            place = ("queue", "destination_rates", position)
            raise source.refuse(place, f"queue.destination_rates: write example.net=10/m, not {entry!r}")
    for key in ("sender_rate", "account_rate"):
        rate = getattr(queue, key)
        if rate and not is_rate(rate):
            raise source.refuse(("queue", key), f"queue.{key} must be a rate, as 100/h, not {rate!r}")


def _check_routes(source: Source, configuration: Configuration) -> None:
    """Refuse a URL that is none, without repeating the password it may have; the rest is the router's to say."""
    places: list[tuple[Place, str]] = [(("route", n, "to"), rule.to) for n, rule in enumerate(configuration.route)]
    for place, to in [*places, *([(("relay",), configuration.relay)] if configuration.relay else [])]:
        try:
            if is_destination(to) or place == ("relay",):
                Destination.read(to)
            elif to not in ("mx", "mailbox") and not to.startswith("refuse:"):
                raise ValueError(f"write a URL, mx, mailbox or refuse: and a reason, not {to!r}")
        except ValueError as reason:
            raise source.refuse(place, f"{dotted(place)}: {reason}")
    if not 0 < configuration.delivery.port < 65_536:
        raise source.refuse(("delivery", "port"), "delivery.port must be a port")


def _check_amount(source: Source, place: Place, amount: float) -> None:
    if not 0 < amount < math.inf:
        raise source.refuse(place, f"{dotted(place)} must be greater than 0 and finite, not {amount}")


def _table(source: Source, place: Place, values: Any, defaults: Any) -> Any:
    """Read one table over its defaults."""
    if not isinstance(values, dict):
        raise source.refuse(place, f"{dotted(place)} must be a table")
    keys = {each.name: each for each in dataclasses.fields(defaults) if each.name != "options"}
    types_of = typing.get_type_hints(type(defaults))
    given: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in values.items():
        if name in keys:
            given[name] = _value(source, (*place, name), value, types_of[name], getattr(defaults, name))
        elif isinstance(defaults, OPEN):
            options[name] = value
        else:
            raise source.refuse((*place, name), unknown(_kind_of_key(place), name, keys))
    if isinstance(defaults, OPEN):
        return _choice(source, place, defaults, given, options)
    return dataclasses.replace(defaults, **given)


def _choice(source: Source, place: Place, defaults: Any, given: dict[str, Any], options: dict[str, Any]) -> Any:
    if not given.get("plugin", defaults.plugin):
        raise source.refuse(place, f"{dotted(place)} names no plugin")
    # The options of the default plug-in mean nothing to another.
    return dataclasses.replace(defaults, **given, options=options)


def _kind_of_key(place: Place) -> str:
    return f"key of [{dotted(place)}]" if place else "key"


def _value(source: Source, place: Place, value: Any, wanted: Any, default: Any) -> Any:
    """Read one value as the type its key wants."""
    if dataclasses.is_dataclass(wanted):
        return _table(source, place, value, default)
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is tuple and dataclasses.is_dataclass(arguments[0]):
        kind: Any = arguments[0]
        entry = kind()
        return tuple(_table(source, (*place, n), each, entry) for n, each in enumerate(_tables(source, place, value)))
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise source.refuse(place, f'{dotted(place)} must be a list of strings, like ["{value}"], not {value!r}')
        return tuple(value)
    if origin is typing.Literal:
        if value not in arguments:
            raise source.refuse(place, unknown(f"choice for {dotted(place)}", str(value), arguments))
        return value
    if origin is types.UnionType:
        wanted = next(part for part in arguments if part is not type(None))
    return _scalar(source, place, value, wanted)


def _tables(source: Source, place: Place, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise source.refuse(place, f"{dotted(place)} must be an array of tables, written [[{dotted(place)}]]")
    return value


def _scalar(source: Source, place: Place, value: Any, wanted: Any) -> Any:
    if wanted is Path:
        if not isinstance(value, str):
            raise source.refuse(place, f"{dotted(place)} must be {KINDS[str]} that names a file, not {value!r}")
        return _path(source, place, value)
    if type(value) is wanted:
        return value
    if wanted is float and type(value) is int:
        return float(value)
    raise source.refuse(place, f"{dotted(place)} must be {KINDS[wanted]}, not {value!r}")


def _path(source: Source, place: Place, value: str) -> Path:
    """A relative path in the file is relative to the file's directory, one in ``--set`` to the current."""
    path = Path(value).expanduser()
    if source.file is not None and source.origin(place) != "--set":
        path = source.file.parent / path
    return path.absolute()
