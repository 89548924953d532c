"""One message's way through one connection: MAIL, RCPT and the content, and an outcome for each recipient."""

from __future__ import annotations

from collections.abc import Sequence

from mailfw.mail.address import Address
from mailfw.mail.outcome import Delivered, Outcome
from mailfw.mail.reply import Reply
from mailfw.smtp.client.fitting import Parcel, pieces
from mailfw.smtp.client.responses import NotSMTP, deferred, outcome
from mailfw.smtp.client.session import Session
from mailfw.smtp.client.stuffing import Canonical, DotText

#: A message up to this many octets goes out with its RCPT commands, where BDAT allows that: should nobody be accepted,
#: not much was sent for nothing.
TOGETHER = 16 * 1024
_UNKNOWN_COMMAND = frozenset({500, 502})


class Transaction:
    """
    Sends a parcel to some of its recipients.

    In order: `begin`, `agree`, and if that says so `send`, then `finish`.  `begin` only writes, so that it can be
    called while the message before waits for its last answer: RFC 2920 section 3.1 lets a group begin there.

    `outcomes` holds what has become of each recipient; who is in `postponed` the server would not take together with
    the others (RFC 5321 section 4.5.3.1.10).  `is_uncertain` says that the server has got the whole message, and may
    have taken it, without our having heard so.
    """

    def __init__(self, session: Session, parcel: Parcel, recipients: Sequence[Address]) -> None:
        self.session = session
        self.parcel = parcel
        self.outcomes: dict[Address, Outcome] = {}
        self.postponed: list[Address] = []
        self.is_uncertain = False
        self._recipients = recipients
        self._accepted: list[Address] = []
        self._resets = False
        self._sent_together = False
        self._go_ahead = False
        self._chunks = 0

    # ------------------------------------------------------------ before the content

    def begin(self, behind_another: bool = False) -> None:
        """Say as much as can be said without waiting."""
        session, parcel = self.session, self.parcel
        session.sent += 1
        self._resets, session.must_reset = session.must_reset, True
        group = [b"RSET\r\n"] if self._resets else []
        if session.offered.pipelining or not self._resets:
            group.append(parcel.mail)
        if session.offered.pipelining:
            group.extend(parcel.rcpt[each] for each in self._recipients)
            if not parcel.by_chunks:
                group.append(b"DATA\r\n")
            elif parcel.octets is not None and len(parcel.octets) <= TOGETHER and not behind_another:
                group += (b"BDAT %d LAST\r\n" % len(parcel.octets), parcel.octets)
                self._sent_together = True
        session.stream.write(b"".join(group))
        if behind_another:
            session.stream.flush()

    async def agree(self) -> bool:
        """Hear what the server says of sender and recipients; return whether the content is to be sent."""
        session = self.session
        session.stream.timeout = session.patience.command
        if self._resets:
            await self._reset()
        refusal = await self._mail()
        session.must_reset = refusal is None
        if session.offered.pipelining:
            for recipient in self._recipients:
                self._note(recipient, await session.reply(), refusal)
        elif refusal is None:
            for recipient in self._recipients:
                session.stream.write(self.parcel.rcpt[recipient])
                self._note(recipient, await session.reply(), None)
        else:
            self._settle(self._recipients, refusal)
        if self.parcel.by_chunks:
            return bool(self._accepted) or self._sent_together
        return await self._data()

    async def _reset(self) -> None:
        if (await self.session.reply()).code // 100 != 2:
            raise NotSMTP("RSET was refused")
        if not self.session.offered.pipelining:
            self.session.stream.write(self.parcel.mail)

    async def _mail(self) -> Reply | None:
        reply = await self.session.reply()
        if reply.code // 100 == 2:
            return None
        return _refusal(reply)

    def _note(self, recipient: Address, reply: Reply, refusal: Reply | None) -> None:
        """Take the answer to one RCPT; a refused MAIL is the reason for everything behind it."""
        if refusal is not None:
            self._settle([recipient], refusal)
        elif reply.code // 100 == 2:
            self._accepted.append(recipient)
        elif _is_too_many(_refusal(reply)) and self._accepted:
            self.postponed.append(recipient)
        elif _is_too_many(reply):
            self.outcomes[recipient] = deferred(reply, self.session.hop.host)
        else:
            self._settle([recipient], reply)

    async def _data(self) -> bool:
        session = self.session
        if not session.offered.pipelining:
            if not self._accepted:
                return False
            session.stream.write(b"DATA\r\n")
        session.stream.timeout = session.patience.data
        reply = await session.reply()
        if reply.code == 354:
            if not self._accepted and session.is_lmtp:
                raise NotSMTP("354 without a recipient")  # how many answers would follow nobody could say
            self._go_ahead = True
            return True
        if reply.code < 400:
            raise NotSMTP(f"{reply.code} to DATA")
        if self._accepted:
            self._settle(self._accepted, reply)
            self._accepted = []
        return False

    # ------------------------------------------------------------ the content

    async def send(self) -> None:
        """
        Send the content, and its end.

        Raises whatever reading it raises: the connection must then be abandoned, or half a message would be one.
        """
        stream, parcel = self.session.stream, self.parcel
        stream.timeout = self.session.patience.block
        if self._go_ahead and not self._accepted:
            stream.write(b".\r\n")  # RFC 2920 section 3.1: 354 though nobody was accepted; nobody gets the nothing
        elif self._sent_together:
            self._chunks = 1
        elif parcel.octets is not None:
            if parcel.by_chunks:
                self._chunk(parcel.octets, True)
            else:
                stream.write(parcel.octets)
        elif parcel.by_chunks:
            await self._send_chunks()
        else:
            await self._send_text()
        self.is_uncertain = bool(self._accepted)
        self.session.must_reset = not (self._accepted or self._go_ahead)

    async def _send_text(self) -> None:
        stream, text = self.session.stream, DotText()
        async for piece in pieces(self.parcel.content):
            stream.write(text.feed(piece))
            await stream.give_way()
            if stream.buffered:
                await self._interrupted()
        stream.write(text.close())

    async def _send_chunks(self) -> None:
        stream, lines = self.session.stream, None if self.parcel.verbatim else Canonical()
        async for piece in pieces(self.parcel.content):
            octets = piece if lines is None else lines.feed(piece)
            if octets:
                self._chunk(octets, False)
            await stream.give_way()
            while stream.buffered:
                await self._hear_chunk()
        self._chunk(b"" if lines is None else lines.close(), True)

    def _chunk(self, octets: bytes, last: bool) -> None:
        stream = self.session.stream
        stream.write(b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b""))
        stream.write(octets)
        self._chunks += 1

    async def _hear_chunk(self) -> None:
        """Take the answer to a chunk that was not the last."""
        if self._chunks < 1:
            raise NotSMTP("An answer to nothing")
        self._chunks -= 1
        reply = await self.session.reply()
        if reply.code in _UNKNOWN_COMMAND:
            raise NoChunking
        if reply.code != 250:
            raise Interrupted(_refusal(reply))

    async def _interrupted(self) -> None:
        """Hear what the server has to say before the end: it wants no more."""
        raise Interrupted(_refusal(await self.session.reply()))

    # ------------------------------------------------------------ after the content

    async def finish(self) -> None:
        """Hear what has become of the message."""
        session = self.session
        session.stream.timeout = session.patience.final
        while self._chunks > 1:
            await self._hear_chunk()
        if session.is_lmtp and self._accepted:
            for recipient in self._accepted:  # RFC 2033 section 4.2: an answer for each
                self._conclude([recipient], await session.reply())
        else:
            self._conclude(self._accepted, await session.reply())
        self.is_uncertain = False

    def _conclude(self, recipients: Sequence[Address], reply: Reply) -> None:
        if reply.code // 100 == 3:
            raise NotSMTP(f"{reply.code} to the end of the message")
        if reply.code in _UNKNOWN_COMMAND and self.parcel.by_chunks:
            raise NoChunking  # and whatever it makes of the content, we do not listen
        if reply.code // 100 != 2:
            self._settle(recipients, reply)
            return
        session = self.session
        delivered = Delivered(reply, session.hop.host, not session.is_lmtp, session.offered.dsn)
        for recipient in recipients:
            self.outcomes[recipient] = delivered

    def interrupted_by(self, reply: Reply) -> None:
        """Note that all who were accepted are refused before the end."""
        self._settle(self._accepted, reply)

    def _settle(self, recipients: Sequence[Address], reply: Reply) -> None:
        result = outcome(reply, self.session.hop.host)
        for recipient in recipients:
            self.outcomes[recipient] = result

    @property
    def open_recipients(self) -> list[Address]:
        """Who has no outcome yet."""
        return [each for each in self._recipients if each not in self.outcomes]


class NoChunking(NotSMTP):
    """The server has announced CHUNKING, and does not know BDAT."""


class Interrupted(Exception):
    """The server refused a message in the middle of it; the connection is of no more use."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


def _refusal(reply: Reply) -> Reply:
    """Return a refusal; anything else in its place is no SMTP."""
    if reply.code < 400:
        raise NotSMTP(f"Unexpected answer: {reply.code}")
    return reply


def _is_too_many(reply: Reply) -> bool:
    """Whether one RCPT is refused for how many there are (RFC 5321 section 4.5.3.1.10: 452, formerly 552)."""
    return reply.code in (452, 552) and (reply.status[1:] == ".5.3" or not reply.status)
