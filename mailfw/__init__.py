"""A pluggable mail framework on Twisted: SMTP, POP3 and IMAP servers whose every policy is one small interface."""

__version__ = "0.1.0"
