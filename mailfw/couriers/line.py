"""All connections to one host, and the messages that wait for one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from twisted.logger import Logger

from mailfw.couriers.caller import Caller, Surroundings
from mailfw.couriers.errand import FAULT, NO_SPACE, STOPPING, Errand
from mailfw.mail.failure import NoSpace
from mailfw.mail.hop import Hop
from mailfw.mail.reply import Reply
from mailfw.smtp.client.fitting import Peer, Unfit, fit
from mailfw.smtp.client.responses import LINE_LIMIT, NotSMTP, deferred, outcome
from mailfw.smtp.client.session import WIRE_FAULTS, Closing, Session, Unusable, describe
from mailfw.smtp.client.transaction import Interrupted, NoChunking, Transaction
from mailfw.wire.interruptions import Disconnected, Woken
from mailfw.wire.running import Run

log = Logger()

#: How often a message is tried again at once because a connection broke that others had used before it.
_TRIES = 3


@dataclass(slots=True)
class Load:
    """A message under way on a connection."""

    errand: Errand
    transaction: Transaction
    is_first: bool


class Line:
    """
    Connections to one hop.

    Whoever waits longest goes first, by a connection that is free; a new one is made where there is none and the limit
    allows it.  What breaks on a connection that had been used before says nothing of the message in hand: it goes
    again, by another one.
    """

    def __init__(self, hop: Hop, surroundings: Surroundings, ended: Callable[[Line], None]) -> None:
        """Begin without a connection; `ended` hears when there is nothing left here."""
        self.hop = hop
        self._ended = ended
        self._around = surroundings
        self._settings = surroundings.settings
        self._waiting: deque[Errand] = deque()
        self._idle: list[Session] = []
        #: Each with the messages it was last given, of which no more than two are under way.
        self._sessions: dict[Session, deque[Errand]] = {}
        self._dialling = 0
        self._becoming_free = 0
        self._limit = max(1, self._settings.host_connections)
        self._caller = Caller(hop, surroundings)
        self._may_follow = True
        self._closing = False

    @property
    def connections(self) -> int:
        """How many there are, and are being made."""
        return len(self._sessions) + self._dialling

    def add(self, errand: Errand) -> None:
        """Take a message."""
        self._waiting.append(errand)
        if self._idle:
            self._free(self._idle[-1]).stream.wake()
        self._dial()

    def withdraw(self, errand: Errand) -> None:
        """Forget a message that nobody waits for any more, if it still waits itself."""
        if errand in self._waiting:
            self._waiting.remove(errand)

    def close(self) -> None:
        """Take no more, and close what is free."""
        self._closing = True
        while self._waiting:
            self._waiting.popleft().fail(Unusable(STOPPING))
        for session in list(self._idle):
            self._free(session).stream.wake()

    def cut(self) -> None:
        """Drop every connection."""
        for session in list(self._sessions):
            session.abandon()

    def _free(self, session: Session) -> Session:
        """Take a connection from those that wait."""
        self._idle.remove(session)
        self._around.idle -= 1
        return session

    def _now(self) -> float:
        now: float = self._around.dialer.clock.seconds()
        return now

    # ------------------------------------------------------------ connecting

    def _dial(self) -> None:
        """Make as many connections as there are messages without one, within the limit."""
        while (
            len(self._waiting) > self._dialling + self._becoming_free
            and self.connections < self._limit
            and not self._closing
        ):
            self._dialling += 1
            Run(self._work(self._waiting[0].destination), self._look_whether_ended).go_on()

    def _look_whether_ended(self) -> None:
        self._dial()
        if not self.connections and not self._waiting:
            self._ended(self)

    async def _work(self, destination: str) -> None:
        """Connect, and hand over messages until there are none."""
        session = None
        try:
            session = await self._caller.call(destination)
        except Unusable as reason:
            self._dialling -= 1
            self._give_up(reason)
            return
        except Exception:
            log.failure("Connecting to {host} failed", host=self.hop.host)
            self._dialling -= 1
            self._give_up(Unusable(FAULT))
            return
        self._dialling -= 1
        self._sessions[session] = deque(maxlen=3)
        try:
            await self._serve(session)
            await session.quit()
        except Exception:
            log.failure("A connection to {host} ended by a fault of ours", host=self.hop.host)
            session.abandon()
            for errand in self._sessions[session]:
                if not errand.done.called and errand not in self._waiting:
                    errand.conclude_all(deferred(FAULT, ""))
        del self._sessions[session]
        self._log(session)

    def _give_up(self, reason: Unusable) -> None:
        """Let those who wait be told, unless other connections are there for them."""
        if self._sessions:
            self._limit = max(1, len(self._sessions))  # the host has said how many it wants
            return
        self._around.useless(self.hop, reason.reply)
        while self._waiting:
            self._waiting.popleft().fail(Unusable(reason.reply))

    def _log(self, session: Session) -> None:
        log.info(
            "{messages} messages handed to {host} [{address}]:{port}",
            messages=session.sent,
            host=self.hop.host,
            address=self.hop.address,
            port=self.hop.port,
            tls=session.tls,
        )

    # ------------------------------------------------------------ handing over

    async def _serve(self, session: Session) -> None:
        """Hand over one message after the other."""
        following: Load | None = None
        until = self._now() + self._settings.connection_time
        while True:
            load, following = following, None
            if load is None:
                errand = await self._next(session, until)
                if errand is None:
                    return
                load = await self._load(session, errand)
                if load is None:
                    continue
            transaction = load.transaction
            try:
                if await transaction.agree():
                    await transaction.send()
                    if self._waiting and self._may_follow_on(session, until):
                        following = await self._load(session, self._waiting.popleft(), behind_another=True)
                    await transaction.finish()
            except Exception as reason:
                session.abandon()
                await self._break_off(load, following, reason)
                return
            # Whoever hears of this may have the next message at hand, which this connection is then free for.
            is_free = following is None and self._may_take(session, until)
            self._becoming_free += is_free
            try:
                await self._unload(load)
            finally:
                self._becoming_free -= is_free

    def _may_follow_on(self, session: Session, until: float) -> bool:
        """Whether the next message may begin before the one under way is answered."""
        return self._may_follow and session.offered.pipelining and self._may_take(session, until)

    def _may_take(self, session: Session, until: float) -> bool:
        offered, settings = session.offered, self._settings
        return (
            session.is_open
            and not self._closing
            and session.sent < min(offered.messages or settings.connection_messages, settings.connection_messages)
            and self._now() < until
        )

    async def _next(self, session: Session, until: float) -> Errand | None:
        """Return a message for a free connection, None when it should be closed."""
        while self._may_take(session, until) or not session.sent:
            if self._waiting:
                return self._waiting.popleft()
            if self._closing or self._around.idle >= self._settings.idle_connections:
                return None
            self._idle.append(session)
            self._around.idle += 1
            try:
                session.stream.timeout = self._settings.idle_time
                await session.stream.read_line(LINE_LIMIT, idle=True)
            except Woken:
                continue  # whoever wakes a connection has taken it from those that wait
            except WIRE_FAULTS as fault:
                session.is_open = not isinstance(fault, Disconnected)
            self._free(session)  # the time is up, or the server has something to say, which can only be goodbye
            return None
        return None

    async def _load(self, session: Session, errand: Errand, behind_another: bool = False) -> Load | None:
        """Begin with a message; None if that was all that could be done for it."""
        self._sessions[session].append(errand)
        peer = Peer(session.offered, session.stream.is_secure, session.is_logged_in)
        try:
            parcel = await fit(errand.envelope, errand.content, peer, self._around.wall_time(), self._around.means)
        except Unfit as unfit:
            if unfit.elsewhere:
                errand.fail(Unusable(unfit.reply))
            else:
                errand.conclude_all(outcome(unfit.reply, self.hop.host))
            return None
        except NoSpace:
            errand.conclude_all(deferred(NO_SPACE, ""))
            return None
        except Exception:
            log.failure("Message {id} could not be read", id=errand.envelope.id)
            errand.conclude_all(deferred(FAULT, ""))
            return None
        errand.conclude({each: outcome(reply, self.hop.host) for each, reply in parcel.unsayable.items()})
        if not errand.pending:
            await parcel.close()
            errand.end()
            return None
        transaction = Transaction(session, parcel, errand.batch(session.offered))
        load = Load(errand, transaction, session.sent == 0)
        transaction.begin(behind_another)
        return load

    async def _unload(self, load: Load) -> None:
        """Take the outcomes of a message that has come to its end."""
        await load.transaction.parcel.close()
        load.errand.conclude(load.transaction.outcomes)
        if load.errand.pending:
            self._again(load.errand)  # those whom the server did not take together with the others
        else:
            load.errand.end()

    def _again(self, errand: Errand) -> None:
        if self._closing:
            errand.fail(Unusable(STOPPING))
        elif not errand.is_cancelled:
            self._waiting.appendleft(errand)

    # ------------------------------------------------------------ what goes wrong

    async def _break_off(self, load: Load, following: Load | None, reason: Exception) -> None:
        """Sort out what becomes of the messages of a connection that broke."""
        if following is not None:
            await following.transaction.parcel.close()
            self._again(following.errand)
            self._may_follow = self._may_follow and isinstance(reason, Closing)
        await load.transaction.parcel.close()
        if isinstance(reason, NoChunking):
            self._around.without_chunks.learn(self.hop)
        if self._goes_again(load, reason):
            load.errand.attempts += 1
            self._again(load.errand)
            return
        self._conclude_broken(load, reason)
        if load.errand.pending:
            self._again(load.errand)
        else:
            load.errand.end()

    def _goes_again(self, load: Load, reason: Exception) -> bool:
        """Whether what broke a connection has nothing to do with the message in hand."""
        if load.errand.attempts >= _TRIES or not isinstance(reason, (Closing, *WIRE_FAULTS)):
            return False
        if isinstance(reason, NoChunking):
            return True
        if load.is_first or isinstance(reason, NotSMTP):
            return False
        return isinstance(reason, Closing) or not load.transaction.is_uncertain

    def _conclude_broken(self, load: Load, reason: Exception) -> None:
        """Give every recipient of the transaction an outcome."""
        errand, transaction, host = load.errand, load.transaction, self.hop.host
        if isinstance(reason, Interrupted):
            transaction.interrupted_by(reason.reply)
        left = transaction.open_recipients
        if isinstance(reason, Closing):
            because = deferred(reason.reply, host, unreachable=True)
        elif isinstance(reason, Interrupted):
            because = deferred(reason.reply, host)
        elif isinstance(reason, WIRE_FAULTS):
            doing = "the end of the message" if transaction.is_uncertain else "the message"
            because = deferred(Reply(451, "4.4.2", describe(reason, doing)), host, not transaction.is_uncertain)
            if transaction.is_uncertain:
                errand.uncertain.update(left)
        else:
            log.error("Message {id} could not be read: {reason}", id=errand.envelope.id, reason=repr(reason))
            because = deferred(FAULT, "")
        errand.conclude({**transaction.outcomes, **dict.fromkeys(left, because)})
