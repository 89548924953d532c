"""Certificates: made on first start, loaded, chosen by name, and loaded again when they are renewed."""
