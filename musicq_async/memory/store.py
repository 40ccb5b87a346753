"""The shared values of ``memory://``: those of a `MemoryQueue`, behind the `musicq_async.ports.PublicStore`."""

from __future__ import annotations

from typing import Any

from musicq_async.core import MemoryQueue


class MemoryStore:
    """Shared values in this process's memory. Nothing here ever waits."""

    def __init__(self, core: MemoryQueue | None = None) -> None:
        self._core = MemoryQueue() if core is None else core

    async def set_public(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Set a value; ``ttl`` in seconds, above 0; setting again replaces both."""
        self._core.set_public(key, value, ttl)

    async def get_public(self, key: str) -> Any | None:
        """Return the value, or ``None``."""
        return self._core.get_public(key)

    async def delete_public(self, key: str) -> bool:
        """Delete; return whether it was there."""
        return self._core.delete_public(key)

    async def cleanup(self) -> int:
        """Drop what has expired; return how many."""
        return self._core.cleanup()

    async def get_store_size(self) -> int:
        """Return the number of live keys."""
        return self._core.get_store_size()

    async def list_keys(self) -> list[str]:
        """Return the live keys."""
        return self._core.list_keys()

    async def clear_store(self) -> None:
        """Drop everything."""
        self._core.clear_store()
