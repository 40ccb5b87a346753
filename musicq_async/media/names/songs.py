"""Which of the quoted names in a video title is the song, and which are films, games, shows and lyrics."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from musicq_async.media.names.characters import CJK
from musicq_async.media.names.clues import Clues
from musicq_async.media.names.dictionary import Names, is_work
from musicq_async.media.names.lexicon import (
    ALBUM,
    EDGE_NOISE,
    EDGE_SENTENCE,
    FEATURING,
    GATHERING,
    LIVE,
    PLAYED,
    SENTENCE,
    SHOW,
    THEME,
    WORK_AFTER,
    WORK_BEFORE,
    only_noise,
    without_noise,
)
from musicq_async.media.names.memory import remembered
from musicq_async.media.names.parse import peeled
from musicq_async.media.names.performers import all_known, named_in, split_artists, surely_a_person, trimmed
from musicq_async.media.names.pieces import Piece, cut
from musicq_async.media.names.tags import tag_kind, worded_kind
from musicq_async.media.names.values import TagKind

_BRACKET: Final = re.compile(r"[(（][^()（）]*[)）]")
_CJK: Final = re.compile(f"[{CJK}]")
_LETTER: Final = re.compile(r"[^\W\d_]")

_QUOTING: Final = {"book", "corner", "label", "quote"}
_TIGHT_BRACKET: Final = re.compile(r"(?P<title>.*\S)\s*[(（](?P<inside>[^()（）]+)[)）]")
_JOINED_SONGS: Final = re.compile(r"\s*(?:[xX×✕&＆+＋/／、,，和与→]|接|转|vs\.?|)\s*", re.IGNORECASE)
_SIDE_DASH: Final = re.compile(r"\s*[-–—]+\s*")
_DROPPED_KINDS: Final[frozenset[TagKind]] = frozenset(("other", "credit", "quality"))


@dataclass(slots=True, kw_only=True)
class Line:
    """A title's texts and quotes in order, its other brackets read and gone."""

    pieces: list[Piece]
    songs: list[int] = field(default_factory=list)
    works: list[int] = field(default_factory=list)
    guessed: bool = False
    """Whether the song is named like the work, for want of anything else."""

    def before(self) -> tuple[str, int]:
        """Return the text in front of the first song, and where it begins."""
        texts = [piece for piece in self.pieces[: self.songs[0]] if piece.kind in {"text", "round"}]
        return " ".join(piece.text for piece in texts), texts[0].start if texts else 0

    def after(self) -> tuple[str, int]:
        """Return the text behind the last song, and where it begins."""
        texts = [piece for piece in self.pieces[self.songs[-1] + 1 :] if piece.kind in {"text", "round"}]
        return " ".join(piece.text for piece in texts), texts[0].start if texts else 0

    @property
    def song_pieces(self) -> list[Piece]:
        """The quoted songs."""
        return [self.pieces[index] for index in self.songs]

    @property
    def plain(self) -> str:
        """All text outside quotes."""
        return " ".join(piece.text for piece in self.pieces if piece.kind == "text")


def find_songs(line: Line, clues: Clues, names: Names) -> None:
    """Mark the songs and the works of a line; the words that belong to a work become a source tag."""
    if not any(piece.kind in _QUOTING for piece in line.pieces):
        return
    for kind in ("label", "book", "corner", "quote"):
        quoted = [
            index
            for index, piece in enumerate(line.pieces)
            if piece.kind == kind and piece.text.strip() and not _is_remark(piece)
        ]
        works = [index for index in quoted if piece_is_work(line, index, quoted)]
        songs = [index for index in quoted if index not in works]
        if kind == "quote":
            songs = [index for index in songs if not _is_lyric(line, index, names)]
        line.works.extend(works)
        if len(songs) == 1 and _names_the_work_only(line, songs[0], names):
            line.works.extend(songs)
        elif songs:
            line.songs = songs
            break
    for index, piece in enumerate(line.pieces):
        if (
            piece.kind in {"book", "corner"}
            and index not in (*line.songs, *line.works)
            and _beside_work_words(line, index)
        ):
            line.works.append(index)
    if line.works and not line.songs and not _has_another_title(line, names):
        named = [index for index in line.works if not SHOW.search(line.pieces[index].text)]
        line.songs = named[-1:]
        line.guessed = bool(named)
    for index in line.works:
        _take_source(line, index, clues)


