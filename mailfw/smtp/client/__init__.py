"""The sending side of SMTP (RFC 5321) and LMTP (RFC 2033): pure grammar, one session, one transaction a message."""
