"""musicq_async: an asyncio-native task queue, scheduler and Bilibili music download service."""

from __future__ import annotations

__version__ = "0.1.0"
