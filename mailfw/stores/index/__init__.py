"""What mailfw adds to a message source: UIDs, modification sequences, summaries and an expunge log, in SQLite."""
