"""The text of a password file: one account a line, its name, its Argon2id hash and its SCRAM keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from twisted.logger import Logger

from mailfw.accounts.names import NotAName, full_name
from mailfw.sasl.keys import HASHES, ScramKeys, parse_keys

log = Logger()

HEADING = "# Accounts of mailfw; `mailfw user` edits this file.\n"


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """One account: `hash` is Argon2's own encoding, `scram` the keys by mechanism."""

    name: str
    hash: str
    scram: Mapping[str, ScramKeys]

    def __repr__(self) -> str:
        return f"Record({self.name!r}, …)"

    def encode(self) -> str:
        """Return the line."""
        return " ".join([self.name, self.hash, *map(str, self.scram.values())])


def parse_record(line: str) -> Record:
    """Read a line; keys of a mechanism that is not known are passed over.  Raises `ValueError`."""
    name, encoded, *fields = line.split(" ")
    if not encoded.startswith("$argon2id$"):
        raise ValueError("not an Argon2id hash")
    if full_name(name, "") != name:
        raise NotAName("A name is written in lower case")
    keys = [parse_keys(field) for field in fields if field.partition("$")[0] in HASHES]
    return Record(name, encoded, MappingProxyType({key.mechanism: key for key in keys}))


def read_records(text: str) -> dict[str, Record]:
    """Return the accounts by name, in order; a line that cannot be read is logged and locks out nobody else."""
    records: dict[str, Record] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            record = parse_record(line.rstrip())
        except ValueError:
            log.warn("Line {number} of the password file cannot be read, and is passed over", number=number)  # noqa: G010  # Twisted has no longer name
            continue
        records[record.name] = record
    return records


def replace_line(text: str, name: str, line: str | None) -> str:
    """Return the file's text with `line` as the line of `name`, or without one; all other lines stay as they are."""
    lines = text.splitlines(keepends=True) if text else [HEADING]
    if not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    places = [place for place, old in enumerate(lines) if old.split(" ", 1)[0] == name]
    place = places[0] if places else len(lines)
    kept = [old for old in lines if old.split(" ", 1)[0] != name]
    return "".join(kept[:place] + ([] if line is None else [line + "\n"]) + kept[place:])
