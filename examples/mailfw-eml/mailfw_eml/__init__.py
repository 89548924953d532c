"""A mailfw backend written in an hour: every message is an .eml file that any mail program opens."""
