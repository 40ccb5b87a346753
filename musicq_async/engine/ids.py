"""Ids of tasks that bring none: random UUIDs of version 4, at a third of the price of `uuid.uuid4`."""

from __future__ import annotations

import os
import random
from typing import Final

RANDOM_BITS: Final = (1 << 128) - 1 - (0xF << 76) - (0b11 << 62)
FIXED_BITS: Final = (4 << 76) | (0b10 << 62)
"""Version 4, variant of RFC 4122."""

_random: Final = random.Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)  # or parent and child would give the same ids


def new_task_id() -> str:
    """Return a fresh id. Ids need not be secret, so they are drawn from a generator that the system seeded once."""
    digits = f"{_random.getrandbits(128) & RANDOM_BITS | FIXED_BITS:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
