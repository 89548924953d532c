"""The same messages in two maildirs, one served by Debian's Dovecot and one by mailfw."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.interop.plain_imap import PlainClient
from tests.interop.server import DOMAIN, PASSWORD, RunningServer

IMAP = Path("/usr/lib/dovecot/imap")
#: Dovecot does not serve mail as root.
NOBODY = 65534

_CONFIGURATION = """\
mail_location = maildir:{work}/mail
base_dir = {work}/run
log_path = {work}/log
state_dir = {work}/state
ssl = no
first_valid_uid = 1
first_valid_gid = 1
mail_uid = {uid}
mail_gid = {gid}
"""


class Beside:
    """Both servers, each with its own copy of the messages, which have the same UIDs in both, from 1 on."""

    def __init__(self, messages: list[bytes]) -> None:
        if not IMAP.exists():
            raise SkipTest(f"Dovecot is not installed: there is no {IMAP}")
        if os.geteuid() == 0 and not shutil.which("setpriv"):
            raise SkipTest("Dovecot does not run as root, and there is no setpriv to run it as somebody else")
        self.work = Path(tempfile.mkdtemp(prefix="mailfw-beside-"))
        self.work.chmod(0o755)
        self._uid, self._gid = (os.geteuid() or NOBODY), (os.getegid() or NOBODY)
        text = _CONFIGURATION.format(work=self.work, uid=self._uid, gid=self._gid)
        (self.work / "dovecot.conf").write_text(text)
        _write_maildir(self.work / "mail", messages)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(self.work)], check=True)
        self._errors = (self.work / "stderr").open("ab")
        self.theirs = self._start_dovecot()
        self.theirs.ask(b"SELECT INBOX")  # it gives out UIDs, and mailfw takes them over
        self._server = RunningServer("ann")
        self._server.terminate()
        root = self._server.home / "data/mail" / DOMAIN / "ann"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.work / "mail", root, ignore=shutil.ignore_patterns("dovecot.index*"))
        self._server.start()
        self.ours = PlainClient.connect(self._server.ports["imap"])
        self.ours.ask(f'LOGIN ann@{DOMAIN} "{PASSWORD}"'.encode())
        self.ours.ask(b"SELECT INBOX")

    def _start_dovecot(self) -> PlainClient:
        command = [str(IMAP), "-c", f"{self.work}/dovecot.conf"]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={self._uid}", f"--regid={self._gid}", "--clear-groups", *command]
        return PlainClient.run(
            command, {"HOME": str(self.work), "USER": "ann", "PATH": "/usr/bin:/bin", "TZ": "UTC"}, self._errors
        )

    def remove(self) -> None:
        """End both and delete all they wrote."""
        self.theirs.close()
        self.ours.close()
        self._server.remove()
        self._errors.close()
        shutil.rmtree(self.work)


def _write_maildir(root: Path, messages: list[bytes]) -> None:
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    for number, octets in enumerate(messages, start=1):
        received = 1_700_000_000 + 40_000 * (number * 7919 % 1000)
        path = root / "cur" / f"{1_600_000_000 + number}.M{number}P1.host:2,S"
        path.write_bytes(octets)
        os.utime(path, (received, received))
