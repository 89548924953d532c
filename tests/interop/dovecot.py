"""A Dovecot of Debian's with one account for every name, to move mail from."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from imapclient import IMAPClient  # type: ignore[import-untyped] # it has no types
from twisted.trial.unittest import SkipTest

from mailfw.tls.self_signed import make_self_signed
from tests.running import free_port

PASSWORD = "their-password"
DOVECOT = "/usr/sbin/dovecot"

_CONFIGURATION = """\
protocols = {protocols}
base_dir = {home}/run
log_path = {home}/log
listen = 127.0.0.1
ssl = yes
ssl_cert = <{home}/certificate.pem
ssl_key = <{home}/key.pem
disable_plaintext_auth = no
mail_location = {location}
mail_uid = nobody
mail_gid = {group}
mail_fsync = never
first_valid_uid = 1
auth_username_format = {username}
mail_max_userip_connections = 100
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid={group} home={user} allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
namespace inbox {{
  inbox = yes
  prefix = {prefix}
  separator = {separator}
{mailboxes}}}
{more}"""

#: What the server makes for every account.
_MAILBOXES = """\
  mailbox "Sent Items" {
    special_use = \\Sent
    auto = subscribe
  }
  mailbox Papierkorb {
    special_use = \\Trash
    auto = create
  }
"""

_POP3 = """\
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


class Dovecot:
    """
    A server on free ports of loopback, in `home`; it runs only where tests run as root.

    With `maildirs`, the directory of ``domain/name``, it serves what is there, by POP3 too, and makes no mailboxes.
    """

    def __init__(
        self, home: Path, prefix: str = "", separator: str = "/", maildirs: Path | None = None, settings: str = ""
    ) -> None:
        if not Path(DOVECOT).exists():
            raise SkipTest("Dovecot is not installed")
        if os.geteuid() != 0:
            raise SkipTest("Dovecot's log-in needs root")
        self.home = home
        self._is_shared = maildirs is not None
        self._prefix, self._separator = prefix, separator
        self.port, self.imaps, self.pop3 = free_port(), free_port(), free_port()
        (home / "mail").mkdir(parents=True)
        shutil.chown(home / "mail", "nobody")
        ports = {"port": self.port, "imaps": self.imaps}
        names = {"prefix": prefix, "separator": separator}
        if maildirs is None:
            layout = {"location": f"maildir:{home}/mail/%n", "user": f"{home}/mail/%n", "username": "%n"}
            layout |= {"protocols": "imap", "mailboxes": _MAILBOXES, "more": settings}
        else:
            layout = {"location": f"maildir:{maildirs}/%d/%n", "user": f"{home}/mail/%n", "username": "%Lu"}
            layout |= {"protocols": "imap pop3", "mailboxes": "", "more": _POP3.format(pop3=self.pop3) + settings}
        text = _CONFIGURATION.format(home=home, group="nogroup", password=PASSWORD, **ports, **names, **layout)
        (home / "dovecot.conf").write_text(text)
        for parent in (home, *home.parents):  # which nobody has to pass
            if parent.stat().st_mode & 0o055 != 0o055 and str(parent).startswith("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o055)
        make_self_signed(home / "certificate.pem", home / "key.pem", ())
        self.start()

    def start(self) -> None:
        """Run it, again if it was stopped."""
        command = [DOVECOT, "-F", "-c", str(self.home / "dovecot.conf")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + 20
        while True:
            try:
                if self._is_shared:  # a log-in would make a maildir
                    IMAPClient("127.0.0.1", self.port, ssl=False, timeout=60).shutdown()
                else:
                    self.client("nobody").logout()
                return
            except Exception:
                if time.monotonic() > until:
                    self.stop()
                    raise
                time.sleep(0.1)

    def client(self, user: str) -> IMAPClient:
        """Return a connection, logged in."""
        client = IMAPClient("127.0.0.1", self.port, ssl=False, timeout=60)
        client.normalise_times = False
        client.login(user, PASSWORD)
        return client

    def admin(self, *command: str) -> str:
        """Run `doveadm` and return what it prints."""
        done = subprocess.run(
            ["doveadm", "-c", str(self.home / "dovecot.conf"), *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(f"{command} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.home / "log").read_text(errors="replace")

    def complaints(self) -> list[str]:
        """Return what it has logged that is more than information, but that it was told to end."""
        lines = [line for line in self.log().splitlines() if re.search(r"Error|Panic|Fatal|Warning", line)]
        return [line for line in lines if "Killed with signal 15" not in line]

    def spelled(self, name: str) -> str:
        """Return how the server writes ``Work/2026``."""
        return self._prefix + name.replace("/", self._separator)

    def plain(self, name: str) -> str:
        """Return what `spelled` was given."""
        return name.removeprefix(self._prefix).replace(self._separator, "/")

    def cut(self) -> None:
        """Break every connection, by killing the processes that serve them."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
