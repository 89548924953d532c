"""Start the servers that are compared, each in a directory of its own, on loopback ports nobody uses."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailfw.accounts.passwords import AccountExists, PasswordFile
from tests.running import free_port

DOMAIN = "bench.example"
USERS = [f"user{n}" for n in range(20)]
PASSWORD = "bench-password"


@dataclass
class Peer:
    """A running server: its ports, its process and where it delivers."""

    name: str
    process: subprocess.Popen[bytes]
    ports: dict[str, int] = field(default_factory=dict)
    maildirs: Path | None = None

    def processes(self) -> list[int]:
        """Return the ids of the server's own process and all below it."""
        found = [self.process.pid]
        for parent in found:
            children = Path(f"/proc/{parent}/task/{parent}/children")
            with contextlib.suppress(OSError):
                found.extend(int(pid) for pid in children.read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """Return user and system time of all its living processes and of those they waited for."""
        tick = os.sysconf("SC_CLK_TCK")
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += sum(int(value) for value in fields[11:15])
        return total / tick

    def memory_kilobytes(self) -> int:
        """Return the proportional set size (shared pages counted once) of all its processes."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total


def wait_for(port: int, process: subprocess.Popen[bytes], patience: float = 30.0) -> None:
    """Wait until something greets on the port."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"The server ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 2.0) as connection:
                connection.settimeout(5.0)
                if connection.recv(1):
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"Nothing listens on port {port}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def mailfw(
    home: Path,
    *settings: str,
    smtp: bool = True,
    imap: bool = True,
    users: Sequence[str] = USERS,
    workers: int = 0,
) -> Iterator[Peer]:
    """Run mailfw with the maildir store; accounts are `users` at DOMAIN."""
    home.mkdir(parents=True, exist_ok=True)
    ports = {"smtp": free_port(), "imap": free_port(), "pop3": free_port()}
    data = home / "data"
    chosen = [
        f'domains=["{DOMAIN}"]',
        f'hostname="mail.{DOMAIN}"',
        f'data="{data}"',
        "allow_plaintext_auth=true",
        "limits.connections_per_address=20000",
        *(f'listen.{name}=["tcp:{port}:interface=127.0.0.1"]' for name, port in ports.items()),
        *(f"listen.{name}=[]" for name in ("submission", "submissions", "imaps", "pop3s", "http", "lmtp")),
        *settings,
    ]
    options = [argument for setting in chosen for argument in ("--set", setting)]
    data.mkdir(mode=0o700, exist_ok=True)
    data.chmod(0o700)
    accounts = PasswordFile(data / "passwords", None)
    for user in users:
        with contextlib.suppress(AccountExists):  # where it is started again
            accounts.add(f"{user}@{DOMAIN}", PASSWORD)
    log = (home / "log").open("wb")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "mailfw", f"--workers={workers}", *options],
        cwd=home,
        stdout=log,
        stderr=log,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},  # for policies of ours
    )
    try:
        wait_for(ports["imap" if imap else "smtp"], process)
        yield Peer("mailfw", process, ports, data / "mail" / DOMAIN)
    finally:
        _stop(process)


_POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/lib
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{domain}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = inline:{{ {users} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_client_connection_count_limit = 0
default_process_limit = 100
alias_maps =
alias_database =
local_recipient_maps =
mailbox_size_limit = 0
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
"""

_POSTFIX_SERVICES = """\
127.0.0.1:{port} inet n - n - 1100 smtpd
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
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@contextlib.contextmanager
def postfix(home: Path, more: str = "", users: Sequence[str] = USERS) -> Iterator[Peer]:
    """Run Debian's Postfix with its own queue, delivering to maildirs by virtual(8); `more` is put into its main.cf."""
    import grp
    import pwd

    for name in ("config", "queue", "lib", "mail"):
        (home / name).mkdir(parents=True, exist_ok=True)
    owner = pwd.getpwnam("nobody")
    shutil.chown(home / "mail", owner.pw_uid, owner.pw_gid)
    shutil.chown(home / "lib", "postfix", grp.getgrgid(pwd.getpwnam("postfix").pw_gid).gr_name)
    port = free_port()
    boxes = ", ".join(f"{{ {user}@{DOMAIN} = {user}/ }}" for user in users)
    (home / "config" / "main.cf").write_text(
        _POSTFIX_MAIN.format(home=home, domain=DOMAIN, users=boxes, uid=owner.pw_uid, gid=owner.pw_gid) + more
    )
    (home / "config" / "master.cf").write_text(_POSTFIX_SERVICES.format(port=port))
    log = (home / "log").open("wb")
    command = ["/usr/sbin/postfix", "-c", str(home / "config"), "start-fg"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(port, process)
        yield Peer("Postfix", process, {"smtp": port}, home / "mail")
    finally:
        subprocess.run(["/usr/sbin/postfix", "-c", str(home / "config"), "stop"], capture_output=True, check=False)
        _stop(process)


_DOVECOT = """\
protocols = imap pop3{protocols}
base_dir = {home}/run
log_path = {home}/log
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = {location}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
auth_username_format = %n
mail_max_userip_connections = 20000
maildir_very_dirty_syncs = no
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/mail/%n allow_all_users=yes
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  client_limit = 4000
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  service_count = 0
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service imap {{
  service_count = 1000
  process_limit = 2000
}}
service anvil {{
  client_limit = 10000
}}
service auth {{
  client_limit = 10000
}}
namespace inbox {{
  inbox = yes
}}
"""


_DOVECOT_LMTP = """
protocol lmtp {{
  postmaster_address = postmaster@{domain}
}}
service lmtp {{
  process_limit = 200
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
"""


@contextlib.contextmanager
def dovecot(home: Path, location: str = "", lmtp: bool = False, more: str = "") -> Iterator[Peer]:
    """
    Run Debian's Dovecot, tuned for many log-ins, on maildirs or what else `location` says, with LMTP if asked.

    `more` is put at the end of its configuration.
    """
    import pwd

    owner = pwd.getpwnam("nobody")
    (home / "mail").mkdir(parents=True, exist_ok=True)
    subprocess.run(["chown", "-R", f"{owner.pw_uid}:{owner.pw_gid}", str(home / "mail")], check=True)
    ports = {"imap": free_port(), "pop3": free_port(), "lmtp": free_port()}
    configuration = home / "dovecot.conf"
    facts = {"home": home, "uid": owner.pw_uid, "gid": owner.pw_gid, "password": PASSWORD, "domain": DOMAIN, **ports}
    facts |= {"location": location or f"maildir:{home}/mail/%n", "protocols": " lmtp" if lmtp else ""}
    configuration.write_text((_DOVECOT + (_DOVECOT_LMTP if lmtp else "")).format(**facts) + more)
    output = (home / "output").open("wb")
    process = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", str(configuration)], stdout=output, stderr=output)
    try:
        wait_for(ports["imap"], process)
        yield Peer("Dovecot", process, ports, home / "mail")
    finally:
        _stop(process)
