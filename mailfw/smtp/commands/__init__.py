"""The commands of SMTP, a family in each file; each checks order, parses, asks, acts and returns the reply."""
