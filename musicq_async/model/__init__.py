"""Values and the pure functions that decide what becomes of them."""

from __future__ import annotations
