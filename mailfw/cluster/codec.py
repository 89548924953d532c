"""
Values of declared types as JSON with octets beside it: what one process of a server tells another.

A codec is made of a type's annotation, so nothing can be made of what is read but what was declared.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

#: Octets beside the JSON; a value of octets is its place here.
Blobs = list[bytes]


class Malformed(ValueError):
    """What was read is not what was declared."""


class Codec(NamedTuple):
    """How values of one type become what JSON knows, and back.  `read` raises `Malformed`."""

    write: Callable[[Any, Blobs], Any]
    read: Callable[[Any, Blobs], Any]


class _Numbers:
    """Stands for ``array[int]`` where annotations are evaluated: before Python 3.12 that cannot be written."""

    def __class_getitem__(cls, kind: Any) -> type:
        return cls


def hints_of(thing: Any) -> dict[str, Any]:
    """Return the evaluated annotations of a dataclass or method."""
    return typing.get_type_hints(thing, localns={"array": _Numbers})


@cache
def codec_of(kind: Any) -> Codec:
    """Return the codec of an annotation.  Raises `TypeError` for one that nobody needed yet."""
    if kind is None or kind is type(None):
        return Codec(_as_it_is, _read_none)
    if kind is float:
        return Codec(_as_it_is, _read_float)
    if kind in (bool, int, str):
        return _plain(kind)
    if kind is _Numbers:
        return Codec(_write_array, _read_array)
    if kind is bytes:
        return Codec(_write_octets, _read_octets)
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias):
        if issubclass(kind, enum.Enum):
            return _enumeration(kind)
        if dataclasses.is_dataclass(kind):
            return _record(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(inner)
    if origin in (dict, Mapping):
        return _mapping(*inner)
    if origin is frozenset:
        return _series(inner[0], frozenset)
    if origin in (list, Sequence):
        return _flag_sets() if inner[0] == frozenset[str] else _series(inner[0], list)
    if origin is tuple:
        return _series(inner[0], tuple) if inner[-1] is ... else _fixed(inner)
    raise TypeError(f"there is no codec for {kind!r}")


def _as_it_is(value: Any, blobs: Blobs) -> Any:
    return value


@cache
def _plain(kind: type) -> Codec:
    def read(plain: Any, blobs: Blobs) -> Any:
        if type(plain) is not kind:
            raise Malformed(f"{kind.__name__} expected")
        return plain

    return Codec(_as_it_is, read)


def _read_none(plain: Any, blobs: Blobs) -> None:
    if plain is not None:
        raise Malformed("nothing expected")


def _read_float(plain: Any, blobs: Blobs) -> float:
    if type(plain) not in (int, float):
        raise Malformed("float expected")
    return float(plain)


def _write_octets(value: bytes, blobs: Blobs) -> int:
    blobs.append(value)
    return len(blobs) - 1


def _read_octets(plain: Any, blobs: Blobs) -> bytes:
    if type(plain) is not int or not 0 <= plain < len(blobs):
        raise Malformed("octets expected")
    return blobs[plain]


def _write_array(value: array[int], blobs: Blobs) -> list[Any]:
    return [value.typecode, _write_octets(value.tobytes(), blobs)]


def _read_array(plain: Any, blobs: Blobs) -> array[int]:
    typecode, place = _items(plain, 2)
    if typecode not in ("I", "Q"):
        raise Malformed("typecode expected")
    numbers: array[int] = array(typecode)
    try:
        numbers.frombytes(_read_octets(place, blobs))
    except ValueError:
        raise Malformed("whole numbers expected")
    return numbers


def _items(plain: Any, count: int | None = None) -> list[Any]:
    if type(plain) is not list or (count is not None and len(plain) != count):
        raise Malformed("list expected")
    return plain


def _series(kind: Any, make: Callable[[Any], Any]) -> Codec:
    write, read = codec_of(kind)
    if kind in (int, str):  # by far the longest ones

        def read_many(plain: Any, blobs: Blobs) -> Any:
            if not all(type(each) is kind for each in _items(plain)):
                raise Malformed(f"list of {kind.__name__} expected")
            return make(plain)

        return Codec(lambda value, blobs: list(value), read_many)
    return Codec(
        lambda value, blobs: [write(each, blobs) for each in value],
        lambda plain, blobs: make([read(each, blobs) for each in _items(plain)]),
    )


def _flag_sets() -> Codec:
    """The flags of a mailbox's messages: few different ones, each written once, and which one it is for each."""

    def write(value: Sequence[frozenset[str]], blobs: Blobs) -> list[Any]:
        different: dict[frozenset[str], int] = {}
        which = array("I", [different.setdefault(each, len(different)) for each in value])
        return [[list(each) for each in different], _write_array(which, blobs)]

    def read(plain: Any, blobs: Blobs) -> list[frozenset[str]]:
        different, which = _items(plain, 2)
        sets = [codec_of(frozenset[str]).read(each, blobs) for each in _items(different)]
        try:
            return [sets[each] for each in _read_array(which, blobs)]
        except IndexError:
            raise Malformed("a set of flags is missing")

    return Codec(write, read)


