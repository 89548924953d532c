"""For your own tests: dialogues with a session, and the contract of every plug-in point."""
