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

    `notes` is what the UID list says of it besides its UID.
    """

    base: str
    flags: Flags
    bring: Callable[[str], None]
    undo: Callable[[str], None]
    notes: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


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
        self._holding.enter_context(self._folder.uidlist.lock(patience))
        try:
            if not self._folder.uidlist.is_current():
                raise Outdated(self._folder.directory)
            self._bring()
        except (OSError, KeyError):
            self.roll_back()
            raise
        except BaseException:
            self.give_up()
            raise

    def _bring(self) -> None:
        folder = self._folder
        folder.learn({flag for arrival in self._arrivals for flag in arrival.flags})
        ours = folder.is_as_surveyed()
        for arrival in self._arrivals:
            name = self._names[arrival.base] = folder.name_for(arrival)
            arrival.bring(folder.path(name))
            self._brought.append(name)
        self.uids = folder.uidlist.add([(arrival.base, arrival.notes) for arrival in self._arrivals])
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

    def roll_back(self) -> None:
        """Take the files back, as far as that can be done."""
        with self._holding:
            for arrival, name in reversed(list(zip(self._arrivals, self._brought, strict=False))):
                with suppress(OSError):
                    arrival.undo(self._folder.path(name))
            if self.uids:
                with suppress(OSError):
                    self._folder.uidlist.take_back()
