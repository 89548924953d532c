"""A store that keeps mail as long as the process lives: for tests, and to read before writing another."""

from mailfw.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
