"""Which courier takes mail for an address."""
