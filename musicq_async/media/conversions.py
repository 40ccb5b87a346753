"""What a conversion is asked for, and what became of each file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from musicq_async.errors import MediaError, SourceError
from musicq_async.media.drafts import Existing
from musicq_async.media.recipes import Format
from musicq_async.media.tag_values import Id3Version

Action = Literal["encoded", "copied", "unchanged", "skipped"]
"""Encoded anew; bits kept and moved to another file; already as wanted; made by an earlier run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What became of one file."""

    source: Path
    path: Path
    format: str
    action: Action
    bit_rate: int | None
    duration: float | None
    size: int
    removed: bool
    """Whether the source was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotConverted:
    """A file of a folder that could not be converted."""

    source: Path
    error: MediaError | SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What became of a file, or of the files of a folder in the order of their names."""

    files: tuple[Converted, ...]
    failed: tuple[NotConverted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How every file of a conversion is to be made."""

    made: Format
    bit_rate: int | None
    keep: bool
    id3_version: Id3Version
    ffmpeg: str | None = None
    existing: Existing = "replace"