def _is_remark(piece: Piece) -> bool:
    """Say whether angle brackets, which quote songs in Korea, hold words like OST, or a number."""
    return piece.opening in {"<", "＜"} and bool(only_noise(piece.text) or THEME.fullmatch(piece.text))


def _names_the_work_only(line: Line, index: int, names: Names) -> bool:
    """Say whether the only quote is a film or an album, because the song stands in the text before it."""
    piece = line.pieces[index]
    if is_work(piece.text) and _has_another_title(line, names):
        return True
    return piece.kind == "corner" and _has_sides(_text_at(line, index - 1), names)


def _has_sides(text: str, names: Names) -> bool:
    """Say whether a text is ``known artist - song``."""
    artist, dash, song = text.partition(" - ")
    if not dash or SHOW.search(song) or LIVE.search(song) or not all_known(named_in(artist, names), names):
        return False
    song = trimmed(without_noise(THEME.without(song)))
    return _LETTER.search(song) is not None and not named_in_all(song, names)


def _has_another_title(line: Line, names: Names) -> bool:
    """Say whether the texts beside a quote say more than who sings: a song's title."""
    if any(_has_sides(piece.text, names) for piece in line.pieces if piece.kind == "text"):
        return True
    rest = trimmed(without_noise(LIVE.without(THEME.without(line.plain))))
    for mention in reversed(names.mentions(rest)):
        rest = rest[: mention.start] + rest[mention.end :]
    if PLAYED.search(rest) or EDGE_SENTENCE.search(rest):
        return False
    return 1 < len(trimmed(rest)) <= 20 and not named_in_all(rest, names) and SENTENCE.search(rest) is None


@remembered
def named_in_all(text: str, names: Names) -> bool:
    """Say whether a text consists of known artists, or of a Chinese name."""
    return all_known(named_in(text, names), names) or surely_a_person(trimmed(text))


def piece_is_work(line: Line, index: int, quoted: list[int]) -> bool:
    """Say whether a quote names a film, game, series or show: by the words beside it, or because it is a known one."""
    piece = line.pieces[index]
    if piece.kind == "label":
        return False
    if piece.kind == "quote":
        return bool(WORK_BEFORE.search(_text_at(line, index - 1)))
    if SHOW.search(piece.text) and len(piece.text) > 2:
        return True
    if _beside_work_words(line, index):
        return True
    later = [other for other in quoted if other > index] or [
        other for other in range(index + 1, len(line.pieces)) if line.pieces[other].kind in _QUOTING
    ]
    if not later:
        return is_work(piece.text) and len(quoted) > 1
    between = " ".join(other.text for other in line.pieces[index + 1 : later[0]] if other.kind == "text")
    return is_work(piece.text) or bool(THEME.search(between) or GATHERING.search(piece.text))


def _beside_work_words(line: Line, index: int) -> bool:
    return bool(WORK_BEFORE.search(_text_at(line, index - 1)) or WORK_AFTER.match(_text_at(line, index + 1)))


def _text_at(line: Line, index: int) -> str:
    if 0 <= index < len(line.pieces) and line.pieces[index].kind == "text":
        return line.pieces[index].text
    return ""


def _is_lyric(line: Line, index: int, names: Names) -> bool:
    """Say whether a “quote” is a line sung or a thing said rather than a title."""
    text = line.pieces[index].text
    after = _text_at(line, index + 1)
    text = _BRACKET.sub("", text)
    spoken = "[,，。！!？?…~～；;]" if _CJK.search(text) else "[。；;…]"
    if re.match(r"\s*(?:[—―-]{2,}|[,，。！!？?~～…的])", after) or re.search(spoken, text):
        return True
    long = len(_CJK.findall(text)) > 10 or (SENTENCE.search(text) is not None and len(text) > 6)
    return long and not all_known(named_in(without_noise(line.plain), names), names)


