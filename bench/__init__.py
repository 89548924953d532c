"""The scripts behind every number in the docs, each running peers side by side."""
