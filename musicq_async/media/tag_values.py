"""The tags of a song, whatever file type they stand in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from musicq_async.media.covers import Cover

Id3Version = Literal[3, 4]
"""2.3, which everything reads, or 2.4, which keeps several artists apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayGain:
    """How much louder or quieter a track should be played."""

    gain: float
    """Decibels that bring it to -18 LUFS."""
    peak: float | None = None
    """Largest sample, 1.0 being full scale; may exceed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What may stand in a file. ``None`` and empty say nothing: such fields are left as they are when written."""

    title: str | None = None
    artists: tuple[str, ...] = ()
    album: str | None = None
    album_artists: tuple[str, ...] = ()
    composers: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()
    date: str | None = None
    """``2024``, ``2024-05`` or ``2024-05-17``."""
    track: int | None = None
    tracks: int | None = None
    disc: int | None = None
    discs: int | None = None
    comment: str | None = None
    url: str | None = None
    """Where the song came from."""
    lyrics: str | None = None
    """Plain text or LRC."""
    replay_gain: ReplayGain | None = None
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further fields by upper-case name, such as ``BPM`` or ``ISRC``."""

    def over(self, older: Tags) -> Tags:
        """Return these tags, with what they do not say taken from older ones."""
        said = {name: value for name in self.__slots__ if (value := getattr(self, name))}
        return replace(older, **{**said, "others": {**older.others, **self.others}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """The tags and the cover of a file."""

    tags: Tags
    cover: Cover | None
