"""What the queue is doing now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LaneState:
    """
    One destination: messages that wait for it in memory, deliveries under way, and how many there may be.

    `until` is when it is tried again (0: it is not waited for), `reason` what its host, or the network, has said.
    """

    name: str
    waiting: int
    in_flight: int
    window: int
    until: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Messages and octets in memory, deliveries under way, recipients by what became of them since the start, lanes."""

    active: int
    octets: int
    in_flight: int
    delivered: int
    deferred: int
    failed: int
    lanes: tuple[LaneState, ...]
