import poplib
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailfw.mail.mailbox import NewMessage
from mailfw.pop3.factory import POP3Settings, pop3_factory
from mailfw.testing.contents import SAMPLES, MemoryContent
from tests.pop3.house import ANN, House


class PoplibTests(TestCase):
    """The standard library's client, over a real socket."""

    async def test_fetching_all(self) -> None:
        from twisted.internet import reactor as installed

        reactor: Any = installed
        house = House(self)
        large = b"Subject: large\r\n\r\n" + b".line\r\n" * 500_000
        inbox = house.inbox.id
        await house.memory.append(ANN, inbox, [NewMessage(MemoryContent(o)) for o in (SAMPLES["plain"], large, b".")])
        settings = POP3Settings("localhost", allow_plaintext_auth=True)
        factory = pop3_factory(settings, portal=house.portal, clock=reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        messages = await deferToThread(self.fetch, port.getHost().port)
        self.assertEqual(messages, [SAMPLES["plain"], large, b".\r\n"])
        self.assertEqual([info.messages for info in await house.memory.mailboxes(ANN) if info.id == inbox], [2])
        while factory.connections:
            await deferLater(reactor, 0.01)
        self.assertEqual(house.realm.logged_in, 0)

    def fetch(self, port: int) -> list[bytes]:
        client = poplib.POP3("127.0.0.1", port, timeout=30)
        self.assertIn("UIDL", client.capa())
        client.user(ANN)
        client.pass_("secret")
        count, _ = client.stat()
        messages = [b"".join(line + b"\r\n" for line in client.retr(n + 1)[1]) for n in range(count)]
        self.assertEqual(len(client.uidl()[1]), count)
        self.assertEqual(client.top(1, 0)[1][-1], b"")
        client.dele(2)
        client.quit()
        return messages