def _fixed(kinds: tuple[Any, ...]) -> Codec:
    codecs = [codec_of(each) for each in kinds]

    def write(value: Any, blobs: Blobs) -> list[Any]:
        return [codec.write(each, blobs) for codec, each in zip(codecs, value, strict=True)]

    def read(plain: Any, blobs: Blobs) -> tuple[Any, ...]:
        items = _items(plain, len(codecs))
        return tuple([codec.read(each, blobs) for codec, each in zip(codecs, items, strict=True)])

    return Codec(write, read)


def _mapping(key: Any, value: Any) -> Codec:
    if value is object:
        return _findings()
    pairs = codec_of(tuple[tuple[key, value], ...])
    return Codec(
        lambda mapping, blobs: pairs.write(mapping.items(), blobs),
        lambda plain, blobs: dict(pairs.read(plain, blobs)),
    )


def _findings() -> Codec:
    """What policies have found out: of that, whatever is plain; the rest stays with who found it."""
    simple = (str, int, float, bool, types.NoneType)

    def read(plain: Any, blobs: Blobs) -> dict[str, object]:
        if type(plain) is not dict:
            raise Malformed("findings expected")
        return plain

    return Codec(lambda value, blobs: {key: each for key, each in value.items() if isinstance(each, simple)}, read)


def _enumeration(kind: type[enum.Enum]) -> Codec:
    def read(plain: Any, blobs: Blobs) -> Any:
        try:
            return kind(plain)
        except (ValueError, TypeError):
            raise Malformed(f"{kind.__name__} expected")

    return Codec(lambda value, blobs: value.value, read)


def _record(kind: type) -> Codec:
    """A dataclass, as the list of its fields; their types are found out when the first one comes, as they may nest."""
    names = [each.name for each in dataclasses.fields(kind)]
    codecs: list[Codec] = []

    def learn() -> list[Codec]:
        if not codecs:
            hints = hints_of(kind)
            codecs.extend([codec_of(hints[name]) for name in names])
        return codecs

    def write(value: Any, blobs: Blobs) -> list[Any]:
        return [codec.write(getattr(value, name), blobs) for name, codec in zip(names, learn(), strict=True)]

    def read(plain: Any, blobs: Blobs) -> Any:
        items = _items(plain, len(names))
        return kind(*[codec.read(each, blobs) for codec, each in zip(learn(), items, strict=True)])

    return Codec(write, read)


def _union(kinds: tuple[Any, ...]) -> Codec:
    """One kind or nothing, or one of several dataclasses, each told by its name."""
    real = [each for each in kinds if each is not type(None)]
    optional = len(real) < len(kinds)
    if len(real) == 1:
        only = codec_of(real[0])
        return Codec(
            lambda value, blobs: None if value is None else only.write(value, blobs),
            lambda plain, blobs: None if plain is None else only.read(plain, blobs),
        )
    by_name = {each.__name__: codec_of(each) for each in real}

    def write(value: Any, blobs: Blobs) -> Any:
        if value is None and optional:
            return None
        name = type(value).__name__
        return [name, by_name[name].write(value, blobs)]

    def read(plain: Any, blobs: Blobs) -> Any:
        if plain is None and optional:
            return None
        name, inner = _items(plain, 2)
        if type(name) is not str or name not in by_name:
            raise Malformed("one of several kinds expected")
        return by_name[name].read(inner, blobs)

    return Codec(write, read)
