"""The file and the ``--set`` options as one tree of plain values that remembers where each came from."""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: A key's place in the tree: names, and positions in arrays of tables.
Place = tuple[str | int, ...]


#: Where the configuration is that no option names; a variable that is empty says that there is none.
VARIABLE, USUAL = "MAILFW_CONFIG", Path("/etc/mailfw.toml")


class ConfigurationRefused(Exception):
    """The configuration cannot be used; the text says where and why."""


def usual_file() -> Path | None:
    """Return the file that every program reads when no option names one, None where there is none."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    return USUAL if USUAL.exists() else None


@dataclass(slots=True)
class Source:
    """Plain values, and `origins`: where each was written, ``FILE:LINE`` or ``--set``."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)
    file: Path | None = None

    @classmethod
    def read(cls, file: Path | None, settings: Iterable[str] = ()) -> Source:
        """Read the file, if there is one, then each ``key=value``.  Raises `ConfigurationRefused`."""
        source = cls(file=file)
        if file is not None:
            source._read_file(file)
        for setting in settings:
            source._set(setting)
        return source

    def _read_file(self, file: Path) -> None:
        try:
            text = file.read_text("utf-8")
            self.values = tomllib.loads(text)
        except OSError as reason:
            raise ConfigurationRefused(f"{file}: {reason.strerror}") from reason
        except tomllib.TOMLDecodeError as reason:
            raise _no_toml(file, text, str(reason)) from reason
        except UnicodeDecodeError as reason:
            raise ConfigurationRefused(f"{file}: {reason}") from reason
        self.origins = {place: f"{file}:{line}" for place, line in locate(text).items()}

    def _set(self, setting: str) -> None:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigurationRefused(f"--set {setting}: write key=value")
        try:
            place = _key_of(key)
        except tomllib.TOMLDecodeError:
            raise ConfigurationRefused(f"--set {setting}: {key!r} is no key")
        self._put(place, _value_of(value), setting)

    def _put(self, place: Place, value: Any, setting: str) -> None:
        """Replace what is at a place, making the tables on the way to it."""
        holder: Any = self.values
        for depth, step in enumerate(place[:-1]):
            holder = _enter(holder, step, [] if isinstance(place[depth + 1], int) else {})
            if not isinstance(holder, list if isinstance(place[depth + 1], int) else dict):
                raise ConfigurationRefused(f"--set {setting}: {dotted(place[: depth + 1])} is no table")
        last = place[-1]
        if isinstance(last, int):
            _enter(holder, last, value)
        holder[last] = value
        for known in [known for known in self.origins if known[: len(place)] == place]:
            del self.origins[known]
        for inner in _places(place, value):
            self.origins[inner] = "--set"

    def origin(self, place: Place) -> str:
        """Return where a key was given, or ``default``; of a value inside a list, where the list was."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.origins:
                return self.origins[place[:length]]
        return "default"

    def refuse(self, place: Place, reason: str) -> ConfigurationRefused:
        """Return what to raise for a key that is wrong."""
        return ConfigurationRefused(f"{self.where(place)}: {reason}")

    def where(self, place: Place) -> str:
        """Return what tells a person where a key or a table is written."""
        origin = self.origin(place)
        if origin == "default":
            # A table that was never written by itself: the first of its keys says where it is.
            below = (self.origins[known] for known in self.origins if known[: len(place)] == place)
            origin = next(below, "default")
        if origin == "--set":
            return f"--set {dotted(place)}"
        return origin if origin != "default" else str(self.file or "configuration")


def _no_toml(file: Path, text: str, reason: str) -> ConfigurationRefused:
    """Say as everywhere else which line it is, and show that line: `tomllib` names the place but not the key."""
    lines = text.split("\n")
    found = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", reason, re.DOTALL)
    if found is None:
        return ConfigurationRefused(f"{file}:{len(lines)}: {reason}")
    return ConfigurationRefused(f"{file}:{found[2]}: {found[1]}: {lines[int(found[2]) - 1].strip()}")


def dotted(place: Place) -> str:
    """Write a place as ``--set`` takes it."""
    return ".".join(str(step) for step in place)


def _enter(holder: Any, step: str | int, missing: Any) -> Any:
    """Go one step down, making what is missing; an array may grow by one."""
    if isinstance(step, int):
        if step > len(holder):
            raise ConfigurationRefused(f"--set: there is no entry {step} yet, only {len(holder)}")
        if step == len(holder):
            holder.append(missing)
        return holder[step]
    return holder.setdefault(step, missing)


def _key_of(key: str) -> Place:
    """Read ``a.b`` or ``policy.0.timeout``."""
    place: list[str | int] = []
    inner: Any = tomllib.loads(f"{key} = 0")
    while isinstance(inner, dict):
        (name, inner), *more = inner.items()
        if more:
            raise tomllib.TOMLDecodeError
        place.append(int(name) if name.isdecimal() and place else name)
    return tuple(place)


def _value_of(value: str) -> Any:
    """Read a TOML value; what is none is a string as it stands."""
    try:
        document = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return document["value"] if len(document) == 1 else value


def _places(place: Place, value: Any) -> Iterable[Place]:
    """Yield a place and every place below it."""
    yield place
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _places((*place, name), inner)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for position, inner in enumerate(value):
            yield from _places((*place, position), inner)


def locate(text: str) -> dict[Place, int]:
    """
    Find the line each key of a valid TOML document is on.

    A statement is as many lines as it takes to be valid TOML by itself, so strings and arrays over several lines
    need no grammar of our own.
    """
    lines: dict[Place, int] = {}
    table: Place = ()
    entries: Counter[Place] = Counter()
    pending = ""
    start = 1
    for number, line in enumerate(text.splitlines(), 1):
        if not pending:
            start = number
        pending += line + "\n"
        try:
            statement = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        is_header = pending.lstrip().startswith("[")
        pending = ""
        if is_header:
            table = _table_of(statement, entries)
            lines.setdefault(table, start)
        else:
            for place in _places(table, statement):
                lines.setdefault(place, start)
    return {place: line for place, line in lines.items() if place}


def _table_of(header: Any, entries: Counter[Place]) -> Place:
    """Return the place a ``[header]`` or ``[[header]]`` opens, counting the entries of arrays."""
    place: Place = ()
    while isinstance(header, dict) and header:
        ((name, header),) = header.items()
        place = (*place, name)
        if isinstance(header, list):
            entries[place] += 1
            return (*place, entries[place] - 1)
        if entries[place] and header:
            place = (*place, entries[place] - 1)
    return place
