"""One account: the tree of its mailboxes, its subscriptions, and who watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.logger import Logger

from mailfw.mail.failure import MailboxExists, NameRefused, NoSuchMailbox, OverQuota
from mailfw.mail.mailbox import (
    FIRST_MAILBOXES,
    INBOX,
    CreateMailbox,
    DeleteMailbox,
    MailboxEdit,
    MailboxInfo,
    Path,
    RenameMailbox,
    Role,
    Subscribe,
)
from mailfw.stores.memory.mailbox import Mailbox

log = Logger()

Notice = Callable[[str, int], None]


class Account:
    """
    The mailboxes of one user, found by id and by path, and the one modification sequence they share.

    `make_validity` returns a UIDVALIDITY greater than any before.
    """

    def __init__(self, make_validity: Callable[[], int], quota: int) -> None:
        self.modseq = 0
        self.mailboxes: dict[str, Mailbox] = {}
        self.subscribed: set[Path] = set()
        self._paths: dict[Path, Mailbox] = {}
        self._watchers: dict[object, Notice] = {}
        self._make_validity = make_validity
        self._quota = quota
        for path, role in ((INBOX, None), *FIRST_MAILBOXES):
            self._create(path, role)
            self.subscribed.add(path)

    def next_modseq(self) -> int:
        """Return the modification sequence for the change that is about to be made."""
        self.modseq += 1
        return self.modseq

    def mailbox(self, mailbox_id: str) -> Mailbox:
        """Return a mailbox by id.  Raises `NoSuchMailbox`."""
        try:
            return self.mailboxes[mailbox_id]
        except KeyError:
            raise NoSuchMailbox("There is no such mailbox.")

    def info(self, mailbox: Mailbox) -> MailboxInfo:
        """Return one of the mailboxes as it is now."""
        return mailbox.info(mailbox.path in self.subscribed)

    def check_room(self, octets: int) -> None:
        """Raise `OverQuota` where so many more octets do not fit."""
        if self._quota and octets + sum(mailbox.size for mailbox in self.mailboxes.values()) > self._quota:
            raise OverQuota("There is no room left in this account.")

    # ------------------------------------------------------------ the tree

    def edit(self, edit: MailboxEdit) -> None:
        """Change the tree, or nothing where that is refused."""
        match edit:
            case CreateMailbox(path, role):
                self.notify([self._create(path, role)])
            case RenameMailbox(path, to):
                self.notify(self._rename(path, to))
            case DeleteMailbox(path):
                self.notify([self._delete(path)])
            case Subscribe(path, wanted):
                # RFC 3501 section 6.3.6: the name need not exist, and section 6.3.9: it stays when the mailbox goes.
                (self.subscribed.add if wanted else self.subscribed.discard)(path)

    def _create(self, path: Path, role: Role | None) -> Mailbox:
        check_path(path)
        if path in self._paths:
            raise MailboxExists("There is a mailbox of this name already.")
        mailbox = Mailbox(path, role, self._make_validity(), self.next_modseq())
        self._paths[path] = self.mailboxes[mailbox.id] = mailbox
        return mailbox

    def _rename(self, path: Path, to: Path) -> list[Mailbox]:
        check_path(to)
        depth = len(path)
        moving = [mailbox for place, mailbox in self._paths.items() if place[:depth] == path]
        if not moving:
            raise NoSuchMailbox("There is no such mailbox.")
        if path == INBOX or to[:depth] == path:
            raise NameRefused("A mailbox cannot be put below itself, nor the inbox elsewhere.")
        staying = self._paths.keys() - {mailbox.path for mailbox in moving}
        if any(to + mailbox.path[depth:] in staying for mailbox in moving):
            raise MailboxExists("There is a mailbox of this name already.")
        self.next_modseq()
        for mailbox in moving:
            del self._paths[mailbox.path]
        for mailbox in moving:
            mailbox.path = to + mailbox.path[depth:]
            self._paths[mailbox.path] = mailbox
        return moving

    def _delete(self, path: Path) -> Mailbox:
        if path == INBOX:
            raise NameRefused("The inbox cannot be deleted.")
        if path not in self._paths:
            raise NoSuchMailbox("There is no such mailbox.")
        self.next_modseq()
        mailbox = self._paths.pop(path)
        del self.mailboxes[mailbox.id]
        return mailbox

    # ------------------------------------------------------------ watchers

    def watch(self, notice: Notice) -> Callable[[], None]:
        """Call `notice` after each change until the function returned is called."""
        key = object()
        self._watchers[key] = notice

        def stop() -> None:
            self._watchers.pop(key, None)

        return stop

    def notify(self, changed: Iterable[Mailbox]) -> None:
        """Tell everybody who watches; what is told of can be seen already."""
        for mailbox in changed:
            for notice in list(self._watchers.values()):
                try:
                    notice(mailbox.id, self.modseq)
                except Exception:
                    log.failure("A watcher of mailbox {mailbox} failed", mailbox=mailbox.id)


def check_path(path: Path) -> None:
    """Raise `NameRefused` for what is no name: nothing, or a level without one."""
    if not path or not all(path):
        raise NameRefused("A level of the mailbox name is empty.")
