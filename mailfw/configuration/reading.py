"""From plain values to `Configuration`, refusing what is unknown or of the wrong kind where it is written."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mailfw.configuration.keys import Choice, Configuration, Listen, PolicyChoice, is_domain, is_hostname
from mailfw.configuration.source import Place, Source, dotted
from mailfw.mail.address import normalise_domain
from mailfw.plugins import unknown

#: What the kinds of values are called in a refusal.
KINDS: Mapping[type, str] = {str: "a string", bool: "true or false", int: "an integer", float: "a number"}
#: Tables whose unknown keys are the options of a plug-in.
OPEN = (Choice, PolicyChoice)


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
    if not configuration.domains:
        raise source.refuse(("domains",), "domains must name one domain at least")
    if (configuration.tls.certificate is None) != (configuration.tls.key is None):
        raise source.refuse(("tls",), "tls.certificate and tls.key go together")
    for table in ("limits", "queue"):
        for each in dataclasses.fields(getattr(configuration, table)):
            _check_amount(source, (table, each.name), getattr(getattr(configuration, table), each.name))
    for position, policy in enumerate(configuration.policy):
        _check_amount(source, ("policy", position, "timeout"), policy.timeout)


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
    if origin is tuple and arguments[0] in OPEN:
        entry = arguments[0]()
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
