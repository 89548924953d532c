"""Debian's Postfix as another site on a loopback address of its own, with its own resolver configuration."""

from __future__ import annotations

import grp
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/lib
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{domain}
mydestination =
mynetworks = 127.0.0.1/32
inet_interfaces = 127.0.0.1
proxy_interfaces = {address}
inet_protocols = ipv4
smtp_host_lookup = dns
maillog_file = /dev/stdout
minimal_backoff_time = 2s
maximal_backoff_time = 3s
queue_run_delay = 2s
smtp_connection_cache_on_demand = yes
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = inline:{{ {{ {user}@{domain} = {user}/ }} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = {tls}
smtp_tls_security_level = may
alias_maps =
alias_database =
local_recipient_maps =
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
{more}
"""

_SERVICES = """\
{address}:25 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """
    One site with one mailbox, `user` at `domain`, which listens on port 25 of `address`.

    `name_server` is the address of the DNS server that it asks, on port 53.  A test adds `remove` to its cleanups.
    """

    def __init__(
        self,
        domain: str,
        address: str,
        name_server: str,
        *,
        user: str = "paul",
        tls: tuple[Path, Path] | None = None,
        more: str = "",
    ) -> None:
        if shutil.which("postfix") is None:
            raise SkipTest("postfix is not installed, and only root may install it")
        self.domain, self.address, self.user = domain, address, user
        self.home = Path(tempfile.mkdtemp(prefix="mailfw-postfix-"))
        self.home.chmod(0o755)
        for name in ("config", "queue", "lib", "mail"):
            (self.home / name).mkdir()
        owner = pwd.getpwnam("nobody")
        shutil.chown(self.home / "mail", owner.pw_uid, owner.pw_gid)
        shutil.chown(self.home / "lib", "postfix", grp.getgrgid(pwd.getpwnam("postfix").pw_gid).gr_name)
        certificate, key = tls or ("", "")
        (self.home / "config" / "main.cf").write_text(
            _MAIN.format(
                home=self.home,
                domain=domain,
                address=address,
                user=user,
                uid=owner.pw_uid,
                gid=owner.pw_gid,
                certificate=certificate,
                key=key,
                tls="may" if tls else "none",
                more=more,
            )
        )
        (self.home / "config" / "master.cf").write_text(_SERVICES.format(address=address))
        (self.home / "resolv.conf").write_text(f"nameserver {name_server}\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, with our resolv.conf in place of the machine's for this process alone."""
        command = (
            f"mount --bind {self.home}/resolv.conf /etc/resolv.conf && exec postfix -c {self.home}/config start-fg"
        )
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(["unshare", "--mount", "sh", "-c", command], stdout=log, stderr=log)
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with socket.create_connection((self.address, 25), 1) as connection:
                    connection.settimeout(5)
                    if connection.recv(1):
                        return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("Postfix did not start:\n" + self.log())

    def stop(self) -> None:
        """Stop it; its queue stays."""
        subprocess.run(["postfix", "-c", str(self.home / "config"), "stop"], capture_output=True, check=False)
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def remove(self) -> None:
        """Stop it and delete all it wrote."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def log(self) -> str:
        """Return what it has logged."""
        return (self.home / "log").read_text(errors="replace")[-6000:]

    def messages(self) -> list[bytes]:
        """Return what is in its mailbox, and not what is being written."""
        return [path.read_bytes() for path in sorted((self.home / "mail").glob(f"{self.user}/[cn]*/*"))]
