"""Questions and answers as octets: dnspython reads and writes them, and knows of no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from mailfw.mail.lookup import MX, TLSA, Answer, Finding

#: What a UDP answer may have: no path on the Internet breaks it into pieces (RFC 9715 section 3.1, R1).
EDNS_PAYLOAD = 1232
#: Steps from name to name by CNAME; RFC 1034 section 3.6.2 asks for few, and loops to be an error.
LONGEST_CHAIN = 8
#: Records of one answer that are looked at; nobody has so many mail exchangers.
MOST_RECORDS = 200
#: Seconds an answer is believed at most, and at most where it says that there is nothing (RFC 2308 section 5).
LONGEST_TTL = 86_400
LONGEST_NEGATIVE_TTL = 10_800
#: Octets of the header (RFC 1035 section 4.1.1).
HEADER = 12

Convert = Callable[[Any], object]


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if len(name) > 1 else ""


#: How each kind of record is given to who asks.
KINDS: Mapping[str, Convert] = {
    "A": lambda record: record.address,
    "AAAA": lambda record: record.address,
    "MX": lambda record: MX(record.preference, _host(record.exchange)),
    "TXT": lambda record: b"".join(record.strings),
    "TLSA": lambda record: TLSA(record.usage, record.selector, record.mtype, record.cert),
    "PTR": lambda record: _host(record.target),
    "CNAME": lambda record: _host(record.target),
}


class Nonsense(Exception):
    """The answer is none: malformed, to another question, or without end."""


class Refused(Exception):
    """The server would not or could not say; the text is its response code."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: `name` in lower case and A-labels, without the final dot."""

    name: str
    kind: str

    def encode(self, number: int, edns: bool = True) -> bytes:
        """
        Write the query, which asks for recursion, and for validation (RFC 6840 section 5.7).

        Raises `ValueError` for what no name in the DNS can be.
        """
        query = dns.message.Message(id=number)
        query.flags = dns.flags.RD | dns.flags.AD
        query.find_rrset(query.question, self._name(), dns.rdataclass.IN, self._type(), create=True, force_unique=True)
        if edns:
            query.use_edns(0, payload=EDNS_PAYLOAD)
        return query.to_wire()

    def _name(self) -> dns.name.Name:
        # Not `dns.name.from_text`: a backslash is no escape in a mail domain, and IDNA was done before.
        try:
            return dns.name.Name([label.encode("ascii") for label in self.name.split(".")] + [b""])
        except (UnicodeError, dns.exception.DNSException) as broken:
            raise ValueError(f"no name in the DNS: {type(broken).__name__}") from broken

    def _type(self) -> dns.rdatatype.RdataType:
        return dns.rdatatype.from_text(self.kind)


def is_truncated(octets: bytes) -> bool:
    """TC, RFC 1035 section 4.1.1: ask again over TCP."""
    return bool(octets[2] & 0x02)


def answers(octets: bytes, number: int, question: Question) -> bool:
    """Whether a datagram is an answer to our query at all, by id, QR bit and question; what is not may be forged."""
    if len(octets) < HEADER or int.from_bytes(octets[:2], "big") != number or not octets[2] & 0x80:
        return False
    if octets[4:6] == b"\0\0":
        return True  # a server that could not read the question need not repeat it
    asked = question.encode(number, edns=False)[HEADER:]
    return octets[HEADER : HEADER + len(asked)].lower() == asked.lower()


def decode(octets: bytes, question: Question, trusted: bool) -> Answer[Any]:
    """
    Read an answer.  Where a CNAME leads on to what the answer does not tell, it is `NO_DATA` with a `why`.

    Raises `Nonsense`, and `Refused` for a response code that says nothing of the name.
    """
    try:
        message = dns.message.from_wire(octets, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError, UnicodeError) as broken:
        raise Nonsense(f"malformed answer: {type(broken).__name__}") from broken
    if message.opcode() != dns.opcode.QUERY or not message.flags & dns.flags.QR:
        raise Nonsense("not an answer")
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise Refused(dns.rcode.to_text(message.rcode()))
    if len(message.question) != 1:
        raise Nonsense("an answer without its question")
    return _read(message, question, trusted and bool(message.flags & dns.flags.AD))


def _read(message: dns.message.Message, question: Question, secure: bool) -> Answer[Any]:
    name, records, ttl = _follow(message, question)
    where = _host(name)
    if message.rcode() == dns.rcode.NXDOMAIN:
        if records is not None:
            raise Nonsense("records of a name that does not exist")
        # Of a chain, it is the last name that does not exist (RFC 6604 section 3).
        return Answer(Finding.NO_NAME, (), secure, _negative_ttl(message, ttl), where)
    if records is not None:
        convert = KINDS[question.kind]
        found = tuple(convert(record) for record in list(records)[:MOST_RECORDS])
        return Answer(Finding.FOUND, found, secure, min(ttl, LONGEST_TTL), where)
    if _soa(message) is None:
        if where != question.name:
            return Answer(Finding.NO_DATA, (), secure, min(ttl, LONGEST_TTL), where, "CNAME")
        if not message.flags & (dns.flags.AA | dns.flags.RA):
            raise Nonsense("a referral by a server that does not recurse")
    return Answer(Finding.NO_DATA, (), secure, _negative_ttl(message, ttl), where)


def _follow(message: dns.message.Message, question: Question) -> tuple[dns.name.Name, dns.rrset.RRset | None, int]:
    """Go along the CNAMEs of one answer: the name they lead to, its records, and the lowest TTL on the way."""
    name, ttl = question._name(), LONGEST_TTL
    for _ in range(LONGEST_CHAIN + 1):
        records = message.get_rrset(message.answer, name, dns.rdataclass.IN, question._type())
        if records is not None:
            return name, records, min(ttl, records.ttl)
        alias = message.get_rrset(message.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is None:
            return name, None, ttl
        name, ttl = alias[0].target, min(ttl, alias.ttl)
    raise Nonsense("CNAMEs without end")


def _soa(message: dns.message.Message) -> dns.rrset.RRset | None:
    return next((each for each in message.authority if each.rdtype == dns.rdatatype.SOA), None)


def _negative_ttl(message: dns.message.Message, ttl: int) -> int:
    """RFC 2308 section 5: the SOA's own TTL or its MINIMUM, whichever is less; without one it is not remembered."""
    soa = _soa(message)
    if soa is None or not len(soa):
        return 0
    return int(min(ttl, soa.ttl, soa[0].minimum, LONGEST_NEGATIVE_TTL))
