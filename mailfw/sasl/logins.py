"""How the clients of a listener log in: what is offered, the exchange, and the judgement; the same in all protocols."""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginFailed, Unauthorized
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailfw.interfaces import IAccount
from mailfw.mail.failure import Overloaded
from mailfw.sasl.channel import channel_of
from mailfw.sasl.credentials import IScramKeyring, IScramProof, account_of
from mailfw.sasl.exchange import Cancelled, KeysWanted, NotBase64, Proof, Refused, Throttled, Unavailable
from mailfw.sasl.keys import ScramKeys
from mailfw.sasl.mechanisms import MECHANISMS, USUAL, offered

log = Logger()

#: Of one response in base64, with its CRLF: RFC 4954 section 4; RFC 5034 and RFC 9051 have none of their own.
RESPONSE_LIMIT = 12288
#: Seconds that a checker and a store may take for one login; hashes may have to wait for a few of them.
JUDGED_WITHIN = 60.0


class Attempts(Protocol):
    """Counts logins that failed, on every connection of every protocol."""

    def admits(self, address: str, account: str) -> bool:
        """Whether another attempt is judged."""

    def failed(self, address: str, account: str) -> float:
        """Count a failure, and return how many seconds to let pass before the client hears of it."""

    def succeeded(self, address: str, account: str) -> None:
        """Note a login that was right."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user who has proved to be one; `logout` is to be called when the session ends."""

    account: IAccount
    logout: Callable[[], object]


class Logins:
    """
    What the sessions of a listener share.

    `prefix` is what the protocol writes before a challenge.  `plaintext` permits all that is offered without TLS too.
    """

    def __init__(
        self,
        portal: Portal,
        clock: Any,
        prefix: bytes,
        *,
        plaintext: bool = False,
        attempts: Attempts | None = None,
        enabled: Collection[str] = USUAL,
    ) -> None:
        self._portal = portal
        self._clock = clock
        self._prefix = prefix
        self._plaintext = plaintext
        self._attempts = attempts
        self._enabled = enabled

    def permits(self, stream: Any) -> bool:
        """Whether anybody may log in on this connection as it is now."""
        return self._plaintext or bool(stream.is_secure)

    def takes_passwords(self, stream: Any) -> bool:
        """Whether a name and a password may come outside any mechanism: where PLAIN could be used."""
        accepted = self._portal.listCredentialsInterfaces()
        return self.permits(stream) and "PLAIN" in self._enabled and IUsernamePassword in accepted

    def offered(self, stream: Any) -> tuple[str, ...]:
        """Return the mechanisms that can be used on this connection as it is now."""
        if not self.permits(stream):
            return ()
        return offered(channel_of(stream), self._portal.listCredentialsInterfaces(), self._enabled)

    async def authenticate(self, stream: Any, mechanism: str, initial: bytes | None) -> Login:
        """
        Hold the exchange of a mechanism that is offered; `initial` is the decoded initial response, None without one.

        Raises `Malformed`, `Cancelled`, `Refused`, `Throttled`, `Unavailable`, and what reading a line raises.
        """
        exchange = MECHANISMS[mechanism].begin(channel_of(stream))
        try:
            step = exchange.next(initial)
            while not isinstance(step, Proof):
                if isinstance(step, KeysWanted):
                    step = step.resume(await self._keys(step.username, step.mechanism))
                else:
                    step = exchange.next(await self._ask(stream, step.octets))
        except Refused:
            await self._refuse(stream, "")
        return await self._judge(stream, step)

    async def judge(self, stream: Any, credentials: Any) -> Login:
        """Judge a name and a password that came by other ways.  Raises `Refused`, `Throttled`, `Unavailable`."""
        return await self._judge(stream, Proof(credentials))

    async def _judge(self, stream: Any, proof: Proof) -> Login:
        address, account = stream.peer[0], account_of(proof.credentials)
        if self._attempts is not None and not self._attempts.admits(address, account):
            raise Throttled
        try:
            judging = self._portal.login(proof.credentials, None, IAccount)
            _, avatar, logout = await judging.addTimeout(JUDGED_WITHIN, self._clock)
            login = Login(IAccount(avatar), logout)
        except (LoginFailed, Unauthorized):
            if proof.refusal is not None:
                await self._last_word(stream, proof.refusal)
            await self._refuse(stream, account)
        except Overloaded:
            raise Unavailable
        except Exception:
            log.failure("A login from {peer} could not be judged", peer=address)
            raise Unavailable
        if proof.confirmation is not None:
            await self._confirm(stream, proof.confirmation, login)
        if self._attempts is not None:
            self._attempts.succeeded(address, account)
        return login

    async def _refuse(self, stream: Any, account: str) -> NoReturn:
        """Count a failure, and let some time pass: the more, the more there were."""
        pause = self._attempts.failed(stream.peer[0], account) if self._attempts is not None else 0.0
        if pause > 0:
            stream.flush()
            await deferLater(self._clock, pause)
        raise Refused

    async def _confirm(self, stream: Any, octets: bytes, login: Login) -> None:
        """Say the mechanism's last word; a client that does not accept it is not logged in."""
        try:
            await self._ask(stream, octets)
        except BaseException:
            login.logout()
            raise

    async def _last_word(self, stream: Any, octets: bytes) -> None:
        try:
            await self._ask(stream, octets)
        except (NotBase64, Cancelled):
            return  # it is refused in any case

    async def _keys(self, username: bytes, mechanism: str) -> ScramKeys:
        """Ask the checker that will judge the proof."""
        keyring = IScramKeyring(self._portal.checkers[IScramProof])
        try:
            looking = Deferred.fromCoroutine(keyring.scram_keys(username, mechanism))
            keys: ScramKeys | None = await looking.addTimeout(JUDGED_WITHIN, self._clock)
        except Exception:
            log.failure("The keys of an account cannot be had")
            raise Unavailable
        if keys is None:
            raise Refused
        return keys

    async def _ask(self, stream: Any, octets: bytes) -> bytes:
        """Send a challenge and return the response."""
        stream.write(self._prefix + b64encode(octets) + b"\r\n")
        line = await stream.read_line(RESPONSE_LIMIT)
        if line == b"*":
            raise Cancelled  # RFC 4954 section 4, RFC 5034 section 4, RFC 9051 section 6.2.2
        return decode(line)


def decode(response: bytes) -> bytes:
    """Read a response in base64 (RFC 4648 section 4).  Raises `NotBase64`."""
    try:
        return binascii.a2b_base64(response, strict_mode=True) if response else b""
    except binascii.Error:
        raise NotBase64
