"""No configuration that we show lets strangers send to others (RFC 5321 section 7.9)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailfw.commands.check_relay import FOREIGN, HIDDEN, SENDERS
from mailfw.configuration import Configuration, ConfigurationRefused
from mailfw.configuration.choices import read
from mailfw.plugins import PluginRefused
from mailfw.service.assembly import Assembly, assemble
from mailfw.testing.dialogue import Dialogue
from mailfw.tls.certificates import Certificates, KeyPair
from mailfw.tls.self_signed import make_self_signed

ROOT = Path(__file__).parent.parent.parent
_TOML = re.compile(r"^ *```toml\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
STRANGER = "198.51.100.7"
#: How mistakes are counted is not what this is about.
PATIENCE = ("limits.soft_errors=9999", "limits.hard_errors=9999", "limits.errors_per_minute=0")


def shown() -> Iterator[tuple[str, str]]:
    """Yield every configuration of the documentation, and where it is."""
    yield "the default", ""
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        for number, block in enumerate(_TOML.findall(path.read_text())):
            yield f"{path.name} {number}", textwrap.dedent(block)


class OpenRelayTests(TestCase):
    timeout = 60

    async def test_what_the_documentation_shows(self) -> None:
        tried = [name for name, text in shown() if await self.is_tried(name, text)]
        self.assertGreaterEqual(len(tried), 8, tried)

    async def is_tried(self, name: str, text: str) -> bool:
        """Whether it is a configuration at all, and not a fragment, or one for somebody's own plug-in."""
        try:
            assembly, configuration = self.assemble(text)
        except (ConfigurationRefused, PluginRefused):
            return False
        ours = configuration.domains[0]
        is_elsewhere = any(ours in rule.recipients for rule in configuration.route)
        recipients = FOREIGN if is_elsewhere else FOREIGN + HIDDEN
        try:
            for sender in SENDERS:
                await self.refuse_all(
                    name, assembly, sender.format(ours=ours), [r.format(ours=ours) for r in recipients]
                )
        finally:
            await assembly.stop()
        return True

    def assemble(self, text: str) -> tuple[Assembly, Configuration]:
        from twisted.internet import reactor

        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "mailfw.toml").write_text(text)
        _, configuration, choices = read(folder / "mailfw.toml", [f'data="{folder / "var"}"', *PATIENCE])
        configuration.data.mkdir()
        pair = KeyPair(folder / "certificate.pem", folder / "key.pem")
        make_self_signed(pair.certificate, pair.key, [configuration.hostname])
        certificates = Certificates(configuration.hostname, pair)
        status: Any = None
        return assemble(configuration, choices, certificates, reactor, (), status), configuration

    async def refuse_all(self, name: str, assembly: Assembly, sender: str, recipients: Sequence[str]) -> None:
        dialogue = Dialogue(assembly.sessions["smtp"], STRANGER)
        self.addCleanup(dialogue.leave)
        await self.ask(dialogue, "")
        await self.ask(dialogue, "EHLO stranger.example")
        for recipient in recipients:
            await self.ask(dialogue, "RSET")
            answer = await self.ask(dialogue, f"MAIL FROM:{sender}")
            self.assertRegex(answer, "^[2]", (name, sender))
            answer = await self.ask(dialogue, f"RCPT TO:{recipient}")
            self.assertRegex(answer, "^5", (name, sender, recipient))

    async def ask(self, dialogue: Dialogue, command: str) -> str:
        from twisted.internet import reactor

        if command:
            dialogue.say(command.encode() + b"\r\n")
        heard = b""
        while not heard.endswith(b"\r\n"):
            heard += dialogue.hear()
            await deferLater(reactor, 0)
        return heard.decode()
