"""
SASL (RFC 4422): one mechanism a file, each a pure exchange that ends in credentials.

`logins` holds the exchanges for the sessions of every protocol, and `client` is our side where we are the client.
"""
