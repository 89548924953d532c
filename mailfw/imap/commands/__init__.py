"""The commands of IMAP, a family in each file."""
