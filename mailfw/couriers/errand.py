"""One message on its way to one host, and what becomes of its recipients."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from mailfw.interfaces import IContent
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Outcome
from mailfw.mail.reply import Reply
from mailfw.smtp.client.capabilities import Capabilities
from mailfw.smtp.client.session import Unusable


class Errand:
    """
    A message to be handed over; `pending` are the recipients who still need it.

    `outcomes` is what is known of each; `uncertain` are those whose host may have taken the message though it did not
    say so: to hand it to another host at once would be to deliver it twice.  `attempts` counts connections that broke.
    """

    __slots__ = (
        "attempts",
        "content",
        "destination",
        "done",
        "envelope",
        "is_cancelled",
        "outcomes",
        "pending",
        "uncertain",
    )

    def __init__(self, destination: str, envelope: Envelope, content: IContent) -> None:
        self.destination = destination
        self.envelope = envelope
        self.content = content
        self.pending: list[Address] = list(dict.fromkeys(envelope.recipients))
        self.outcomes: dict[Address, Outcome] = {}
        self.uncertain: set[Address] = set()
        self.attempts = 0
        self.is_cancelled = False
        self.done: Deferred[None] = Deferred()

    def begin(self) -> None:
        """Make ready for a host."""
        self.attempts = 0
        self.done = Deferred(self._cancel)

    def _cancel(self, done: Deferred[None]) -> None:
        self.is_cancelled = True

    def batch(self, offered: Capabilities) -> list[Address]:
        """Return as many of those who need the message as one transaction may have (RFC 9422 section 4)."""
        if len(self.pending) == 1:
            return list(self.pending)
        batch: list[Address] = []
        domains: set[str] = set()
        for recipient in self.pending:
            is_new = recipient.domain not in domains
            if len(batch) < offered.recipients and not (is_new and offered.domains and len(domains) >= offered.domains):
                batch.append(recipient)
                domains.add(recipient.domain)
        return batch

    def conclude(self, outcomes: dict[Address, Outcome]) -> None:
        """Take what has become of some of the recipients."""
        self.outcomes.update(outcomes)
        self.pending = [each for each in self.pending if each not in outcomes]

    def conclude_all(self, outcome: Outcome) -> None:
        """Give all who are left the same outcome, and end."""
        self.conclude(dict.fromkeys(self.pending, outcome))
        self.end()

    def end(self) -> None:
        """Say that the host has been asked for all that it can do."""
        if not self.done.called:
            self.done.callback(None)

    def fail(self, reason: Unusable) -> None:
        """Say that the host is of no use to those who are left."""
        if not self.done.called:
            self.done.errback(reason)

    def try_elsewhere(self) -> bool:
        """Let those whom this host has deferred be tried with another one; return whether there is anybody."""
        self.pending = [
            each
            for each, outcome in self.outcomes.items()
            if isinstance(outcome, DeferredOutcome) and each not in self.uncertain
        ]
        return bool(self.pending)

    def results(self, otherwise: Outcome) -> list[Outcome]:
        """Return the outcomes in the order of the envelope, `otherwise` for whom no host was asked."""
        return [self.outcomes.get(each, otherwise) for each in self.envelope.recipients]


#: What we say where the fault is ours; the reason is in the log.
FAULT = Reply(451, "4.3.0", "The message cannot be read at the moment; try again later")
NO_SPACE = Reply(452, "4.3.1", "No room to convert the message; try again later")
STOPPING = Reply(451, "4.3.2", "The server is stopping")


def worst(reasons: Sequence[tuple[Reply, str]]) -> tuple[Reply, str]:
    """Return the reason that counts of those why no host was of use: the last temporary one, if there is any."""
    temporary = [each for each in reasons if each[0].code < 500]
    return (temporary or list(reasons))[-1]
