"""Answers that are remembered: reading one title asks the same pure questions of the same words again and again."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

KEPT = 4096
"""Answers of each function, the latest asked for: a few megabytes in all."""


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Remember the latest answers of a pure function of hashable arguments."""
    return cast("Callable[P, R]", lru_cache(maxsize=KEPT)(function))
