"""Parameter values that were cut in pieces: RFC 2231 section 3."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from mailfw.mail.fields import Parameters, to_octets, to_text

# attribute section: "*0", or "*" and a number without zeros before it; another "*" where the value is extended
_SECTION = re.compile(r"([^*]+)\*(0|[1-9][0-9]{0,2})(\*?)", re.ASCII)


def joined(parameters: Parameters) -> Parameters:
    """
    Return parameters with the sections of each value put together, as RFC 2231 section 6 asks of IMAP servers.

    They come last.  A value of which any section was extended is that of the name with ``*``, still encoded; sections
    of which one is missing, or there twice, stay as they are.
    """
    if not any("*" in name for name, _ in parameters):
        return parameters
    sections: dict[str, list[tuple[int, str, bool]]] = {}
    for name, value in parameters:
        if (match := _SECTION.fullmatch(name)) is not None:
            sections.setdefault(match[1].lower(), []).append((int(match[2]), value, bool(match[3])))
    for found in sections.values():
        found.sort()
    whole = {name for name, found in sections.items() if [each[0] for each in found] == list(range(len(found)))}
    kept = [
        (name, value)
        for name, value in parameters
        if (match := _SECTION.fullmatch(name)) is None or match[1].lower() not in whole
    ]
    return (*kept, *(_join(name, sections[name]) for name in sorted(whole)))


def _join(name: str, pieces: list[tuple[int, str, bool]]) -> tuple[str, str]:
    if not any(extended for _, _, extended in pieces):
        return name, "".join([value for _, value, _ in pieces])
    first = "" if pieces[0][2] else "''"  # no charset, no language
    values = [value if extended else quote_from_bytes(to_octets(value), safe="") for _, value, extended in pieces]
    return name + "*", first + "".join(values)


def boundary_of(parameters: Parameters) -> str:
    """Return the boundary that a multipart names, in one piece or in several, empty without one."""
    encoded = ""
    for name, value in joined(parameters):
        match name.lower():
            case "boundary":
                return value
            case "boundary*":
                encoded = encoded or value.rpartition("'")[2]
    return to_text(unquote_to_bytes(to_octets(encoded)))
