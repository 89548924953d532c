"""1,000 messages from 50 connections while 500 clients sit in IDLE: each hears its mail."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer

WATCHERS, SENDERS, MESSAGES, ACCOUNTS = 500, 50, 1000, 20


class ManyTests(SynchronousTestCase):
    """Bounded load on loopback, no clock in the assertions."""

    def setUp(self) -> None:
        self.server = RunningServer(
            *(f"user{n}" for n in range(ACCOUNTS)), settings=("limits.connections_per_address=2000",)
        )
        self.addCleanup(self.server.remove)

    def resident(self) -> int:
        assert self.server.process is not None
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])

    def test_everybody_hears(self) -> None:
        asyncio.run(asyncio.wait_for(self.scenario(), 200))

    async def scenario(self) -> None:
        warm = [await self.watch(n % ACCOUNTS) for n in range(ACCOUNTS)]
        before = self.resident()
        watchers = []
        for start in range(0, WATCHERS, 50):
            watchers += await asyncio.gather(*(self.watch(n % ACCOUNTS) for n in range(start, start + 50)))
        each = (self.resident() - before) / WATCHERS
        self.assertLess(each, 100, "An idle connection costs more than 100 KB")
        numbers = list(range(MESSAGES))
        hearing = asyncio.gather(*(self.hear(reader) for reader, _ in watchers))
        await asyncio.gather(*(self.send(numbers) for _ in range(SENDERS)))
        heard = await hearing
        self.assertEqual(set(heard), {MESSAGES // ACCOUNTS})
        for _, writer in warm + watchers:
            writer.close()

    async def watch(self, user: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.ports["imap"])
        await reader.readline()
        for tag, command in (
            (b"a", f"LOGIN user{user}@{DOMAIN} {{{len(PASSWORD)}+}}\r\n{PASSWORD}"),
            (b"b", "SELECT INBOX"),
        ):
            writer.write(tag + b" " + command.encode() + b"\r\n")
            while not (line := await reader.readline()).startswith(tag):
                self.assertTrue(line, "Connection closed")
            self.assertIn(b" OK", line)
        writer.write(b"c IDLE\r\n")
        self.assertTrue((await reader.readline()).startswith(b"+ "))
        return reader, writer

    async def hear(self, reader: asyncio.StreamReader) -> int:
        """Return the number of messages this client was told of, once it has them all."""
        count = 0
        while count < MESSAGES // ACCOUNTS:
            line = await reader.readline()
            self.assertTrue(line, "Connection closed")
            told = re.fullmatch(rb"\* (\d+) EXISTS\r\n", line)
            if told:
                count = int(told[1])
        return count

    async def send(self, numbers: list[int]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.ports["smtp"])

        async def expect(code: bytes) -> None:
            while True:
                line = await reader.readline()
                self.assertTrue(line.startswith(code), line)
                if line[3:4] == b" ":
                    return

        await expect(b"220")
        writer.write(b"EHLO sender.example\r\n")
        await expect(b"250")
        while numbers:
            number = numbers.pop()
            rcpt = f"user{number % ACCOUNTS}@{DOMAIN}"
            writer.write(f"MAIL FROM:<s@sender.example>\r\nRCPT TO:<{rcpt}>\r\nDATA\r\n".encode())
            for code in (b"250", b"250", b"354"):
                await expect(code)
            writer.write(f"Subject: {number}\r\n\r\nhello {number}\r\n.\r\n".encode())
            await expect(b"250")
        writer.write(b"QUIT\r\n")
        await expect(b"221")
        writer.close()
