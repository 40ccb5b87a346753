"""What a bracket beside the song says: nothing, a tag, a performer, a credit, or the work that the song is from."""

from __future__ import annotations

import re
from typing import Final

from musicq_async.media.names.characters import scripts
from musicq_async.media.names.clues import Clues
from musicq_async.media.names.credits import take_credits
from musicq_async.media.names.dictionary import Names, is_work
from musicq_async.media.names.lexicon import (
    COLLECTION,
    COVER,
    INSTRUMENTS,
    OWN_WORK,
    PLAYED,
    SHOW,
    SUNG_TO,
    THEME,
    Hit,
    Words,
    only_noise,
    without_noise,
)
from musicq_async.media.names.performers import known_in, named_in, trimmed, without_roles
from musicq_async.media.names.pieces import Piece
from musicq_async.media.names.tags import worded_kind
from musicq_async.media.names.values import TagKind

_NUMBERED: Final = re.compile(r"[Pp]?\d+")

_WORKS_QUOTED: Final = re.compile("[《「『]")
_LONE_ZONE: Final = re.compile(
    r"(?:tv)?(?:アニメ|映画|ゲーム|动画|電影|电影|游戏|动漫|番剧|电视剧|影视|综艺|演奏|舞台)\Z", re.IGNORECASE
)
_SUBTITLES: Final = re.compile("字|歌词|歌詞|翻译|双语|雙語|sub", re.IGNORECASE)
_PARTS: Final = re.compile(r"\s*[/／|｜丨·+＋&＆・]\s*")
_PERFORMED: Final[tuple[tuple[Words, TagKind], ...]] = (
    (COVER, "cover"),
    (SUNG_TO, "acoustic"),
    (PLAYED, "instrumental"),
)
_SIDE_KINDS: Final[frozenset[TagKind]] = frozenset(
    (
        "language",
        "instrumental",
        "remix",
        "edit",
        "live",
        "acoustic",
        "version",
        "remaster",
        "demo",
        "speed",
        "feat",
        "part",
    )
)


def read_bracket(piece: Piece, clues: Clues, names: Names) -> str:
    """Note what the bracket says; return what of it still belongs to the text around, usually nothing."""
    text = piece.text.strip()
    place = piece.start + 1
    clues.structured |= piece.kind == "square"
    if only_noise(text) or _NUMBERED.fullmatch(text):
        _note_hidden(text, clues)
        clues.structured = True
        return ""
    rest = take_credits(text, place, clues, names)
    if rest != text and not trimmed(rest):
        return ""
    if _is_source(trimmed(rest)):
        clues.tag(place, trimmed(rest), "source")
        return ""
    if piece.kind == "round":
        return _read_round(piece, trimmed(rest), clues, names)
    _read_square(trimmed(rest), place, clues, names)
    return ""


def _note_hidden(text: str, clues: Clues) -> None:
    """Note a collection, or an own song, that a bracket of noise speaks of."""
    clues.collection |= COLLECTION.search(text) is not None and re.search(r"\d|合集|歌单|歌單", text) is not None
    if OWN_WORK.fullmatch(text):
        clues.own_work = True


def _is_source(text: str) -> bool:
    if _LONE_ZONE.match(text) or SHOW.search(text):
        return False
    return worded_kind(text) == "source" and bool(_WORKS_QUOTED.search(text) or THEME.search(text) or len(text) > 4)


def _read_round(piece: Piece, text: str, clues: Clues, names: Names) -> str:
    """Read a round bracket: a tag of the song, or another name that stays with the one it follows."""
    place = piece.start + 1
    core = without_noise(text)
    if worded_kind(text) == "feat":
        clues.tag(place, text, "feat")
        return ""
    if artists := split_known(core, names):
        clues.bracketed.extend(artists)
        return ""
    if COVER.fullmatch(core) or PLAYED.fullmatch(core) or SUNG_TO.fullmatch(core):
        clues.tag(place, core, next(kind for pattern, kind in _PERFORMED if pattern.fullmatch(core)))
        return ""
    if COVER.search(core):
        _read_square(text, place, clues, names)
        return ""
    kind = worded_kind(core)
    if kind in _SIDE_KINDS:
        clues.tag(place, text if scripts(text) <= {"latin"} else core, kind)
        return ""
    if OWN_WORK.fullmatch(core):
        clues.own_work = True
        return ""
    return f"({text})"


