"""Bilibili: links, answers, streams and the client of its JSON API. Knows nothing of queues or media files.

Import from the modules: `links`, `ids`, `streams` and `models` are pure and light; `client` loads httpx.
"""

from __future__ import annotations
