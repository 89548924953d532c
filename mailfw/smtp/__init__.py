"""SMTP receiving (RFC 5321), message submission (RFC 6409) and LMTP (RFC 2033) over one session."""
