"""A process that is killed at any moment, real threads and all, has kept what it promised."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailfw.disk import Disk
from mailfw.spools.log import LogSpool
from mailfw.testing.spool import NOW, read_all

#: Puts, gives back and removes until it is killed, and says what was promised, a line each, as soon as it was.
VICTIM = """
import os, sys
from pathlib import Path
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults
from mailfw.disk import Disk
from mailfw.spools.contents import Octets
from mailfw.spools.log import LogSpool
from mailfw.testing.spool import NOW, queued

def say(*words):
    os.write(1, (" ".join(words) + chr(10)).encode())

async def call(spool, caller):
    for n in range(100000):
        name = f"{caller}-{n}"
        size = 200_000 if n % 10 == 9 else 2_000
        message = queued(name, (f"{caller}.example", NOW))
        await spool.put(message, Octets(name.encode() + b"x" * size))
        say("put", name)
        if n % 3 == 0:
            say("removing", name)
            await spool.remove(name)
            say("removed", name)
        elif n % 3 == 1:
            await spool.give_back(message)
            if n % 2:
                await spool.seize(name)
                say("removing", name)
                await spool.remove(name)
                say("removed", name)

async def live(_):
    spool = LogSpool(directory=Path(sys.argv[1]), disk=Disk(reactor), clock=reactor, segment=200_000)
    await spool.open()
    say("open")
    await gatherResults([Deferred.fromCoroutine(call(spool, caller)) for caller in range(8)])

task.react(lambda _: Deferred.fromCoroutine(live(_)))
"""


class KillTests(TestCase):
    timeout = 120

    def run_victim(self, directory: Path, seconds: float) -> list[list[str]]:
        """Run a process, kill it after some time, and return what it promised."""
        root = Path(__file__).parent.parent.parent
        process = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(directory)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        self.assertEqual(first, b"open\n")
        return [line.split() for line in rest.decode().splitlines() if line.count(" ") == 1]

    async def test_a_killed_process_has_kept_what_it_promised(self) -> None:
        for round_ in range(4):
            directory = Path(self.mktemp())
            said = self.run_victim(directory, random.Random(round_).uniform(0.05, 0.6))
            put, removing, removed = (
                {name for word, name in said if word == what} for what in ("put", "removing", "removed")
            )
            self.assertTrue(put)
            spool = LogSpool(directory=directory, disk=Disk(reactor), clock=reactor)
            await spool.open()
            found = {one.id for one in await spool.scan("", 1_000_000)}
            self.assertEqual(put - removing - found, set(), "lost")
            self.assertEqual(removed & found, set(), "risen again")
            for name in found:
                octets = await read_all(await spool.content(name))
                assert octets is not None
                self.assertTrue(octets.startswith(name.encode() + b"x"))
                self.assertIn(len(octets) - len(name), (2_000, 200_000))
            taken = await spool.take(NOW, 1_000_000, 1_000_000, ())
            self.assertEqual({one.id for one in taken}, found)
            await spool.close()
