"""Names that are known: awkward ones to restore and never split, artists by region, works, surnames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Final

from musicq_async.media.names.characters import HANGUL, KANA, LATIN
from musicq_async.media.names.keys import artist_key, name_key
from musicq_async.media.names.memory import remembered
from musicq_async.media.names.shipped import folding, shipped

_ILLEGAL: Final = re.compile(r'[/\\:*?"<>|.]')
_WORD_LETTER: Final = {
    "latin": re.compile(f"[{LATIN}0-9]"),
    "kana": re.compile(f"[{KANA}]"),
    "hangul": re.compile(f"[{HANGUL}]"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A known artist in a running text: where the name stands, and how it is written there."""

    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One known artist: the first of its names, and whence: ``zh``, ``ja``, ``ko``, ``en``, empty for the user's."""

    region: str
    name: str


class Names:
    """The shipped dictionary, and the artists of the user's own library beside it.

    ``artists`` are added to the known ones; those with a character that a file name cannot hold are restored as well.
    The shipped data is read when it is first needed.
    """

    def __init__(self, artists: Iterable[str] = ()) -> None:
        self.own = tuple(artists)

    def is_artist(self, text: str) -> bool:
        """Say whether the whole text is a known artist, in any spelling."""
        return self.region(text) is not None

    def region(self, text: str) -> str | None:
        """Return whence a known artist is: ``zh``, ``ja``, ``ko``, ``en``, or ``""`` for the user's own; else None."""
        entry = self._entries.get(artist_key(text))
        return None if entry is None else entry.region

    def same(self, one: str, other: str) -> bool:
        """Say whether two names are one artist: two spellings of it, or two names that are known to be its."""
        first, second = artist_key(one), artist_key(other)
        known = self._entries.get(first)
        return first == second or (known is not None and known == self._entries.get(second))

    def is_spelled(self, text: str) -> bool:
        """Say whether a known artist is written just so, down to the full stop of ``ずっと真夜中でいいのに。``."""
        return text.translate(folding()) in self._spellings

    def performs_covers(self, text: str) -> bool:
        """Say whether a known artist is one who sings the songs of others: a voice, a virtual or an online singer."""
        return artist_key(text) in self._cover_singers

    def mentions(self, text: str) -> list[Mention]:
        """Find the known artists in a running text, the longest first at each place, none overlapping another."""
        return list(_mentions(self, text))

    def _name_at(self, folded: str, index: int, candidates: tuple[str, ...]) -> int:
        for name in candidates:
            if folded.startswith(name, index) and _stands_free(folded, index, index + len(name)):
                return len(name)
        return 0

    def mentioned(self, text: str) -> Iterator[Mention]:
        """Find what `mentions` returns."""
        folded = text.translate(folding())
        openings = self._by_opening
        end = 0
        for index in range(len(folded) - 1):
            candidates = openings.get(folded[index : index + 2])
            if candidates is None or index < end:
                continue
            if length := self._name_at(folded, index, candidates):
                end = index + length
                yield Mention(start=index, end=end, name=text[index:end])

    def never_splits(self, text: str) -> bool:
        """Say whether a text that holds a separator is one name all the same."""
        return name_key(text) in self._never_split

    def restored(self, piece: str) -> str:
        """Put back the characters of known names where ``_`` stands for them; nothing else of the piece changes."""
        folded = piece.translate(folding())
        whole = self._restorable.get(folded)
        if whole is not None:
            return _with_signs(piece, whole, 0)
        for match in self._restorable_inside.finditer(folded):
            piece = _with_signs(piece, self._restorable[match.group()], match.start())
        return piece

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        entries = {artist_key(name): Entry(region="", name=artist_key(name)) for name in self.own}
        for region, artists in _artists().items():
            for artist in artists:
                entry = Entry(region=region, name=artist[0])
                for name in artist:
                    entries.setdefault(artist_key(name.lstrip("~")), entry)
        entries.pop("", None)
        return entries

    @cached_property
    def _spellings(self) -> frozenset[str]:
        shipped = (name.lstrip("~") for artists in _artists().values() for artist in artists for name in artist)
        return frozenset(name.translate(folding()) for name in (*self.own, *shipped))

    @cached_property
    def _cover_singers(self) -> frozenset[str]:
        return frozenset(map(artist_key, shipped()["cover_singers"]))

    @cached_property
    def _by_opening(self) -> dict[str, tuple[str, ...]]:
        names = {name.translate(folding()) for name in self.own}
        for artists in _artists().values():
            names.update(name.translate(folding()) for artist in artists for name in artist if not name.startswith("~"))
        openings: dict[str, list[str]] = {}
        for name in sorted(names, key=len, reverse=True):
            if len(name) > 1:
                openings.setdefault(name[:2], []).append(name)
        return {opening: tuple(found) for opening, found in openings.items()}

    @cached_property
    def _never_split(self) -> frozenset[str]:
        joined = [name for name in self.own if re.search(r"[&,×、/+]| x | and ", name)]
        return frozenset(name_key(name) for name in (*shipped()["never_split"], *joined))

    @cached_property
    def _restorable(self) -> dict[str, str]:
        known = (*shipped()["restore"], *(name for name in self.own if _ILLEGAL.search(name)))
        return {_ILLEGAL.sub("_", name).translate(folding()): name for name in known}

    @cached_property
    def _restorable_inside(self) -> re.Pattern[str]:
        inside = sorted((name for name in self._restorable if "_" in name.strip("_")), key=len, reverse=True)
        return re.compile(f"(?<![a-z0-9])(?:{'|'.join(map(re.escape, inside))})(?![a-z0-9])")


@remembered
def _mentions(names: Names, text: str) -> tuple[Mention, ...]:
    return tuple(names.mentioned(text))


def _with_signs(piece: str, name: str, start: int) -> str:
    """Return the piece with each ``_`` under the name replaced by the name's sign."""
    covered = piece[start : start + len(name)]
    signs = "".join(sign if here == "_" else here for here, sign in zip(covered, name, strict=True))
    return piece[:start] + signs + piece[start + len(name) :]


def _stands_free(folded: str, start: int, end: int) -> bool:
    """Say whether no word goes on over either edge; Han characters have no words to go on."""
    before = folded[start - 1] if start else " "
    after = folded[end] if end < len(folded) else " "
    return not any(
        (letter.match(before) and letter.match(folded[start]))
        or (letter.match(after) and letter.match(folded[end - 1]))
        for letter in _WORD_LETTER.values()
    )


@cache
def abbreviations() -> tuple[str, ...]:
    """Return the words after which a ``_`` was a dot, the longest first."""
    return tuple(sorted(shipped()["abbreviations"], key=len, reverse=True))


@cache
def surnames() -> frozenset[str]:
    """Return the common Chinese surnames of one character."""
    return frozenset(shipped()["surnames"])


@lru_cache(maxsize=4096)
def is_work(text: str) -> bool:
    """Say whether the text is a well-known game, film, series or animation."""
    return text.translate(folding()).strip(" 。.!！") in _works()


@cache
def _works() -> frozenset[str]:
    return frozenset(name.translate(folding()).strip(" 。.!！") for name in shipped()["works"])


@cache
def _artists() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the shipped artists with their other names; ``~`` marks a name that is also an ordinary word."""
    return {
        region: tuple(tuple(entry.split("=")) for entry in entries) for region, entries in shipped()["artists"].items()
    }


NAMES: Final = Names()
"""The shipped dictionary."""
