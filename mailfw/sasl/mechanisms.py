"""Every mechanism a server of ours can offer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from zope.interface import Interface

from mailfw.sasl.bearer import OAuthBearer
from mailfw.sasl.channel import Channel
from mailfw.sasl.cram_md5 import CramMD5
from mailfw.sasl.credentials import IBearerToken, IClientCertificate, IScramProof
from mailfw.sasl.exchange import Mechanism
from mailfw.sasl.external import External
from mailfw.sasl.login import Login
from mailfw.sasl.plain import Plain
from mailfw.sasl.scram import Scram
from mailfw.sasl.xoauth2 import XOAuth2


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A mechanism: what begins an exchange on a channel, the credentials it ends in, and what the channel needs.

    `usual` is False for what has to be asked for.
    """

    begin: Callable[[Channel], Mechanism]
    credentials: type[Interface]
    fits: Callable[[Channel], bool] = lambda channel: True
    usual: bool = True


def _scram(name: str, plus: bool) -> Kind:
    fits: Callable[[Channel], bool] = (lambda channel: bool(channel.bindings)) if plus else (lambda channel: True)
    return Kind(lambda channel: Scram(name, plus, channel.bindings), IScramProof, fits)


#: Mechanisms by name, in the order in which they are advertised: clients that do not know better take the first.
MECHANISMS: Mapping[str, Kind] = {
    "SCRAM-SHA-256-PLUS": _scram("SCRAM-SHA-256", True),
    "SCRAM-SHA-1-PLUS": _scram("SCRAM-SHA-1", True),
    "SCRAM-SHA-256": _scram("SCRAM-SHA-256", False),
    "SCRAM-SHA-1": _scram("SCRAM-SHA-1", False),
    "EXTERNAL": Kind(lambda channel: External(channel.names), IClientCertificate, lambda channel: bool(channel.names)),
    "OAUTHBEARER": Kind(lambda channel: OAuthBearer(), IBearerToken),
    "XOAUTH2": Kind(lambda channel: XOAuth2(), IBearerToken),
    "PLAIN": Kind(lambda channel: Plain(), IUsernamePassword),
    "LOGIN": Kind(lambda channel: Login(), IUsernamePassword),
    "CRAM-MD5": Kind(lambda channel: CramMD5(), IUsernameHashedPassword, usual=False),
}

#: What may be used unless the configuration says otherwise; a SCRAM stands for its -PLUS as well, since with only
#: one of the two allowed the client could not tell whether somebody has struck out the other.
USUAL = tuple(name for name, kind in MECHANISMS.items() if kind.usual and not name.endswith("-PLUS"))


def offered(channel: Channel, accepted: Collection[type[Interface]], enabled: Collection[str]) -> tuple[str, ...]:
    """Return the mechanisms that can be used on a channel, for a portal that accepts these credentials."""
    return tuple(
        name
        for name, kind in MECHANISMS.items()
        if kind.credentials in accepted and name.removesuffix("-PLUS") in enabled and kind.fits(channel)
    )
