"""The commands beside a real server, and while none runs."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.running import RunningServer, listen_anywhere, run

MESSAGE = "Subject: Hello\n\nIt works.\n"
#: Port 9 of loopback: nobody listens there, so what goes there waits.
SETTINGS = ('--set=relay="smtp://127.0.0.1:9"', '--set=domains=["example.org"]', '--set=hostname="mx.example.org"')


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.data = self.folder / "var"
        self.settings: tuple[str, ...] = (*SETTINGS, f"--set=data={self.data}")

    def start(self) -> RunningServer:
        server = RunningServer(self.folder, *self.settings, *listen_anywhere("smtp"))
        self.addCleanup(server.stop)
        return server

    def mailfw(self, *arguments: str, typed: str = "", code: int = 0) -> CompletedProcess[str]:
        done = run("mailfw", *self.settings, *arguments, input=typed)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def lines(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.mailfw(*arguments, "--json", code=code).stdout.splitlines()]

    def send(self, *arguments: str, typed: str = MESSAGE) -> str:
        return self.mailfw("send", "-f", "ann@example.org", *arguments, typed=typed).stdout.strip()

    def wait(self, *arguments: str, until: Any) -> list[dict[str, Any]]:
        """Ask again and again until the answer is as it should be."""
        deadline = time.monotonic() + 30
        while not until(lines := self.lines(*arguments)):
            self.assertLess(time.monotonic(), deadline, lines)
            time.sleep(0.1)
        return lines


class QueueTests(Case):
    def test_beside_a_running_server(self) -> None:
        self.start()
        first = self.send("bob@example.net", "-N", "never")
        second = self.send("eve@example.com", "-V", "E1")
        waiting = self.wait("queue", "list", until=lambda lines: all(each["recipients"][0]["reply"] for each in lines))
        self.assertEqual([each["id"] for each in waiting], [first, second])
        (recipient,) = waiting[1]["recipients"]
        self.assertEqual((recipient["address"], recipient["attempts"]), ("eve@example.com", 1))
        self.assertTrue(recipient["reply"].startswith("4"), recipient)

        self.assertEqual([each["id"] for each in self.lines("queue", "list", "--recipient", "example.net")], [first])
        self.assertEqual(self.lines("queue", "list", "--older", "1h"), [])
        shown = self.mailfw("queue", "show", second, "--header").stdout
        self.assertIn("envid:      E1\n", shown)
        self.assertIn("Subject: Hello\n", shown)
        content = self.mailfw("queue", "show", second, "--content").stdout
        received = f"Received: from localhost (uid={os.getuid()})\n by mx.example.org (mailfw) with local\n id "
        self.assertTrue(content.startswith(received), content)
        self.assertIn("From: ann@example.org\n", content)
        self.assertTrue(content.endswith("\n\nIt works.\n"), content)

        self.assertEqual(self.lines("queue", "hold", first, "--because", "odd"), [{"id": first, "done": "held"}])
        self.assertIn("HELD: odd", self.mailfw("queue", "list").stdout)
        self.assertEqual(self.lines("queue", "retry", first, code=1)[0]["refused"], "it is held; release it")
        self.assertEqual(self.lines("queue", "release", "--held"), [{"id": first, "done": "released"}])
        self.lines("queue", "retry", "--all")
        self.wait("queue", "list", until=lambda lines: lines[0]["recipients"][0]["attempts"] >= 2)
        figures = self.lines("queue", "stats")[0]
        self.assertEqual((figures["messages"], figures["held"]), (2, 0))
        self.assertEqual(figures["destinations"]["relay:smtp://127.0.0.1:9"]["recipients"], 2)
        self.assertIn("2 messages", self.mailfw("queue", "stats").stdout)

        self.assertEqual(self.lines("queue", "bounce", first), [{"id": first, "done": "given back to its sender"}])
        self.wait("queue", "list", until=lambda lines: [each["id"] for each in lines] == [second])
        events = [each["event"] for each in self.lines("trace", first)]
        self.assertEqual((events[0], events[-1]), ("accepted", "removed"))
        self.assertTrue({"attempt", "command", "held", "released"} <= set(events), events)
        self.assertIn("attempt", self.mailfw("trace", first).stdout)
        self.assertEqual(self.lines("queue", "delete", second), [{"id": second, "done": "deleted"}])
        self.assertEqual(self.lines("queue", "list"), [])
        self.assertIn("nothing is known", self.mailfw("trace", "nonsense", code=1).stderr)

    def test_what_is_given_back_is_reported(self) -> None:
        self.start()
        name = self.send("bob@example.net", "-R", "full")
        self.wait("queue", "list", until=lambda lines: lines and lines[0]["recipients"][0]["reply"])
        self.lines("queue", "bounce", name, "--because", "no longer wanted")
        # The sender, ann@example.org, does not exist here: her report goes to the postmaster, or is held.
        self.wait("trace", name, until=lambda lines: any(each["event"] == "reported" for each in lines))

    def test_a_server_that_starts_again_finds_what_was_done_without_it(self) -> None:
        server = self.start()
        name = self.send("bob@example.net")
        self.wait("queue", "list", until=lambda lines: lines and lines[0]["recipients"][0]["reply"])
        server.stop()
        self.assertFalse((self.data / "control.sock").exists())
        self.assertEqual([each["id"] for each in self.lines("queue", "list")], [name])
        self.assertEqual(self.lines("queue", "hold", name), [{"id": name, "done": "held"}])
        other = self.send("eve@example.com")
        self.assertEqual([each["id"] for each in self.lines("queue", "list")], [name, other])
        self.assertIn("held", {each["event"] for each in self.lines("trace", name)})
        self.start()
        self.wait("queue", "list", "--not-held", until=lambda lines: lines and lines[0]["recipients"][0]["reply"])
        self.assertEqual([each["id"] for each in self.lines("queue", "list", "--held")], [name])

    def hold(self, seconds: float) -> threading.Timer:
        """Hold the data directory for a while, as a server that starts does, or a command in its place."""
        descriptor = os.open(self.data / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        timer = threading.Timer(seconds, os.close, [descriptor])
        timer.start()
        self.addCleanup(timer.join)
        return timer

    def test_a_server_that_is_starting_is_waited_for(self) -> None:
        self.data.mkdir(parents=True)
        timer = self.hold(2.0)
        self.assertEqual(self.lines("queue", "list"), [])
        self.assertFalse(timer.is_alive())

    def test_a_command_does_not_keep_a_server_from_starting(self) -> None:
        self.data.mkdir(parents=True)
        timer = self.hold(2.5)
        self.start()
        self.assertFalse(timer.is_alive())

    def test_what_is_destroyed_must_be_meant(self) -> None:
        self.data.mkdir(parents=True)
        for arguments in (
            ("queue", "delete"),
            ("queue", "delete", "--all"),
            ("queue", "bounce", "--all"),
            ("queue", "hold"),
            ("queue", "hold", "1", "--all"),
            ("quarantine", "delete", "--all"),
        ):
            self.assertTrue(self.mailfw(*arguments, code=1).stderr.startswith("mailfw: "), arguments)
        self.assertIn("no message is meant", self.mailfw("queue", "delete", "--all", "--yes").stderr)
        self.mailfw("queue", "list", "--older", "soon", code=2)

    def test_where_there_is_nothing(self) -> None:
        self.folder.mkdir(parents=True)
        self.assertIn("no such directory", self.mailfw("queue", "list", code=1).stderr)
        self.assertFalse(self.data.exists())

    def test_the_quarantine(self) -> None:
        plugin = self.folder / "holding.py"
        self.folder.mkdir(parents=True)
        plugin.write_text(
            "from zope.interface import implementer\n"
            "from mailfw.interfaces import IDeliveryPolicy\n"
            "from mailfw.mail.verdict import Hold\n"
            "@implementer(IDeliveryPolicy)\n"
            "class Holding:\n"
            "    async def on_connect(self, client): return None\n"
            "    async def on_helo(self, client): return None\n"
            "    async def on_sender(self, client, sender): return None\n"
            "    async def on_recipient(self, client, sender, recipient): return None\n"
            "    async def on_message(self, client, envelope, content): return Hold('a virus')\n"
        )
        environment = patch.dict(os.environ, PYTHONPATH=str(self.folder))
        environment.start()
        self.addCleanup(environment.stop)
        self.settings += ('--set=policy=[{plugin="python:holding.Holding"}]',)
        self.start()
        first, second = self.send("bob@example.net"), self.send("eve@example.net")
        self.assertEqual(
            [(each["id"], each["held"]) for each in self.lines("quarantine", "list")],
            [(first, "quarantine: a virus"), (second, "quarantine: a virus")],
        )
        self.assertIn("Subject: Hello", self.mailfw("quarantine", "show", first, "--content").stdout)
        self.assertEqual(self.lines("quarantine", "delete", second), [{"id": second, "done": "deleted"}])
        self.assertEqual(self.lines("quarantine", "release", "--all"), [{"id": first, "done": "released"}])
        self.assertEqual(self.lines("quarantine", "list"), [])
        self.wait("queue", "list", until=lambda lines: lines[0]["recipients"][0]["reply"])
        self.assertEqual(self.lines("quarantine", "release", first, code=1)[0]["id"], first)

    def test_explain(self) -> None:
        self.data.mkdir(parents=True)
        told = self.mailfw("explain", "bob@example.net").stdout
        self.assertIn("bob@example.net: not ours\n", told)
        self.assertIn("127.0.0.1:9", told)
        self.assertIn("nobody has this address", self.mailfw("explain", "nobody").stdout)
        self.assertIn("not an address", self.mailfw("explain", "a b@c", code=1).stderr)
