"""MTA-STS: its record in the DNS and its policy, as RFC 8461 writes them."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailfw.routing.names import a_labels

#: Octets of a policy, RFC 8461 section 3.3.
LARGEST_POLICY = 64 * 1024
#: Seconds that a policy may be kept, RFC 8461 section 3.2: about a year.
LONGEST_AGE = 31_557_600
#: Patterns of one policy that are looked at.
_MOST_PATTERNS = 100

# sts-text-record = sts-version 1*(sts-field-delim sts-field) [sts-field-delim]      RFC 8461 section 3.1
# sts-field-delim = *WSP ";" *WSP
_RECORD = re.compile(rb"v=STSv1[ \t]*;")
# sts-id          = %s"id=" 1*32(ALPHA / DIGIT)
_ID = re.compile(rb"id=([0-9A-Za-z]{1,32})")
# sts-ext-name    = (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".")
# sts-ext-value   = 1*(%x21-3A / %x3C / %x3E-7E)
_EXTENSION = re.compile(rb"[0-9A-Za-z][0-9A-Za-z_.-]{0,31}=[!-:<>-~]+")
# sts-policy-max-age-value = 1*10(DIGIT)
_AGE = re.compile(r"[0-9]{1,10}")


class Mode(enum.Enum):
    """What a sender is to do where a host does not match (RFC 8461 section 5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class PolicyInvalid(ValueError):
    """What was fetched is no policy; the text says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy: `mx` are host names in A-labels or ``*.`` and a domain; `max_age` is in seconds."""

    mode: Mode
    mx: tuple[str, ...] = ()
    max_age: int = 0

    def names(self, host: str) -> bool:
        """Whether a host is one of theirs; ``*`` stands for one label (RFC 8461 section 4.1)."""
        host = host.lower()
        return host in self.mx or f"*.{host.partition('.')[2]}" in self.mx

    def lines(self) -> list[str]:
        """Return it as it is written, for reports."""
        mx = [f"mx: {pattern}" for pattern in self.mx]
        return ["version: STSv1", f"mode: {self.mode.value}", *mx, f"max_age: {self.max_age}"]


def read_record(records: Iterable[bytes]) -> str | None:
    """Return the id among the TXT records of ``_mta-sts.``; None where there is not exactly one that is right."""
    candidates = [record for record in records if _RECORD.match(record)]
    return _read_id(candidates[0]) if len(candidates) == 1 else None


def _read_id(record: bytes) -> str | None:
    fields = [field.strip(b" \t") for field in record.split(b";")[1:]]
    if fields and not fields[-1]:
        fields.pop()
    found = None
    for field in fields:
        match = _ID.fullmatch(field)
        if match is not None and found is None:
            found = match[1].decode("ascii")
        elif not _EXTENSION.fullmatch(field):
            return None
    return found


def read_policy(octets: bytes) -> Policy:
    """
    Read a policy: lines of ``name: value`` (RFC 8461 section 3.2).

    Fields that are not known are passed over, and so is every repetition but that of ``mx``.  Raises `PolicyInvalid`.
    """
    if len(octets) > LARGEST_POLICY:
        raise PolicyInvalid("too large")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyInvalid("not UTF-8")
    fields: dict[str, str] = {}
    mx: list[str] = []
    for line in re.split(r"\r?\n", text):
        if not line.strip(" \t"):
            continue
        name, colon, value = line.partition(":")
        name, value = name.strip(" \t"), value.strip(" \t")
        if not colon or not name:
            raise PolicyInvalid("a line that is no field")
        if name == "mx":
            mx.append(_pattern(value))
        else:
            fields.setdefault(name, value)
    return _policy(fields, mx)


def _policy(fields: dict[str, str], mx: list[str]) -> Policy:
    if fields.get("version") != "STSv1":
        raise PolicyInvalid("no version: STSv1")
    try:
        mode = Mode(fields.get("mode", ""))
    except ValueError:
        raise PolicyInvalid("no mode, or an unknown one")
    age = fields.get("max_age", "")
    if not _AGE.fullmatch(age):
        raise PolicyInvalid("no max_age")
    if mode is not Mode.NONE and not mx:
        raise PolicyInvalid("no mx")
    if len(mx) > _MOST_PATTERNS:
        raise PolicyInvalid("too many mx")
    return Policy(mode, tuple(dict.fromkeys(mx)), min(int(age), LONGEST_AGE))


def _pattern(value: str) -> str:
    """sts-policy-mx-value = ["*."] Domain, RFC 8461 section 3.2."""
    wildcard = "*." if value.startswith("*.") else ""
    try:
        return wildcard + a_labels(value.removeprefix("*.").removesuffix("."))
    except ValueError:
        raise PolicyInvalid("an mx that is no name")
