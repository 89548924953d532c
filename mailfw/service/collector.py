"""Python's collector of reference cycles, told what a server is like: much that stays, little that is a cycle."""

from __future__ import annotations

import gc

#: Objects made, less those let go, before the collector looks at the young ones: a few connections make Python's
#: 700.
YOUNG = 10_000


def let_be() -> None:
    """
    Keep the collector from what is here now, for good, and from looking often; for the whole process.

    To be called once all is loaded: a look at everything takes 30 ms in which nobody is served, and busy sessions
    and a full queue would have it every second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
