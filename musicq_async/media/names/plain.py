"""Video titles without a quoted song: ``artist - title``, ``title / artist``, ``【singer】title``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from musicq_async.media.names.characters import CJK, HAN
from musicq_async.media.names.dictionary import Names, is_work
from musicq_async.media.names.lexicon import (
    EDGE_NOISE,
    FEATURING,
    HEAD_NOISE,
    SENTENCE,
    SEPARATORS,
    SHOW,
    THEME,
    WEAK_NAME,
    only_noise,
)
from musicq_async.media.names.memory import remembered
from musicq_async.media.names.performers import (
    all_known,
    is_name,
    is_uploader,
    named_in,
    split_artists,
    trimmed,
    without_roles,
)
from musicq_async.media.names.tags import worded_kind

_CJK: Final = re.compile(f"[{CJK}]")
_HAN: Final = re.compile(f"[{HAN}]")
_ALL_DIGITS: Final = re.compile(r"\d{2,}")
_SENTENCE_MARKS: Final = re.compile("[，。；]|……|[！？]{2,}")

Default = Literal["artist", "title"]

_SPACED: Final[tuple[tuple[re.Pattern[str], Default], ...]] = (
    (re.compile(r"\s+_\s+"), "artist"),
    (re.compile(r"\s*／\s*|\s+/\s*|\s*/\s+"), "title"),
    (re.compile(r"\s+[-–—―]+\s+|\s*[—―]{2,}\s*|\s+[-–—]|(?<=[^\s])[-–—]\s+"), "artist"),
    (re.compile(r"\s*[|｜丨]\s*"), "title"),
)
_TIGHT_DASH: Final = re.compile(r"[-–—－]")
_TIGHT_OTHERS: Final = re.compile(r"\s*[:：_·•/]\s*")
_CONSTANT, _KNOWN, _FEATURES = 5, 4, 3
"""How surely a side names the artist: all parts share it, it is known, it names several; less is 2 it can, 1 hardly,
0 not."""
_LONG_TITLE: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A plain title taken apart: what it says, and whether it is sure which side is the artist's."""

    title: str
    artists: tuple[str, ...] = ()
    sure: bool = False
    extra: tuple[str, ...] = ()
    """Further parts between separators: an event, an album."""
    sided: bool = True


@remembered
def without_edge_noise(text: str) -> str:
    """Strike words of quality and service from both ends of a plain text, unless nothing else is there."""
    shorter = EDGE_NOISE.without(text)
    shorter = HEAD_NOISE.without(shorter) if shorter.strip() else shorter
    return trimmed_title(shorter) or trimmed_title(text)


@remembered
def without_empty_parts(text: str) -> str:
    """Drop what stands between separators and says nothing of the song: a channel, a show, 插曲."""
    for separator, _ in _SPACED:
        inner = [end for match in separator.finditer(text) for end in match.span()]
        if not inner:
            continue
        places = [0, *inner, len(text)]
        parts = [(places[at], places[at + 1]) for at in range(0, len(places) - 1, 2)]
        telling = [place for place in parts if not _says_nothing(trimmed_title(text[place[0] : place[1]]))]
        if telling and len(telling) < len(parts):
            text = " - ".join(text[start:end] for start, end in telling)
    return text


@remembered
def _says_nothing(part: str) -> bool:
    return (
        (only_noise(part) and not part.isdecimal())
        or SHOW.fullmatch(part) is not None
        or THEME.fullmatch(part) is not None
    )


def trimmed_title(text: str) -> str:
    """Return the text without the separators that are left at its ends; its own marks stay."""
    return text.strip(" |｜丨_/／:：,，、·–—").strip("\u3000 ").removeprefix("- ").removesuffix(" -").strip()


@remembered
def split_plain(text: str, uploader: str | None, names: Names, *, constant: tuple[str, ...] = ()) -> Sides | None:
    """Split a plain text at its separator and decide which side names the artist; None if it has no separator.

    ``constant`` are sides that all parts of the video share: those are the artist.
    """
    for separator, default in _SPACED:
        parts = [part for part in (trimmed_title(part) for part in separator.split(text)) if part]
        if len(parts) > 1:
            return _decided(parts, default, uploader, names, constant)
    return _split_tight(text, uploader, names, constant)


def _split_tight(text: str, uploader: str | None, names: Names, constant: tuple[str, ...]) -> Sides | None:
    """Split at a hyphen without spaces; it may belong to a word, so one side has to be known or Han."""
    parts = [part.strip() for part in _TIGHT_DASH.split(text)]
    if len(parts) > 1 and all(parts):
        scores = [_score(part, uploader, names, constant) for part in parts]
        if max(scores) >= _KNOWN:
            return _known_tight(text, scores, parts, uploader=uploader, names=names, constant=constant)
        if len(parts) <= 3 and all(_CJK.search(part) for part in parts[:2]):
            return _decided(parts, "artist", uploader, names, constant)
    for match in _TIGHT_OTHERS.finditer(text):
        sides = [text[: match.start()].strip(), text[match.end() :].strip()]
        if all(sides) and any(_score(side, uploader, names, constant) >= _KNOWN for side in sides):
            return _decided(sides, "artist", uploader, names, constant)
    return None


