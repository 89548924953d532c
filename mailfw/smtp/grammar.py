"""Commands of RFC 5321 section 4.1, with the growth of RFC 6531: octets in, values out, or `Rejected`."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping

from mailfw.mail.address import Address, normalise_domain
from mailfw.mail.reply import Reply
from mailfw.smtp import replies
from mailfw.smtp.replies import Rejected

#: Of AUTH with an initial response (RFC 4954 section 4).
AUTH_LIMIT = 12288

#: Of the local part, in octets.  RFC 5321 section 4.5.3.1.1 asks for 64; senders rewritten by VERP and SRS are longer.
LOCAL_LIMIT = 256
#: Of the domain, in octets (RFC 5321 section 4.5.3.1.2).
DOMAIN_LIMIT = 255
#: Of one label, in octets (RFC 1035 section 2.3.4).
LABEL_LIMIT = 63

# UTF8-non-ascii of RFC 6531 section 3.3, without C1 controls, line separators and the marks that turn the direction of
# text: they name nobody, and whoever prints them is fooled.
_UTF8 = r"\u00a0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\U0010ffff"
# Atom = 1*atext                                                    RFC 5321 section 4.1.2, RFC 5322 section 3.2.3
_ATOM = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_UTF8}]++"
# Dot-string = Atom *("." Atom)                                     RFC 5321 section 4.1.2
_DOT_STRING = rf"{_ATOM}(?:\.{_ATOM})*+"
# Quoted-string = DQUOTE *QcontentSMTP DQUOTE                       RFC 5321 section 4.1.2
_QUOTED_STRING = rf'"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_UTF8}]|\\[\x20-\x7e])*+"'
# sub-domain = Let-dig [Ldh-str] / U-label                          RFC 5321 section 4.1.2, RFC 6531 section 3.3
_SUB_DOMAIN = rf"[A-Za-z0-9{_UTF8}]++(?:-++[A-Za-z0-9{_UTF8}]++)*+"
# Domain = sub-domain *("." sub-domain); a final dot is forgiven, and taken away
_DOMAIN = rf"{_SUB_DOMAIN}(?:\.{_SUB_DOMAIN})*+\.?"
# address-literal = "[" ( IPv4-address-literal / IPv6-address-literal ) "]"         RFC 5321 section 4.1.3
_LITERAL = r"\[(?:[0-9.]++|[Ii][Pp][Vv]6:[0-9A-Fa-f:.]++)\]"
# Path = "<" [ A-d-l ":" ] Mailbox ">"                              RFC 5321 section 4.1.2
# The source route is read and ignored (appendix C).
_PATH = re.compile(
    rf"<(?:@{_DOMAIN}(?:,@{_DOMAIN})*+:)?"
    rf"(?P<local>{_DOT_STRING}|{_QUOTED_STRING})@(?P<domain>{_DOMAIN}|{_LITERAL})>"
)
_DOMAIN_ALONE = re.compile(_DOMAIN)
# "<Postmaster>", in any case                                       RFC 5321 section 4.1.1.3
_POSTMASTER = re.compile(r"<(postmaster)>", re.IGNORECASE | re.ASCII)
# mail = "MAIL FROM:" Reverse-path; a space behind the colon is forgiven, as scripts and old devices put one there
_FROM = re.compile(r"FROM: *", re.IGNORECASE | re.ASCII)
_TO = re.compile(r"TO: *", re.IGNORECASE | re.ASCII)
# esmtp-param = esmtp-keyword ["=" esmtp-value]                     RFC 5321 section 4.1.2, RFC 6531 section 3.3
_PARAMETER = re.compile(rf"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([\x21-\x3c\x3e-\x7e{_UTF8}]++))?")
# ehlo = "EHLO" SP ( Domain / address-literal ); an underscore and a literal without its tag are forgiven to
# desktop machines that are called so
_HELO = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*+)|\[[A-Za-z0-9:.]++\]")
# sasl-mech = 1*20mech-char                                         RFC 4422 section 3.1
_AUTH = re.compile(r"([A-Za-z0-9_-]{1,20})(?: +([A-Za-z0-9+/]*+={0,2}))?")

# bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ]                   RFC 3030 section 2
_CHUNK = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE | re.ASCII)

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")
#: The commands that may carry UTF-8 (RFC 6531 section 3.7).
_INTERNATIONAL = frozenset({b"MAIL", b"RCPT", b"VRFY"})

NO_PARAMETERS: Mapping[str, str | None] = {}


def split_command(line: bytes) -> tuple[bytes, str]:
    """Return the verb in upper case and the rest, without spaces behind it (RFC 5321 section 4.1.1 tolerates them)."""
    line = line.rstrip(b" \t")
    if _CONTROLS.search(line):
        raise Rejected(replies.BAD_OCTETS)
    verb, _, argument = line.partition(b" ")
    verb = verb.upper()
    if line.isascii():
        return verb, argument.decode("ascii")
    if verb not in _INTERNATIONAL:
        raise Rejected(replies.BAD_OCTETS)
    try:
        return verb, argument.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected(replies.BAD_OCTETS)


def expect_nothing(argument: str) -> None:
    """Refuse an argument where there is to be none."""
    if argument:
        raise Rejected(replies.ARGUMENT_NOT_ALLOWED)


def parse_helo(argument: str) -> str:
    """Read the name by which a client calls itself."""
    if len(argument) > DOMAIN_LIMIT or not _HELO.fullmatch(argument):
        raise Rejected(replies.BAD_ARGUMENT if argument else replies.NO_ARGUMENT)
    return argument


def parse_mail(argument: str) -> tuple[Address | None, Mapping[str, str | None]]:
    """Read the sender, None for ``<>``, and the parameters behind it."""
    begun = _FROM.match(argument)
    if begun is None:
        raise Rejected(replies.BAD_SENDER)
    if argument.startswith("<>", begun.end()):
        return None, _parse_parameters(argument, begun.end() + 2)
    return _parse_address(argument, begun.end(), replies.BAD_SENDER)


def parse_rcpt(argument: str) -> tuple[Address, Mapping[str, str | None]]:
    """Read a recipient and the parameters behind it."""
    begun = _TO.match(argument)
    if begun is None:
        raise Rejected(replies.BAD_RECIPIENT)
    postmaster = _POSTMASTER.match(argument, begun.end())
    if postmaster is not None:
        return Address(postmaster[1], ""), _parse_parameters(argument, postmaster.end())
    return _parse_address(argument, begun.end(), replies.BAD_RECIPIENT)


def _parse_address(argument: str, start: int, otherwise: Reply) -> tuple[Address, Mapping[str, str | None]]:
    path = _PATH.match(argument, start)
    if path is None:
        raise Rejected(otherwise)
    local, domain = path["local"], path["domain"]
    if local[0] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])  # quoted-pairSMTP, RFC 5321 section 4.1.2
    try:
        domain = _read_literal(domain) if domain[0] == "[" else _read_domain(domain)
    except ValueError:
        raise Rejected(otherwise)
    if len(local.encode()) > LOCAL_LIMIT:
        raise Rejected(otherwise)
    return Address(local, domain), _parse_parameters(argument, path.end())


def _read_domain(domain: str) -> str:
    """Normalise; raises `ValueError` for what cannot be a name, also behind an A-label."""
    normal = normalise_domain(domain)
    if len(normal) > LABEL_LIMIT // 2 and (
        len(normal.encode()) > DOMAIN_LIMIT or any(len(label.encode()) > LABEL_LIMIT for label in normal.split("."))
    ):
        raise ValueError("too long")
    if not normal.isascii() and not _DOMAIN_ALONE.fullmatch(normal):
        raise ValueError("not a domain name")
    return normal


def _read_literal(literal: str) -> str:
    """Normalise an address literal: brackets, tag and address in lower case."""
    if ":" in literal:
        return f"[ipv6:{ipaddress.IPv6Address(literal[6:-1]).compressed}]"
    return f"[{ipaddress.IPv4Address(literal[1:-1])}]"


def _parse_parameters(argument: str, start: int) -> Mapping[str, str | None]:
    """Read Mail-parameters = esmtp-param *(SP esmtp-param); keywords come back in upper case."""
    if start == len(argument):
        return NO_PARAMETERS
    if argument[start] != " ":
        raise Rejected(replies.BAD_PARAMETER)
    found: dict[str, str | None] = {}
    for word in filter(None, argument[start:].split(" ")):
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None:
            raise Rejected(replies.BAD_PARAMETER)
        keyword = parameter[1].upper()
        if keyword in found:
            raise Rejected(replies.DUPLICATE_PARAMETER)
        found[keyword] = parameter[2]
    return found


def parse_chunk(argument: str) -> tuple[int, bool]:
    """Read the size of a chunk and whether it is the last."""
    parsed = _CHUNK.fullmatch(argument)
    if parsed is None:
        raise Rejected(replies.BAD_CHUNK)
    return int(parsed[1]), parsed[2] is not None


def parse_vrfy(argument: str) -> Address | None:
    """Read an address with or without its angle brackets; None for a name, which could be anybody's."""
    if not argument:
        raise Rejected(replies.NO_ARGUMENT)
    path = argument if argument.startswith("<") else f"<{argument}>"
    if "@" not in argument:
        return None
    return _parse_address(path, 0, replies.BAD_RECIPIENT)[0]


def parse_auth(argument: str) -> tuple[str, bytes | None]:
    """Read the mechanism in upper case and the decoded initial response; ``=`` is an empty one (RFC 4954 section 4)."""
    if not argument:
        raise Rejected(replies.NO_ARGUMENT)
    parsed = _AUTH.fullmatch(argument)
    if parsed is None:
        raise Rejected(replies.BAD_RESPONSE if " " in argument else replies.BAD_ARGUMENT)
    initial = parsed[2]
    if initial == "=":
        return parsed[1].upper(), b""
    try:
        return parsed[1].upper(), base64.b64decode(initial, validate=True) if initial else None
    except binascii.Error:
        raise Rejected(replies.BAD_RESPONSE)
