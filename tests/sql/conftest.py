"""The backends to try: see `backends`."""

from __future__ import annotations

from backends import bench, blank_sqlite, clock, kind, server_urls

__all__ = ["bench", "blank_sqlite", "clock", "kind", "server_urls"]
