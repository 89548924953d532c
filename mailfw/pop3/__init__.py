"""POP3 (RFC 1939) with CAPA, STLS, SASL, PIPELINING and response codes."""
