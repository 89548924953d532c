"""What a command raises when it cannot do what it was asked."""


class CommandRefused(Exception):
    """The text is for whoever typed the command."""
