"""Real clients and servers, from Debian and from the standard library, against a running server."""
