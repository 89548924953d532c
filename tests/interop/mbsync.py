"""The configuration of an mbsync that keeps one account beside a maildir."""

from __future__ import annotations

from pathlib import Path

_TEMPLATE = """\
FSync no

IMAPAccount there
Host 127.0.0.1
Port {port}
User {user}
Pass "{password}"
AuthMechs PLAIN
Timeout 600
{tls}

IMAPStore far
Account there

MaildirStore near
Path {near}/
Inbox {near}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns {patterns}
Create {create}
Remove {remove}
Expunge {expunge}
Sync All
SyncState *
"""


def configuration(
    port: int,
    user: str,
    password: str,
    near: Path,
    *,
    patterns: str = "*",
    create: str = "Both",
    remove: str = "Both",
    expunge: str = "Both",
    certificate: Path | None = None,
) -> str:
    """
    Return it: everything goes both ways unless the arguments say ``Near``, ``Far`` or ``None``.

    With `certificate` it is STARTTLS and that certificate, for whatever name; without, nothing is encrypted.
    """
    tls = "SSLType None" if certificate is None else f"SSLType STARTTLS\nCertificateFile {certificate}"
    return _TEMPLATE.format(
        port=port,
        user=user,
        password=password,
        near=near,
        patterns=patterns,
        create=create,
        remove=remove,
        expunge=expunge,
        tls=tls,
    )
