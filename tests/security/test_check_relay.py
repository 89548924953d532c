"""``mailfw check-relay`` beside servers that do what they should, and some that do not."""

from __future__ import annotations

import contextlib
import io
import socket
import threading

from twisted.trial.unittest import SynchronousTestCase

from mailfw.commands.check_relay import FOREIGN, HIDDEN, SENDERS
from mailfw.commands.console import main


class CheckRelayTests(SynchronousTestCase):
    """A server of one thread, which answers RCPT as it is told."""

    def setUp(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.asked: list[str] = []
        self.port: int = self.listener.getsockname()[1]

    def check(self, answers: dict[str, str], *more: str) -> tuple[int, str]:
        thread = threading.Thread(target=self.serve, args=(answers,), daemon=True)
        thread.start()
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            ended = self.assertRaises(SystemExit, main, ["check-relay", f"127.0.0.1:{self.port}", *more])
        assert isinstance(ended.code, int)
        return ended.code, out.getvalue()

    def serve(self, answers: dict[str, str]) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, connection.makefile("rwb", buffering=0) as lines:
                    lines.write(b"220 mx.example ESMTP\r\n")
                    for line in lines:
                        words = line.decode().strip()
                        self.asked.append(words)
                        said = next((said for words_, said in answers.items() if words_ in words), "250 mx.example")
                        lines.write(said.encode() + b"\r\n")
                        if said.startswith("421"):
                            break

    def test_one_that_refuses(self) -> None:
        code, out = self.check({"RCPT": "550 5.7.1 No"})
        count = len(SENDERS) * len(FOREIGN + HIDDEN)
        self.assertEqual(
            (code, out), (0, f"{count} ways tried, 0 taken, 0 put off: this server relays for no stranger\n")
        )
        self.assertIn("RCPT TO:<u%remote.example@mx.example>", self.asked)

    def test_one_that_takes_what_hides_behind_a_percent_sign(self) -> None:
        code, out = self.check({"%": "250 OK", "RCPT": "550 No"}, "--domain", "ours.example")
        self.assertEqual(code, 1)
        self.assertIn("taken: from <eve@far.example> to <u%remote.example@ours.example>: 250 OK\n", out)
        self.assertIn(f"{len(SENDERS)} taken", out)

    def test_one_that_refuses_the_sender(self) -> None:
        self.assertEqual(self.check({"MAIL": "553 No"})[0], 0)

    def test_one_that_puts_off(self) -> None:
        code, out = self.check({"RCPT": "450 Later"})
        self.assertEqual(code, 1)
        self.assertIn("try again later", out)

    def test_one_that_leaves_at_every_question(self) -> None:
        code, out = self.check({"RCPT": "421 Enough"})
        self.assertEqual((code, out.startswith("mailfw: 127.0.0.1:")), (1, True), out)

    def test_nobody_is_there(self) -> None:
        self.listener.close()
        out = io.StringIO()
        with contextlib.redirect_stderr(out):
            ended = self.assertRaises(SystemExit, main, ["check-relay", f"127.0.0.1:{self.port}"])
            self.assertRaises(SystemExit, main, ["check-relay", "a:b:c"])
        self.assertEqual(ended.code, 1)
        self.assertIn("neither HOST nor HOST:PORT", out.getvalue())