def split_known(text: str, names: Names) -> tuple[str, ...]:
    """Return the artists of a text that names known artists only."""
    artists = named_in(text, names)
    return artists if artists and any(names.is_artist(artist) for artist in artists) else ()


def _read_square(text: str, place: int, clues: Clues, names: Names) -> None:
    """Read a square bracket: a performer, a category, or both, or several of them beside each other."""
    if _read_whole(text, place, clues, names):
        return
    parts = [part for part in _PARTS.split(text) if part]
    if len(parts) > 1 and not split_known(text, names):
        for part in parts:
            if not only_noise(part):
                _read_label(part, place + text.index(part), clues, names)
        return
    _read_label(text, place, clues, names)


def _read_whole(text: str, place: int, clues: Clues, names: Names) -> bool:
    """Take a bracket that is known artists from end to end."""
    artists = split_known(text, names)
    unknown = [artist for artist in artists if not names.is_artist(artist)]
    if not artists or any(COVER.search(artist) or OWN_WORK.search(artist) for artist in unknown):
        return False
    clues.bracketed.extend(artists)
    clues.labels.append((place, text))
    return True


def _read_label(text: str, place: int, clues: Clues, names: Names) -> None:
    """Read one label: its category words become tags, and what is left of it is a performer."""
    if COLLECTION.search(text) and not names.is_artist(text):
        clues.collection = True
        clues.bracketed.extend(known_in(text, names))
        return
    rest = _take_category(text, place, clues)
    categorised = rest != text
    core = trimmed(without_noise(rest))
    if not core or is_work(core) or SHOW.search(core):
        return
    if not categorised and _take_instrument(core, place, clues):
        return
    if INSTRUMENTS.fullmatch(core):
        return
    kind = worded_kind(core)
    known = known_in(core, names)
    if kind == "language" and _SUBTITLES.search(text):
        return
    if kind in _SIDE_KINDS and not known:
        clues.tag(place + max(text.find(core), 0), core, kind)
        return
    if kind in _SIDE_KINDS:
        clues.tag(place, _tag_beside(core, known), kind)
        clues.bracketed.extend(known)
        return
    clues.labels.append((place, core))
    _take_performer(core, known, clues, names)


def _tag_beside(core: str, known: tuple[str, ...]) -> str:
    """Return the tag's own words in a label that names an artist as well."""
    for artist in known:
        core = core.replace(artist, " ")
    return trimmed(re.sub(r"\s+", " ", core))


def _take_category(text: str, place: int, clues: Clues) -> str:
    """Turn the words of a category into tags: 翻唱, 弾いてみた; an original song needs no tag."""
    for pattern, kind in _PERFORMED:
        if match := pattern.search(text):
            whole = _with_instrument(text, match)
            clues.tag(place + text.index(whole), whole, kind)
            text = text.replace(whole, " ", 1)
    if match := OWN_WORK.search(text):
        clues.own_work = True
        text = text[: match.start] if match.start else text[match.end :]
    return text


def _with_instrument(text: str, match: Hit) -> str:
    """Return the word with the instrument that stands right before it: 钢琴演奏."""
    for instrument in INSTRUMENTS.finditer(text):
        if instrument.end == match.start or text[instrument.end : match.start] == " ":
            return text[instrument.start : match.end]
    return match.text


def _take_instrument(core: str, place: int, clues: Clues) -> bool:
    """Take a label that names nothing but instruments: 钢琴, 古筝."""
    left = INSTRUMENTS.without(core)
    if left == core or re.search(r"[^\W\d_]", left.replace("纯", "").replace("曲", "").replace("版", "版")):
        return False
    clues.tag(place, core, "instrumental")
    return True


def _take_performer(core: str, known: tuple[str, ...], clues: Clues, names: Names) -> None:
    core = without_roles(core)
    artists = named_in(core, names, introduced=True)
    if artists:
        clues.bracketed.extend(artists)
    elif known:
        clues.bracketed.extend(known)