def _known_tight(
    text: str, scores: list[int], parts: list[str], *, uploader: str | None, names: Names, constant: tuple[str, ...]
) -> Sides:
    """Split where the known artist ends; further hyphens of the title are its own, unless three parts name an event."""
    if len(parts) == 3 and scores[0] >= _KNOWN and all(_HAN.search(part) for part in parts[1:]):
        return Sides(title=parts[1], artists=_side_artists(parts[0], names), sure=False, extra=(parts[2],))
    if scores[0] >= _KNOWN:
        sides = [parts[0], text[len(parts[0]) :].lstrip(" -–—－")]
    elif scores[-1] >= _KNOWN:
        sides = [text[: len(text) - len(parts[-1])].rstrip(" -–—－"), parts[-1]]
    else:
        sides = parts
    return _decided(sides, "artist", uploader, names, constant)


def _decided(
    parts: list[str], default: Default, uploader: str | None, names: Names, constant: tuple[str, ...]
) -> Sides:
    """Choose the artist's side: who is known or uploads, then who features somebody, then who can be a name at all."""
    sources = [part for part in parts if _is_source(part, names)]
    parts = [part for part in parts if part not in sources] or parts
    if len(parts) == 1:
        return Sides(title=parts[0], extra=tuple(sources), sided=False)
    scores = [_score(part, uploader, names, constant) for part in parts]
    best = max(scores)
    winners = [index for index, score in enumerate(scores) if score == best]
    fallback = 0 if default == "artist" else 1
    at = winners[0] if len(winners) == 1 else fallback if fallback in winners else winners[0]
    others = [part for index, part in enumerate(parts) if index != at]
    title = next((part for part in others if not only_noise(part) and worded_kind(part) != "source"), others[0])
    extra = (*(part for part in others if part is not title), *(part for part in sources if part not in parts))
    sure = best >= _FEATURES and (len(winners) == 1 or best >= _KNOWN)
    artists = _side_artists(parts[at], names)
    title = _without_artist(title, artists, names)
    return _with_guests(Sides(title=title, artists=artists, sure=sure, extra=extra), names)


@remembered
def _is_source(part: str, names: Names) -> bool:
    """Say whether a side names the film or game that the song is from: ``东京喰种 OP``."""
    theme = THEME.last(part)
    themed = theme is not None and (worded_kind(part) == "source" or theme.end == len(part))
    return not names.is_artist(part) and (is_work(part) or themed)


def _without_artist(title: str, artists: tuple[str, ...], names: Names) -> str:
    """Drop the artist's other name behind a title: ``感電 Kenshi Yonezu``."""
    again = split_spaces(title, names)
    if again is not None and all(any(names.same(one, other) for other in artists) for one in again.artists):
        return again.title
    return title


@remembered
def _side_artists(part: str, names: Names) -> tuple[str, ...]:
    bare = without_roles(without_edge_noise(part))
    return split_artists(bare or part, names)


def _with_guests(sides: Sides, names: Names) -> Sides:
    """Move ``feat. X`` from a title without brackets to the artists."""
    match = FEATURING.search(sides.title)
    if match is None or not match.start():
        return sides
    guests = split_artists(sides.title[match.end() :], names)
    artists = tuple(dict.fromkeys((*sides.artists, *guests)))
    return Sides(title=sides.title[: match.start()].strip(), artists=artists, sure=sides.sure, extra=sides.extra)


@remembered
def _score(part: str, uploader: str | None, names: Names, constant: tuple[str, ...]) -> int:
    """Return how surely a side names the artist."""
    if part in constant:
        return _CONSTANT
    artists = _side_artists(part, names)
    if not artists:
        return 0
    if any(names.is_artist(artist) for artist in artists) and (len(artists) > 1 or names.is_artist(artists[0])):
        return _KNOWN
    if is_uploader(artists, uploader):
        return _KNOWN
    if FEATURING.search(part):
        return _FEATURES
    if not all(is_name(artist, names) for artist in artists) or len(_HAN.findall(part)) > 6 * len(artists):
        return 0
    if len(artists) > 1 and SEPARATORS.search(part) and all(len(artist) < 12 for artist in artists):
        return _FEATURES
    return 1 if WEAK_NAME.search(part) else 2


@remembered
def split_spaces(text: str, names: Names) -> Sides | None:
    """Take a known artist from either end of a text without separators: ``周杰伦 晴天``."""
    words = text.split(" ")
    if all_known(named_in(text, names), names):
        return None
    for count in range(min(len(words) - 1, 6), 0, -1):
        for singers, song in ((words[:count], words[count:]), (words[-count:], words[:-count])):
            found = named_in(" ".join(singers), names)
            if all_known(found, names) and is_titlelike(" ".join(song)):
                return Sides(title=trimmed_title(" ".join(song)), artists=found, sided=False)
    mention = next(iter(names.mentions(text)), None)
    if mention is not None and mention.start == 0 and _HAN.match(text[mention.end :]):
        title = trimmed_title(text[mention.end :].removeprefix("的"))
        if len(title) > 1 and is_titlelike(title) and _HAN.match(mention.name):
            return Sides(title=title, artists=(mention.name,), sided=False)
    return None


@remembered
def is_titlelike(text: str) -> bool:
    """Say whether a plain text can be a title: not too long, and not a sentence about the song."""
    text = trimmed(text)
    if _ALL_DIGITS.fullmatch(text):
        return True
    if not text or only_noise(text) or len(text) > _LONG_TITLE * 2:
        return False
    han = len(_CJK.findall(text))
    sentence = SENTENCE.search(text) is not None and han > 7
    return not sentence and han <= _LONG_TITLE and not _SENTENCE_MARKS.search(text)
