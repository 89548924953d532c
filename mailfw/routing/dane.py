"""DANE for SMTP: which TLSA records can be used, and whom they vouch for (RFC 7672)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailfw.interfaces import IResolver
from mailfw.mail.hop import TLSDemand, TLSLevel
from mailfw.mail.lookup import TLSA, Finding

#: Octets of a digest by matching type; 0 is the whole certificate or key (RFC 6698 section 2.1.3).
_DIGESTS = {1: 32, 2: 64}
#: Records of one host that are looked at.
_MOST_RECORDS = 20


@dataclass(frozen=True, slots=True)
class Vouched:
    """
    What the DNS vouches for: `base` is the name the records were found under, which is the host's name in TLS.

    `records` are all that are published, of whatever use; `failed` says why nobody knows.
    """

    base: str
    records: tuple[TLSA, ...] = ()
    failed: str = ""

    @property
    def usable(self) -> tuple[TLSA, ...]:
        """The records that a certificate can be judged by."""
        return usable(self.records)

    def demand(self, names: Iterable[str]) -> TLSDemand:
        """
        Return what is demanded of the connection; `names` may be in a certificate besides `base`.

        Where no record can be used, TLS is required all the same (RFC 7672 section 2.2).
        """
        if not self.usable:
            return TLSDemand(TLSLevel.ENCRYPT, policy="tlsa")
        reference = tuple(dict.fromkeys([self.base, *names]))  # RFC 7672 section 3.2.2
        return TLSDemand(TLSLevel.VERIFY, names=reference, tlsa=self.usable, policy="tlsa")


def usable(records: Sequence[TLSA]) -> tuple[TLSA, ...]:
    """Leave out what SMTP has no use for (RFC 7672 section 3.1.3), and what is malformed."""
    return tuple(each for each in records if _is_usable(each))[:_MOST_RECORDS]


def _is_usable(record: TLSA) -> bool:
    if record.usage not in (2, 3) or record.selector not in (0, 1) or not record.data:
        return False
    return record.matching == 0 or len(record.data) == _DIGESTS.get(record.matching, -1)


async def vouched(resolver: IResolver, host: str, canonical: str, port: int) -> Vouched | None:
    """
    Return what is published for a host whose addresses are secure, None if nothing is.

    `canonical` is where CNAMEs led: it is asked for first, then the host itself (RFC 7672 section 2.2.3).  A look-up
    that failed never counts as none: somebody may have wanted it to fail.
    """
    for base in dict.fromkeys((canonical or host, host)):
        answer = await resolver.look_up(f"_{port}._tcp.{base}", "TLSA")
        if answer.finding is Finding.FAILED:
            return Vouched(base, failed=answer.why or "no answer")
        if answer.finding is Finding.FOUND and answer.secure:
            return Vouched(base, tuple(answer.records))
    return None
