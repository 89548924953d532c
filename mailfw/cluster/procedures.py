"""What can be asked of a desk: each public coroutine method, with codecs made of its annotations."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any

from mailfw.cluster.codec import Blobs, Codec, Malformed, codec_of, hints_of
from mailfw.mail import failure


@dataclass(frozen=True, slots=True)
class Procedure:
    """How the arguments and the answer of one method travel."""

    parameters: tuple[Codec, ...]
    answer: Codec

    def write(self, arguments: tuple[Any, ...], blobs: Blobs) -> list[Any]:
        """Write the arguments."""
        return [codec.write(each, blobs) for codec, each in zip(self.parameters, arguments, strict=True)]

    def read(self, plain: Any, blobs: Blobs) -> list[Any]:
        """Read the arguments.  Raises `Malformed`."""
        if type(plain) is not list or len(plain) != len(self.parameters):
            raise Malformed("another number of arguments expected")
        try:
            return [codec.read(each, blobs) for codec, each in zip(self.parameters, plain, strict=True)]
        except (ValueError, TypeError) as reason:  # of a value that refuses what it is made of
            raise Malformed(str(reason)) from reason


@cache
def procedures_of(desk: Any) -> dict[str, Procedure]:
    """Return the procedures of a class by name."""
    return {
        name: _procedure(method)
        for name, method in inspect.getmembers(desk, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }


def _procedure(method: Any) -> Procedure:
    hints = hints_of(method)
    names = list(inspect.signature(method).parameters)[1:]
    return Procedure(tuple(codec_of(hints[name]) for name in names), codec_of(hints["return"]))


# ---------------------------------------------------------------- what goes wrong


class RemoteFault(Exception):
    """Something went wrong in another process that nobody has declared; its log says what."""


class ConnectionToKeeperLost(ConnectionError):
    """The keeper is gone; whether it did what was asked last, nobody knows."""


#: What travels as what it is, by name.
_DECLARED: dict[str, type[Exception]] = {
    each.__name__: each
    for each in (
        failure.StoreRefusal,
        failure.NoSuchAccount,
        failure.NoSuchMailbox,
        failure.MailboxExists,
        failure.NameRefused,
        failure.RoleTaken,
        failure.NoSuchMessage,
        failure.AnnotationTooLong,
        failure.TooManyAnnotations,
        failure.NumberRefused,
        failure.OverQuota,
        failure.NoPermission,
        failure.NoSpace,
        failure.Overloaded,
        KeyError,
        ValueError,
    )
}


def write_failure(error: Exception) -> list[Any] | None:
    """Return what travels in place of an answer; None for what is nobody's business but the log's."""
    if isinstance(error, OSError):
        return ["OSError", error.errno, error.strerror or str(error)]
    name = type(error).__name__
    return [name, str(error)] if _DECLARED.get(name) is type(error) else None


def read_failure(plain: Any) -> Exception:
    """Return what to raise."""
    match plain:
        case ["OSError", int(number), str(text)]:
            return OSError(number, text)
        case ["OSError", None, str(text)]:
            return OSError(text)
        case [str(name), str(text)] if name in _DECLARED:
            return _DECLARED[name](text)
    return RemoteFault("a fault of the keeper; its log says more")
