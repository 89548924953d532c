"""How files come into a folder: moved there and numbered under its lock, all of them or none.  Blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailfw.mail.mailbox import Flags
from mailfw.stores.index.ledger import Outdated
from mailfw.stores.maildir.signature import Signature

if TYPE_CHECKING:
    from mailfw.stores.maildir.folder import MaildirFolder

_NOTHING: Mapping[str, str] = {}


@dataclass(slots=True)
class Arrival:
    """
    A file that comes into a folder: `bring` moves it to the path it is given, `undo` takes it back from there.

    `notes` is what the UID list says of it besides its UID, and `uid` the one that it must get.
    """

    base: str
    flags: Flags
    bring: Callable[[str], None]
    undo: Callable[[str], None]
    notes: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    uid: int | None = None


class Admission:
    """
    Files on their way into one folder, in three steps: `begin`, syncing `paths`, and `commit`, or `roll_back`.

    The folder is locked from the first to the last, so that no other program numbers the files first.
    """

    def __init__(self, folder: MaildirFolder, arrivals: Sequence[Arrival]) -> None:
        self._folder = folder
        self._arrivals = arrivals
        self._names: dict[str, str] = {}
        self._brought: list[str] = []
        self._signature: Signature | None = None
        self._holding = ExitStack()
        self.uids: list[int] = []
        #: What is to be synced before the files are in.
        self.paths: list[str] = []

    def begin(self, patience: float | None = None) -> None:
        """
        Lock the folder, move the files and number them; when it fails, nothing has happened.

        Raises `Outdated` when another program has given UIDs here since the last survey, and `SourceBusy` when one
        holds the lock for longer than `patience` seconds.
        """
        try:
            self._holding.enter_context(self._folder.uidlist.lock(patience))
            if not self._folder.uidlist.is_current() or self._comes_late():
                raise Outdated(self._folder.directory)
            self._bring()
        except (OSError, KeyError) as error:
            raise self.failed(error) from error
        except BaseException:
            self.give_up()
            raise

    def _comes_late(self) -> bool:
        """Whether a UID that a file brings along has been passed already."""
        first = next((arrival.uid for arrival in self._arrivals if arrival.uid is not None), None)
        header = self._folder.uidlist.header
        return first is not None and header is not None and first < header.uid_next

    def _bring(self) -> None:
        folder = self._folder
        folder.learn({flag for arrival in self._arrivals for flag in arrival.flags})
        ours = folder.is_as_surveyed()
        wishes = [arrival.uid for arrival in self._arrivals]
        lines = [(arrival.base, arrival.notes) for arrival in self._arrivals]
        # A file without a line would get the next UID, whichever it brings along: if we die now, a survey goes on.
        comes_first = any(wish is not None for wish in wishes)
        if comes_first:
            self.uids = folder.uidlist.add(lines, wishes)
        for arrival in self._arrivals:
            name = self._names[arrival.base] = folder.name_for(arrival)
            arrival.bring(folder.path(name))
            self._brought.append(name)
        if not comes_first:
            self.uids = folder.uidlist.add(lines)
        # Syncing takes a while: whoever changes the folder meanwhile must not seem to be us.
        self._signature = Signature.of(folder.directory) if ours else None
        self.paths = [*(folder.path(each) for each in {name[:3] for name in self._brought}), folder.uidlist.path]

    def commit(self) -> list[int]:
        """Let other programs in again, and return the UIDs."""
        self._folder.note(self._names, self._signature)
        self._holding.close()
        return self.uids

    def give_up(self) -> None:
        """Let other programs in, whatever they find: the next survey takes it over."""
        self._holding.close()

    def failed(self, error: Exception) -> Exception:
        """Roll back, and return what is the matter: `Outdated` where another program has renamed the folder."""
        has_moved = isinstance(error, FileNotFoundError) and not self._folder.is_in_place()
        self.roll_back()
        return Outdated(self._folder.directory) if has_moved else error

    def roll_back(self) -> None:
        """Take the files back, as far as that can be done."""
        with self._holding:
            if not self._folder.is_in_place():
                with suppress(OSError):  # all of the account may be gone
                    self._folder.follow()
            for arrival, name in reversed(list(zip(self._arrivals, self._brought, strict=False))):
                with suppress(OSError):
                    arrival.undo(self._folder.path(name))
            if self.uids:
                with suppress(OSError):
                    self._folder.uidlist.take_back()
