"""A file name taken apart into title, tags and artists."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from musicq_async.media.names.characters import CJK, scripts
from musicq_async.media.names.dictionary import NAMES, Names
from musicq_async.media.names.restore import restore
from musicq_async.media.names.tags import tag_kind, worded_kind
from musicq_async.media.names.values import Order, SongName, Tag, TagKind

_EXTENSION: Final = re.compile(
    r"(?<=.)\.(?:mp3|flac|m4a|m4s|mp4|opus|ogg|oga|wav|aac|ape|wma|alac|aiff?|ec3|eac3|ac3|mkv|webm|lrc|"
    r"jpe?g|png|webp|part)\Z",
    re.IGNORECASE,
)
_OPENING: Final = {")": "(（", "）": "（(", "]": "[［", "］": "［[", "】": "【"}
_WIDE_CLOSING: Final = "）】］"
_BRACKETS: Final = re.compile("[()（）\\[\\]［］【】《》「」『』]")
_OPEN: Final = frozenset("(（[［【《「『")
_SEPARATOR: Final = re.compile(" [_/] ")

_VERSIONS: Final[frozenset[TagKind]] = frozenset(
    ("instrumental", "speed", "live", "edit", "remix", "cover", "acoustic", "remaster", "demo", "language", "version")
)
_SUFFIX: Final = re.compile(
    r"(?:版|伴奏|纯音乐|純音樂|(?<![A-Za-z])(?:vers?|version|remix|mix|edit|live|cover|inst)\.?_?)\Z", re.IGNORECASE
)
_LEADING_PART: Final = re.compile(r"\A(?:re|a|un|non|pre|long|under|dis|co|ever|over|out|in)\Z", re.IGNORECASE)
_LONE_VERSION: Final = re.compile(
    r"(?:\d{4} )?re-?master(?:ed)?(?: \d{4})?(?: version)?|(?:radio|single|album|extended|original) (?:edit|"
    r"mix|version)|"
    r"live (?:at|in|from) .+|(?:live|single|album|acoustic|instrumental) version",
    re.IGNORECASE,
)


def parse_name(stem: str, *, order: Order = "title-artist", names: Names = NAMES) -> SongName:
    """Take a file name apart, as the user's library writes it: ``title (tag) - artist _ artist``.

    ``stem`` may still carry a known extension; ``order`` says on which side of the `` - `` the artists stand;
    ``names`` is the dictionary of names with unusual characters. Never raises: what has no `` - `` is all title.
    ``format_name`` of the result gives the name back.
    """
    name = without_extension(unicodedata.normalize("NFC", stem).strip())
    title, artist = split_sides(name, order)
    artists, lossy = _restored_artists(artist, names)
    title, found = peeled(title)
    title, guessed = restore(title, "title", names)
    lossy |= guessed
    tags = []
    for tag in found:
        text, guessed = restore(tag.text, "tag", names)
        lossy |= guessed
        kind = tag.kind if tag.kind != "other" else tag_kind(text, title, artists, names)
        tags.append(Tag(text, kind, tag.style, tag.gap))
    return SongName(stem, title, artists, tuple(tags), lossy)


def without_extension(name: str) -> str:
    """Return a name without the endings of audio, video and picture files."""
    while (shorter := _EXTENSION.sub("", name)) != name:
        name = shorter
    return name


def _restored_artists(artist: str, names: Names) -> tuple[tuple[str, ...], bool]:
    pieces = [restore(piece.strip(), "artist", names) for piece in _SEPARATOR.split(artist) if piece.strip()]
    return tuple(piece for piece, _ in pieces), any(guessed for _, guessed in pieces)


def split_sides(name: str, order: Order) -> tuple[str, str]:
    """Return the title's side and the artists' side, the latter empty where the name has no separator."""
    for separator in (" - ", " – ", " — "):
        places = _places_outside_brackets(name, separator)
        if places:
            place = places[-1] if order == "title-artist" else places[0]
            left, right = name[:place], name[place + len(separator) :]
            if order == "artist-title":
                return right, left
            return (name, "") if _LONE_VERSION.fullmatch(right) else (left, right)
    return name, ""


def _places_outside_brackets(name: str, separator: str) -> list[int]:
    """Return where the separator stands outside brackets; anywhere, if the brackets do not balance."""
    if separator not in name:
        return []
    places = [match.start() for match in re.finditer(f"(?={re.escape(separator)})", name)]
    if not _BRACKETS.search(name):
        return places
    depth = 0
    depths = []
    for character in name:
        depths.append(depth)
        if _BRACKETS.match(character):
            depth += 1 if character in _OPEN else -1
    return [place for place in places if depths[place] <= 0] or (places if depth else [])


def peeled(title: str) -> tuple[str, list[Tag]]:
    """Take the tags off the end of a title; return what is left and the tags in reading order."""
    tags: list[Tag] = []
    while True:
        found = (
            _bracket_tag(title, bool(tags) and tags[0].gap == 0)
            or _dash_tag(title)
            or _suffix_tag(title)
            or _other_title(title)
        )
        if found is None:
            return title, tags
        title, tag = found
        tags.insert(0, tag)


def _bracket_tag(title: str, before_bracket: bool) -> tuple[str, Tag] | None:
    """Peel a bracket from the end: a half-width one needs a space or a bracket beside it, or words that are known."""
    closing = title[-1:]
    start = _opening_of(title, closing)
    front = title[:start].rstrip(" ") if start > 0 else ""
    text = title[start + 1 : -1]
    if not front or not text.strip():
        return None
    gap = start - len(front)
    half_width = title[start] in "([" and closing in ")]"
    if half_width and not gap and front[-1] not in ")]）】］" and worded_kind(text) == "other" and not before_bracket:
        return None
    return front, Tag(text, "other", title[start] + closing, gap)


def _opening_of(title: str, closing: str) -> int:
    """Return where the bracket that the last character closes was opened, -1 if it was not."""
    if closing not in _OPENING:
        return -1
    depth = 0
    for index in range(len(title) - 1, -1, -1):
        character = title[index]
        if character in ")）]］】":
            depth += 1
        elif character in "(（[［【":
            depth -= 1
            if depth == 0:
                return index if character in _OPENING[closing] else -1
    return -1


def _dash_tag(title: str) -> tuple[str, Tag] | None:
    """Peel `` - X`` where X is the name of a version."""
    front, dash, text = title.rpartition(" - ")
    if dash and front.strip() and worded_kind(text.replace("_", ".")) in _VERSIONS:
        return front, Tag(text, "other", " - ", 0)
    return None


def _suffix_tag(title: str) -> tuple[str, Tag] | None:
    """Peel a tight ``-X`` where X ends in the word of a version."""
    front, dash, text = title.rpartition("-")
    if not dash or not front.strip() or not text or text[0] == " " or front[-1] in " -" or not _SUFFIX.search(text):
        return None
    if re.search(f"[{CJK}]", text + front[-1]) or _names_a_version(front, text):
        return front, Tag(text, "other", "-", 0)
    return None


def _names_a_version(front: str, text: str) -> bool:
    """Say whether a Latin suffix is a version and not the second half of a hyphenated word."""
    first, _, rest = text.partition(" ")
    if rest:
        return worded_kind(first) != "other" or first.lower() in {
            "radio",
            "extended",
            "original",
            "club",
            "album",
            "single",
        }
    return _LEADING_PART.match(front.rpartition(" ")[2]) is None


def _other_title(title: str) -> tuple[str, Tag] | None:
    """Peel the title in another script that follows a tag: ``RISE（中文版）登峰造极境``."""
    end = max(title.rfind(closing) for closing in ")）】")
    tail = title[end + 1 :]
    text = tail.lstrip(" ")
    if end < 0 or not text:
        return None
    front = _bracket_tag(title[: end + 1], before_bracket=False)
    if front is None or worded_kind(front[1].text.replace("_", ".")) == "other":
        return None
    here, there = scripts(text), scripts(front[0])
    if not here or not there or here & there or worded_kind(text) != "other":
        return None
    return title[: end + 1], Tag(text, "translation", "", len(tail) - len(text))
