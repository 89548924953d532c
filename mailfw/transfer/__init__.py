"""Moving mail: whole accounts between stores, directories of files and other servers."""
