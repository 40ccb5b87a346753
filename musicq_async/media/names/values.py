"""The values of this package: a song's name, its tags, and what a video title says of a song."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

TagKind = Literal[
    "language",
    "translation",
    "instrumental",
    "remix",
    "edit",
    "live",
    "cover",
    "acoustic",
    "version",
    "remaster",
    "demo",
    "speed",
    "source",
    "feat",
    "credit",
    "part",
    "quality",
    "other",
]
Confidence = Literal["high", "medium", "low"]
Order = Literal["title-artist", "artist-title"]
Style = Literal["seed", "wide", "plain"]

HYPHENS = ("-", " - ")
"""The tag styles that stand before their text; every other style is an opening and a closing bracket, or nothing."""


@dataclass(frozen=True, slots=True)
class Tag:
    """What stands beside a title: ``(Live)``, ``（粤语版）``, ``-古风版``.

    ``style`` is the pair of brackets, ``"-"``, ``" - "``, or ``""`` for bare text; ``gap`` is the number of spaces in
    front. Two tags that differ only in their gap are equal.
    """

    text: str
    kind: TagKind = "other"
    style: str = "()"
    gap: int = field(default=1, compare=False)

    @property
    def written(self) -> str:
        """The tag as it stands behind the title, its gap in front."""
        if self.style in HYPHENS:
            return self.style + self.text
        middle = len(self.style) // 2
        return " " * self.gap + self.style[:middle] + self.text + self.style[middle:]


@dataclass(frozen=True, slots=True)
class SongName:
    """A file name taken apart. Two names are equal if title, artists and tags are, however they were written.

    ``lossy`` says that at least one ``_`` was restored by a guess, or could not be restored.
    """

    raw: str = field(compare=False)
    title: str
    artists: tuple[str, ...] = ()
    tags: tuple[Tag, ...] = ()
    lossy: bool = field(default=False, compare=False)

    @property
    def base(self) -> str:
        """The title without its tags."""
        return self.title

    @property
    def full(self) -> str:
        """The title with its tags."""
        return self.title + "".join(tag.written for tag in self.tags)


@dataclass(frozen=True, slots=True)
class VideoSong:
    """The song that a video title speaks of.

    ``artists`` are those who perform here, empty where the title does not say; for a cover, ``original_artists`` are
    those who are covered. ``confidence`` is high when both title and artist are stated, medium when one of them is
    inferred, and low for collections, medleys and titles without any structure.
    """

    title: str
    artists: tuple[str, ...] = ()
    original_artists: tuple[str, ...] = ()
    tags: tuple[Tag, ...] = ()
    confidence: Confidence = "low"
