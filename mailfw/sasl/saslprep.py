"""SASLprep (RFC 4013): the same password, however a keyboard composed it."""

from __future__ import annotations

import stringprep
import unicodedata

# Prohibited output                                                                          RFC 4013 section 2.3
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """
    Prepare a password as a query of RFC 3454 section 7: unassigned code points are permitted.

    Raises `ValueError` for a prohibited character or a mixture of directions.
    """
    mapped = (
        " " if stringprep.in_table_c12(c) else c  # non-ASCII spaces are spaces, RFC 4013 section 2.1
        for c in text
        if not stringprep.in_table_b1(c)  # commonly mapped to nothing
    )
    prepared = unicodedata.normalize("NFKC", "".join(mapped))
    if any(prohibits(c) for prohibits in _PROHIBITED for c in prepared):
        raise ValueError("a character that SASLprep prohibits")
    _check_directions(prepared)
    return prepared


def _check_directions(prepared: str) -> None:
    """Refuse what RFC 3454 section 6 does: text that begins, ends or is mixed in another direction."""
    if not any(map(stringprep.in_table_d1, prepared)):
        return
    if any(map(stringprep.in_table_d2, prepared)):
        raise ValueError("both directions of writing")
    if not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])):
        raise ValueError("text from right to left that does not begin and end so")


def prepare_password(password: bytes) -> bytes:
    """
    Return the octets of a password that are hashed.

    What SASLprep refuses is taken as it is, and so is what is not UTF-8: RFC 4013 would have us refuse the
    login, but such a password was set by its owner and tells nobody anything.
    """
    if password.isascii():
        return password
    try:
        return saslprep(password.decode("utf-8")).encode("utf-8")
    except ValueError:
        return password
