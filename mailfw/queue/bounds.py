"""How much of the queue is worked on at one time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    Messages and octets in memory, and deliveries at one time.

    `deliveries` counts those that leave the site, `concurrency` those to one destination, which begins with
    `concurrency_initial`; deliveries into our own mailboxes have a bound of their own, since a store is fastest when it
    is given many messages together.  No delivery takes more than `delivery_timeout` seconds in all.
    """

    active: int = 20_000  # Postfix's qmgr_message_active_limit
    memory: int = 64 * 1024 * 1024
    deliveries: int = 500
    delivery_timeout: float = 18_000.0  # Postfix's daemon_timeout
    concurrency: int = 20  # Postfix's default_destination_concurrency_limit
    concurrency_initial: int = 5  # Postfix's initial_destination_concurrency
    local_concurrency: int = 500
