"""One account: the tree of its mailboxes, its subscriptions, and who watches it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from twisted.logger import Logger

from mailfw.mail.conversation import join, lonely_thread, split, thread_id
from mailfw.mail.failure import MailboxExists, NameRefused, NoSuchMailbox, RoleTaken
from mailfw.mail.mailbox import (
    FIRST_MAILBOXES,
    INBOX,
    CreateMailbox,
    DeleteMailbox,
    Flags,
    MailboxEdit,
    MailboxInfo,
    Path,
    RenameMailbox,
    Role,
    SetRole,
    Subscribe,
)
from mailfw.mail.quota import QuotaLimits
from mailfw.stores.memory.mailbox import Letter, Mailbox, Message
from mailfw.stores.memory.retention import Retention

log = Logger()

Notice = Callable[[str, int], None]


class Account:
    """
    The mailboxes of one user, found by id and by path, and the one modification sequence they share.

    `make_validity` returns a UIDVALIDITY greater than any before.  `octets` and `messages` are those of all mailboxes:
    whoever adds or removes mail counts it.
    """

    def __init__(self, make_validity: Callable[[], int], retains: bool) -> None:
        self.modseq = 0
        self.mailboxes: dict[str, Mailbox] = {}
        self.subscribed: set[Path] = set()
        self._paths: dict[Path, Mailbox] = {}
        self._watchers: dict[object, Notice] = {}
        self._make_validity = make_validity
        self.octets = self.messages = 0
        self.retention = Retention()
        self._threads: dict[bytes, bytes] = {}
        self.annotations: dict[tuple[str, str], bytes] = {}
        self._retains = retains
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

    # ------------------------------------------------------------ messages

    def find(self, path: Path) -> Mailbox | None:
        """Return the mailbox at a path."""
        return self._paths.get(path)

    def threaded(self, letter: Letter) -> Letter:
        """Return a new letter with the thread that it belongs to."""
        thread, _ = join(self._threads, split(letter.summary.keys), lonely_thread(letter.email_id))
        return replace(letter, thread_id=thread_id(thread))

    def add(
        self,
        mailbox: Mailbox,
        letter: Letter,
        flags: Flags,
        modseq: int,
        token: str | None = None,
        uid: int | None = None,
    ) -> Message:
        """Put a letter at the end of a mailbox."""
        self.octets += len(letter.octets)
        self.messages += 1
        return mailbox.add(letter, flags, modseq, token, uid)

    def remove(self, mailbox: Mailbox, messages: Sequence[Message], modseq: int) -> None:
        """Take messages out of a mailbox."""
        for message in messages:
            mailbox.remove(message, modseq)
            self.octets -= len(message.letter.octets)
        self.messages -= len(messages)

    def check_room(self, limits: QuotaLimits, letters: Sequence[Letter]) -> None:
        """Raise `OverQuota` where letters do not fit into the account."""
        limits.room(self.octets, self.messages).check(sum(len(letter.octets) for letter in letters), len(letters))

    def retain(self, mailbox: Mailbox, messages: Iterable[Message]) -> None:
        """Keep messages that are removed for whoever wants them back, if that is wanted."""
        if self._retains:
            self.retention.keep(mailbox.path, messages, time.time())

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
            case SetRole(path, role):
                self.notify(self._set_role(path, role))

    def _create(self, path: Path, role: Role | None) -> Mailbox:
        check_path(path)
        if path in self._paths:
            raise MailboxExists("There is a mailbox of this name already.")
        self._check_role(role)
        mailbox = Mailbox(path, role, self._make_validity(), self.next_modseq())
        above = [place for place in self._paths if path[: len(place)] == place]
        if above:
            mailbox.access = dict(self._paths[max(above, key=len)].access)
        self._paths[path] = self.mailboxes[mailbox.id] = mailbox
        return mailbox

    def _check_role(self, role: Role | None) -> None:
        if role is not None and any(mailbox.role is role for mailbox in self.mailboxes.values()):
            raise RoleTaken("Another mailbox is used for this.")

    def _set_role(self, path: Path, role: Role | None) -> list[Mailbox]:
        if path == INBOX:
            raise NameRefused("The inbox is used for what arrives, and nothing else.")
        if path not in self._paths:
            raise NoSuchMailbox("There is no such mailbox.")
        mailbox = self._paths[path]
        if mailbox.role is role:
            return []
        self._check_role(role)
        mailbox.role, mailbox.modseq = role, self.next_modseq()
        return [mailbox]

    def all_annotations(self) -> list[dict[tuple[str, str], bytes]]:
        """Return those of the account itself and of each mailbox."""
        return [self.annotations, *(mailbox.annotations for mailbox in self.mailboxes.values())]

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
        self.octets -= mailbox.size
        self.messages -= len(mailbox.messages)
        self.retain(mailbox, mailbox.messages.values())
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
            self.tell(mailbox.id)

    def tell(self, mailbox_id: str) -> None:
        """Tell everybody who watches of one mailbox, or of `SHARES`."""
        for notice in list(self._watchers.values()):
            try:
                notice(mailbox_id, self.modseq)
            except Exception:
                log.failure("A watcher of mailbox {mailbox} failed", mailbox=mailbox_id)


def check_path(path: Path) -> None:
    """Raise `NameRefused` for what is no name: nothing, or a level without one."""
    if not path or not all(path):
        raise NameRefused("A level of the mailbox name is empty.")
