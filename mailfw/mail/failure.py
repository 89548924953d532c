"""Why a store could not do what it was asked; every other exception from one is a fault."""


class StoreRefusal(Exception):
    """The store is well, but will not do this; the text is for the user."""


class NoSuchAccount(StoreRefusal):
    """No account of this name."""


class NoSuchMailbox(StoreRefusal):
    """The mailbox does not exist, or no longer."""


class MailboxExists(StoreRefusal):
    """A mailbox of this name exists already."""


class NameRefused(StoreRefusal):
    """The store cannot hold a mailbox of this name."""


class RoleTaken(StoreRefusal):
    """Another mailbox has this role already."""


class NoSuchMessage(StoreRefusal):
    """The message is not in the mailbox, or no longer."""


class AnnotationTooLong(StoreRefusal):
    """The value of an annotation, or its name, is longer than it may be."""


class TooManyAnnotations(StoreRefusal):
    """There is no room for more annotations."""


class NumberRefused(StoreRefusal):
    """The mailbox cannot have this UIDVALIDITY, or a message this UID."""


class OverQuota(StoreRefusal):
    """The account's storage is used up."""


class NoPermission(StoreRefusal):
    """The mailbox is shared with the user, but not for that."""


class NoSpace(StoreRefusal):
    """The disk is full: nobody can store anything now."""


class Overloaded(Exception):
    """Too much of this is under way; trying again later helps.  Not a store's alone: checkers raise it too."""
