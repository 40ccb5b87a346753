"""What has been gathered so far while a video title is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from musicq_async.media.names.keys import artist_key
from musicq_async.media.names.values import Tag, TagKind

_ONCE: frozenset[TagKind] = frozenset(("cover", "live"))
"""Kinds of which a title says the same thing several times; the first is kept."""


@dataclass(slots=True, kw_only=True)
class Clues:
    """Tags by their place in the title, and the people that brackets and credits name."""

    tags: list[tuple[int, Tag]] = field(default_factory=list)
    performers: list[str] = field(default_factory=list)
    """Stated by a credit: ``covered by X``, ``演唱：X``."""
    originals: list[str] = field(default_factory=list)
    """Stated by a credit: ``cover X``, ``原唱：X``."""
    bracketed: list[str] = field(default_factory=list)
    """Names that stand alone in a bracket."""
    labels: list[tuple[int, str]] = field(default_factory=list)
    """What square brackets hold that is neither noise nor a category, by place: a name or a song."""
    guests: list[str] = field(default_factory=list)
    """Behind a ``feat.`` in the title itself."""
    cover: bool = False
    own_work: bool = False
    collection: bool = False
    structured: bool = False
    """Something was recognised and taken away: what is left is no longer the raw title."""

    def tag(self, place: int, text: str, kind: TagKind) -> None:
        """Note a tag that stands at this place of the title."""
        if text:
            self.tags.append((place, Tag(text, kind)))
            self.structured = True
            self.cover |= kind == "cover"

    def ordered_tags(self) -> tuple[Tag, ...]:
        """Return the tags in reading order, each once."""
        chosen: list[Tag] = []
        for _, tag in sorted(self.tags, key=lambda placed: placed[0]):
            repeated = tag.kind in _ONCE and any(other.kind == tag.kind for other in chosen)
            if not repeated and tag not in chosen:
                chosen.append(tag)
        return tuple(chosen)

    def ordered_originals(self, performers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the original artists that are not the performers themselves, each once."""
        taken = {artist_key(artist) for artist in performers}
        return tuple(dict.fromkeys(artist for artist in self.originals if artist_key(artist) not in taken))
