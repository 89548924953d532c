"""How a session is ended from within a command."""


class Farewell(Exception):
    """The session must end: the text is for the BYE."""
