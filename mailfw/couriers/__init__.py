"""What takes a message to where some of its recipients are."""
