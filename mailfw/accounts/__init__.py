"""Who has an account: checkers of passwords, the realm that gives accounts, and the directory of addresses."""
