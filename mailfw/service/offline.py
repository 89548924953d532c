"""The queue of a server that does not run, opened for one command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices
from mailfw.interfaces import IMailStore
from mailfw.queue.operations import Operations
from mailfw.service import first_start
from mailfw.service.answers import Answers, SubmissionLimits
from mailfw.service.expunged import ExpungedMail
from mailfw.service.judges import make_judges, site_of
from mailfw.service.post import Post, make_post, make_store
from mailfw.service.shares import SharedMailboxes
from mailfw.site import Site


def make_answers(configuration: Configuration, site: Site, post: Post, store: IMailStore) -> Answers:
    """Return what answers the console commands."""
    limits = SubmissionLimits(configuration.limits.message_size, configuration.limits.recipients)
    others = {**ExpungedMail(store).verbs, **SharedMailboxes(store).verbs}
    operations = Operations(site=site, spool=post.spool, runner=post.queue, history=post.history)
    return Answers(operations=operations, intake=post.intake, limits=limits, others=others)


@asynccontextmanager
async def offline(configuration: Configuration, choices: Choices, reactor: Any) -> AsyncIterator[Answers]:
    """
    Hold the data directory as a server does, and answer in its place; nothing is delivered.

    Raises `InUse` where a server runs, `CannotStart`, and what `make_judges` and `make_post` raise.
    """
    lock = first_start.hold(configuration.data)
    try:
        site = site_of(configuration, reactor)
        judges = make_judges(configuration, choices, site)
        store = make_store(configuration, choices, site)
        try:
            post = make_post(configuration, choices, site, judges, store)
            await post.spool.open()
            try:
                yield make_answers(configuration, site, post, store)
            finally:
                await post.queue.stopService()
                for courier in post.couriers.values():
                    await courier.close()
                await post.history.close()
                await post.spool.close()
        finally:
            await store.close()
    finally:
        first_start.release(lock)
