"""The queue and the stores that live in this process."""

from __future__ import annotations
