"""The built-in task types. The only room that knows Bilibili, media files and tasks at once."""

from __future__ import annotations
