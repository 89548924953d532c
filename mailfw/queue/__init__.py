"""The durable side of taking mail: drafts, the intake, and the spool of what could not be delivered at once."""
