"""What the outcomes of an attempt make of a message: who waits, and of whom somebody is owed a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope, Notify
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.queued import Action, Concluded, Leg, Pending, Queued
from mailfw.mail.reply import Reply
from mailfw.queue.schedule import Schedule

#: What is said of a recipient who was never tried.
NOT_TRIED = Reply(451, "4.4.0", "Not tried yet")


def settle(
    queued: Queued, leg: Leg, outcomes: Mapping[Address, Outcome], now: float, schedule: Schedule, chance: float
) -> Queued:
    """Return the message as it is after an attempt with one of its legs; `outcomes` are by final address."""
    waiting: list[Pending] = []
    owed: list[Concluded] = []
    for one in leg.recipients:
        outcome = outcomes[one.address]
        if isinstance(outcome, Deferred):
            waiting.append(Pending(one.original, one.address, outcome.reply, outcome.host))
        else:
            _conclude(queued.envelope, one, outcome, now, owed)
    left: tuple[Leg, ...] = ()
    if waiting:
        due = schedule.next_attempt(queued, leg.attempts + 1, now, chance)
        if due is None:
            for one in waiting:
                _conclude(queued.envelope, one, _expired(one), now, owed)
        else:
            left = (Leg(leg.route, tuple(waiting), due, leg.attempts + 1),)
    return replace_leg(queued, leg, left, tuple(owed))


def replace_leg(queued: Queued, leg: Leg, left: tuple[Leg, ...], owed: tuple[Concluded, ...] = ()) -> Queued:
    """Return the message with other legs in place of one; that very one, not one that is equal."""
    if len(queued.legs) == 1:
        legs = left
    else:
        legs = tuple(new for each in queued.legs for new in (left if each is leg else (each,)))
    return replace(queued, legs=legs, owed=queued.owed + owed)


def warn(queued: Queued, now: float) -> Queued:
    """Return the message with its sender owed the news that it waits (RFC 3461 section 5.2.4)."""
    delayed = [
        Concluded(one.original, one.address, Action.DELAYED, one.reply or NOT_TRIED, one.host, now)
        for leg in queued.legs
        for one in leg.recipients
        if is_wanted(queued.envelope, one.original, Action.DELAYED)
    ]
    return replace(queued, owed=queued.owed + tuple(delayed), warned=True)


def is_wanted(envelope: Envelope, original: Address, action: Action) -> bool:
    """
    Whether somebody has to hear of it: the sender, as NOTIFY says (RFC 3461 section 4.1).

    A message with the null sender has nobody to hear, but what of it fails is somebody's business all the same.
    """
    if envelope.sender is None:
        return action is Action.FAILED
    notify = envelope.of(original).notify
    if notify is None:
        notify = Notify.DEFAULT
    if action is Action.FAILED:
        return Notify.FAILURE in notify
    if action is Action.DELAYED:
        return Notify.DELAY in notify
    traced = action is Action.RELAYED and envelope.by is not None and envelope.by.trace  # RFC 2852 section 4
    return Notify.SUCCESS in notify or (traced and notify is not Notify.NEVER)


def _conclude(envelope: Envelope, one: Pending, outcome: Delivered | Failed, now: float, owed: list[Concluded]) -> None:
    """Note what is final, where anybody wants to hear of it."""
    if isinstance(outcome, Failed):
        action = Action.FAILED
    else:
        action = Action.RELAYED if outcome.relayed else Action.DELIVERED
        if outcome.reports or not (envelope.options or envelope.by):
            return
    if is_wanted(envelope, one.original, action):
        owed.append(Concluded(one.original, one.address, action, outcome.reply, outcome.host, now))


def _expired(one: Pending) -> Failed:
    """Return the end of a recipient that has waited for too long (RFC 3463 section 3.5: X.4.7)."""
    last = one.reply or NOT_TRIED
    said = f"{last.code} {last.status} {last.text}"
    return Failed(Reply(550, "5.4.7", f"Given up after trying for too long; the last answer was: {said}"), one.host)