def _take_source(line: Line, index: int, clues: Clues) -> None:
    """Note ``电影《你的名字。》主题曲`` as one tag and take its words out of the texts beside the quote."""
    piece = line.pieces[index]
    before, after = _text_at(line, index - 1), _text_at(line, index + 1)
    lead, follow = WORK_BEFORE.search(before), WORK_AFTER.match(after)
    quoted = (
        piece.opening + piece.text + {"《": "》", "「": "」", "『": "』", "“": "”"}.get(piece.opening, piece.opening)
    )
    text = (lead.text if lead else "") + quoted + (follow.text if follow else "")
    is_album = lead is not None and ALBUM.search(lead.text) is not None
    if (lead or follow) and not SHOW.search(piece.text) and not is_album:
        clues.tag(piece.start - (len(lead.text) if lead else 0), text.strip(), "source")
    if lead:
        _retext(line, index - 1, before[: lead.start])
    if follow:
        _retext(line, index + 1, after[follow.end :])


def _retext(line: Line, index: int, text: str) -> None:
    piece = line.pieces[index]
    start = piece.end - len(text) if piece.text.endswith(text) else piece.start
    line.pieces[index] = Piece(kind="text", text=text, start=start, end=start + len(text))


def song_title(text: str, place: int, clues: Clues, names: Names) -> tuple[str, tuple[str, ...]]:
    """Clean a song's title: its brackets become tags, words of quality go, and an artist behind a dash is split off."""
    text = EDGE_NOISE.without(text).strip() or text.strip()
    sides = _SIDE_DASH.split(text)
    if len(sides) == 2 and all(sides):
        for title, artist in (sides, reversed(sides)):
            found = named_in(artist, names)
            if found and all(names.is_artist(name) for name in found) and not names.is_artist(title):
                return song_title(title, place, clues, names)[0], found
    guests = FEATURING.search(text)
    if (
        guests is not None
        and guests.start()
        and "(" not in text[: guests.start()]
        and "（" not in text[: guests.start()]
    ):
        clues.guests.extend(split_artists(text[guests.end() :], names))
        text = text[: guests.start()]
    title, tags = peeled(text)
    for tag in tags:
        kind = tag_kind(tag.text, title, (), names)
        if not only_noise(tag.text) and kind not in _DROPPED_KINDS:
            clues.tag(place + text.find(tag.text), tag.text, kind)
        elif kind in _DROPPED_KINDS and not only_noise(tag.text) and not _is_trailing_artist(tag.text, names):
            title += tag.written
    return _without_translation(title, place, clues, names), ()


def _is_trailing_artist(text: str, names: Names) -> bool:
    return names.is_artist(text)


def _without_translation(title: str, place: int, clues: Clues, names: Names) -> str:
    """Take a bracket without a space before it: ``Through the Night(밤편지)``."""
    match = _TIGHT_BRACKET.fullmatch(title)
    if match is None:
        return title
    inside = match["inside"]
    kind = tag_kind(inside, match["title"], (), names)
    if kind == "translation" or worded_kind(inside) not in _DROPPED_KINDS:
        clues.tag(place + match.start("inside"), inside, kind)
        return match["title"]
    return title


def is_medley(line: Line) -> bool:
    """Say whether several different songs are quoted."""
    return len({piece.text.strip().casefold() for piece in line.song_pieces}) > 1


def joins_songs(text: str) -> bool:
    """Say whether a text between two songs only joins them."""
    return _JOINED_SONGS.fullmatch(text) is not None


def inner_pieces(text: str) -> list[Piece]:
    """Cut what a bracket holds, as if it were a title."""
    return cut(text)
