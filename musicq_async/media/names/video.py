"""The song that a video title speaks of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from musicq_async.media.names.around import (
    NOBODY,
    People,
    artists_after,
    artists_before,
    guests_behind,
    take_tags,
)
from musicq_async.media.names.brackets import read_bracket
from musicq_async.media.names.characters import scripts
from musicq_async.media.names.clues import Clues
from musicq_async.media.names.credits import take_credits
from musicq_async.media.names.dictionary import NAMES, Names
from musicq_async.media.names.keys import name_key
from musicq_async.media.names.lexicon import (
    ALBUM,
    COLLECTION,
    COVER,
    EDGE_SENTENCE,
    FEATURING,
    MEDLEY,
    OWN_WORK,
    THEME,
    only_noise,
)
from musicq_async.media.names.parts import constant_sides, heading_artist_text, says_nothing, without_index
from musicq_async.media.names.performers import (
    all_known,
    each_once,
    is_uploader,
    known_in,
    named_in,
    split_artists,
    surely_a_person,
    trimmed,
    uploader_name,
)
from musicq_async.media.names.pieces import Piece, cut, plain_title, tidied
from musicq_async.media.names.plain import (
    Sides,
    is_titlelike,
    split_plain,
    split_spaces,
    trimmed_title,
    without_edge_noise,
    without_empty_parts,
)
from musicq_async.media.names.songs import Line, find_songs, is_medley, song_title
from musicq_async.media.names.tags import worded_kind
from musicq_async.media.names.values import Confidence, Tag, VideoSong

_QUOTE: Final = re.compile("[《「『]")

Evidence = Literal["quoted", "sided", "plain", "raw"]
"""Where the title comes from: quotes, a separator whose sides are sure, plain text, or nowhere."""

_QUALITY: Final = re.compile(r"\d{3,4}p\S*|[248]k\S*|mv|m/v|pv|hi-?res|flac|hd|hq|sq|无损|無損", re.IGNORECASE)
"""What no song is called, though some put it into a song's quotes."""
_LAST: Final = 1 << 20
"""The place of a tag that the title does not say."""
_DASHED: Final = re.compile(r"\s*[-–—]")
_GROUP: Final = re.compile("乐队|樂隊|乐团|樂團|组合|合唱团")
_RANK: Final[dict[Confidence, int]] = {"high": 2, "medium": 1, "low": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one line says, before covers and uploader are weighed."""

    title: str
    artists: tuple[str, ...] = ()
    evidence: Evidence = "plain"
    stated: bool = True
    """Whether the artists are named by the line itself and not inferred."""
    collection: bool = False


def parse_video_title(
    title: str,
    *,
    part: str | None = None,
    uploader: str | None = None,
    tags: Sequence[str] = (),
    parts: Sequence[str] = (),
    names: Names = NAMES,
) -> VideoSong:
    """Find the song in a video title: its title, who performs it, who is covered, and how sure that is.

    ``part`` is the name of the part (P) in a video that has several, ``parts`` those of all of them, ``uploader`` the
    channel, ``tags`` the video's tags. Never raises: a title without any structure comes back as it is, with low
    confidence.
    """
    heading, in_collection = _read(title, uploader, tags, names)
    if not part:
        return heading
    name = without_index(part, parts)
    if says_nothing(name):
        return heading
    constant = constant_sides(parts)
    song, _ = _read(name, uploader, (), names, constant=constant)
    return _chosen(
        title, heading, song, name, uploader, in_collection=in_collection, several=len(parts) > 1, names=names
    )


def _chosen(
    title: str,
    heading: VideoSong,
    song: VideoSong,
    part: str,
    uploader: str | None,
    *,
    in_collection: bool,
    several: bool,
    names: Names,
) -> VideoSong:
    """Choose between what the heading says and what the part says."""
    kind = worded_kind(part)
    if (
        kind not in {"other", "source", "part"}
        and not song.artists
        and len(part) <= 10
        and not in_collection
        and heading.confidence != "low"
    ):
        return replace(
            heading, tags=(*heading.tags, Tag(part, kind)) if Tag(part, kind) not in heading.tags else heading.tags
        )
    same = name_key(song.title) == name_key(heading.title)
    if same or not (
        in_collection or several or heading.confidence == "low" or _RANK[song.confidence] > 0 or is_titlelike(part)
    ):
        return heading if _RANK[heading.confidence] >= _RANK[song.confidence] else song
    if song.artists:
        return song
    artists = _heading_artists(title, heading, uploader, names)
    if not artists:
        confidence: Confidence = "medium" if song.confidence == "high" or is_titlelike(song.title) else "low"
        return replace(song, confidence=confidence)
    return replace(song, artists=artists, confidence="medium")


def _heading_artists(title: str, heading: VideoSong, uploader: str | None, names: Names) -> tuple[str, ...]:
    """Return the artist whose songs the video collects."""
    if heading.artists:
        return heading.artists
    known = known_in(title, names)
    if known:
        return known if len(known) == 1 else ()
    line, clues = _line(tidied(title), names)
    if clues.bracketed:
        return each_once(tuple(clues.bracketed), names)
    rest = heading_artist_text(line.plain)
    found = named_in(rest, names) if len(rest) <= 12 else ()
    if found and all(surely_a_person(artist) or scripts(artist) - {"han"} or _GROUP.search(artist) for artist in found):
        return found
    own = COVER.search(title) or OWN_WORK.search(title)
    return (uploader.strip(),) if own and uploader else ()


def _read(
    title: str, uploader: str | None, hints: Sequence[str], names: Names, *, constant: tuple[str, ...] = ()
) -> tuple[VideoSong, bool]:
    """Read one line; return the song and whether the line speaks of a collection."""
    raw = plain_title(title)
    text = tidied(title)
    line, clues = _line(text, names)
    find_songs(line, clues, names)
    reading = (
        _read_quoted(raw, line, clues, names)
        if line.songs
        else _read_plain(raw, line, clues, uploader=uploader, names=names, constant=constant)
    )
    if clues.bracketed and _are_guests(reading.artists, line.plain):
        reading = replace(reading, artists=each_once((*clues.bracketed, *reading.artists), names))
    return _weighed(reading, clues, uploader, hints, names), reading.collection


def _are_guests(artists: tuple[str, ...], text: str) -> bool:
    """Say whether all of the artists are named behind ``feat.``: whoever they join stands elsewhere."""
    match = FEATURING.search(text)
    return match is not None and bool(artists) and all(artist in text[match.end() :] for artist in artists)


def _line(text: str, names: Names) -> tuple[Line, Clues]:
    """Read the brackets of a title that stand beside its song; texts and quotes stay in line."""
    clues = Clues()
    pieces: list[Piece] = []
    outer = cut(text)
    opened = _opened(outer)
    clues.structured = opened is not outer
    for piece in opened:
        if piece.kind == "square" and _is_spaced_label(piece):
            pieces.append(replace(piece, kind="label", text=piece.text.strip()))
        elif piece.kind in {"square", "round"} or _QUALITY.fullmatch(piece.text.strip()):
            rest = read_bracket(piece, clues, names)
            if rest:
                pieces.append(Piece(kind="text", text=rest, start=piece.start, end=piece.end))
        else:
            pieces.append(piece)
    return Line(pieces=_joined(pieces)), clues


def _opened(pieces: list[Piece]) -> list[Piece]:
    """Open a square bracket that holds the whole title."""
    if len(pieces) == 1 and pieces[0].kind in {"square", "round"}:
        return cut(pieces[0].text)
    texts = [piece for piece in pieces if piece.kind in {"text", "book", "corner", "quote"} and trimmed(piece.text)]
    wide = [piece for piece in pieces if piece.kind == "square" and _QUOTE.search(piece.text)]
    if not texts and wide:
        return [inner for piece in pieces for inner in (cut(piece.text) if piece in wide else [piece])]
    return pieces


def _is_spaced_label(piece: Piece) -> bool:
    """Say whether the bracket is ``[ song ]`` as Taiwanese labels write it."""
    text = piece.text
    return (
        piece.opening == "["
        and text != text.strip()
        and text.startswith(" ")
        and text.endswith(" ")
        and not only_noise(text)
    )


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Join texts that a bracket had parted."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and piece.kind == "text" and joined[-1].kind == "text":
            last = joined.pop()
            space = "" if piece.text[:1] in "(-–—/／" else " "
            piece = replace(last, text=last.text + space + piece.text, end=piece.end)  # noqa: PLW2901 - the two are one now
        joined.append(piece)
    return joined


def _read_quoted(raw: str, line: Line, clues: Clues, names: Names) -> Reading:
    """Read a title whose song stands in quotes."""
    if is_medley(line):
        return _read_medley(line, clues, names)
    piece = line.song_pieces[0]
    title, within = song_title(piece.text, piece.start + 1, clues, names)
    before, before_at = line.before()
    after, after_at = line.after()
    people = artists_before(before, before_at, clues, names)
    if people.artists:
        clues.guests.extend(guests_behind(after, names))
    follows_work = any(index < line.songs[0] for index in line.works)
    behind = artists_after(after, after_at, clues, names, follows_work=follows_work)
    if behind.found == "inferred" and after[:1].isalnum() and EDGE_SENTENCE.search(trimmed(before)):
        behind = NOBODY
    if not people.artists or (
        _DASHED.match(after) and all_known(behind.artists, names) and not _is_somebody(people.artists, names)
    ):
        people = behind
    if within:
        people = People(artists=within)
    if ALBUM.search(before + after) and COLLECTION.search(before + after):
        return Reading(title=raw, artists=people.artists, evidence="raw", collection=True)
    return Reading(
        title=title,
        artists=people.artists or each_once(tuple(clues.bracketed), names) * (not clues.performers),
        evidence="plain" if line.guessed else "quoted",
        stated=people.found == "stated",
        collection=clues.collection,
    )


def _is_somebody(artists: tuple[str, ...], names: Names) -> bool:
    """Say whether what stands for artists surely names them: known, a Chinese name, or not Chinese at all."""
    return any(
        names.is_artist(artist) or surely_a_person(artist) or scripts(artist) != {"han"} or _GROUP.search(artist)
        for artist in artists
    )


def _read_medley(line: Line, clues: Clues, names: Names) -> Reading:
    titles = [song_title(piece.text, piece.start + 1, clues, names)[0] for piece in line.song_pieces]
    before, before_at = line.before()
    after, after_at = line.after()
    people = artists_before(MEDLEY.without(before, " "), before_at, clues, names)
    if not people.artists:
        people = artists_after(MEDLEY.without(after, " "), after_at, clues, names, follows_work=False)
    artists = people.artists or each_once(tuple(clues.bracketed), names)
    return Reading(title=" × ".join(dict.fromkeys(titles)), artists=artists, evidence="raw", collection=True)


def _read_plain(
    raw: str, line: Line, clues: Clues, *, uploader: str | None, names: Names, constant: tuple[str, ...]
) -> Reading:
    """Read a title that quotes no song."""
    text = line.plain
    place = next((piece.start for piece in line.pieces if piece.kind == "text"), 0)
    if COLLECTION.search(text) or (clues.collection and not is_titlelike(text)):
        artists = known_in(raw, names) or each_once(tuple(clues.bracketed), names)
        return Reading(title=raw, artists=artists, evidence="raw", collection=True)
    bare = without_edge_noise(take_credits(text, place, clues, names))
    clues.structured |= trimmed(bare) != trimmed(text) or names.is_artist(uploader_name(uploader))
    text = without_empty_parts(bare)
    sides = split_plain(text, uploader, names, constant=constant)
    if sides is not None:
        return _from_sides(sides, place, clues, names)
    text = without_edge_noise(take_tags(text, place, clues, names)) if text else text
    sides = split_plain(text, uploader, names, constant=constant) or split_spaces(text, names)
    if sides is not None:
        return _from_sides(sides, place, clues, names)
    return _without_sides(raw, text, line, clues, names)


def _from_sides(sides: Sides, place: int, clues: Clues, names: Names) -> Reading:
    for extra in sides.extra:
        if THEME.search(extra):
            clues.tag(place + 1, extra, "source")
        else:
            take_tags(extra, place + 1, clues, names)
    title = without_edge_noise(sides.title)
    bare = trimmed_title(take_tags(title, place, clues, names)) if is_titlelike(title) else title
    title, within = song_title(bare or title, place, clues, names)
    evidence: Evidence = "sided" if sides.sure and sides.sided else "plain"
    return Reading(
        title=title, artists=sides.artists or within or each_once(tuple(clues.bracketed), names), evidence=evidence
    )


def _without_sides(raw: str, text: str, line: Line, clues: Clues, names: Names) -> Reading:
    """Read a title without separators: a song in a bracket behind its artist, or an artist in one before the song."""
    bracketed = each_once(tuple(clues.bracketed), names)
    named = named_in(text, names) if text else ()
    labels = [label for _, label in sorted(clues.labels)]
    unknown = [label for label in labels if not all_known(named_in(label, names), names)]
    if unknown and (all_known(named, names) or not text):
        title, _ = song_title(unknown[0] if text else unknown[-1], 0, clues, names)
        artists = named or tuple(artist for artist in bracketed if name_key(artist) != name_key(unknown[-1]))
        return Reading(title=title, artists=artists, evidence="sided" if named else "plain")
    works = [line.pieces[index] for index in line.works]
    if not trimmed(text) and works:
        return Reading(title=works[-1].text.strip(), artists=bracketed, evidence="plain")
    guests = FEATURING.search(text)
    if guests is not None and guests.start() and not all_known(named, names):
        singers = split_artists(text[guests.end() :], names)
        return Reading(title=text[: guests.start()].strip(), artists=each_once((*bracketed, *singers), names))
    if not is_titlelike(text):
        return Reading(title=raw, artists=(), evidence="raw")
    title, within = song_title(text, 0, clues, names)
    structured = clues.structured or bool(bracketed)
    return Reading(
        title=title if structured else raw, artists=bracketed or within, evidence="plain" if structured else "raw"
    )


def _weighed(reading: Reading, clues: Clues, uploader: str | None, hints: Sequence[str], names: Names) -> VideoSong:
    """Tell performer from original artist, and say how sure the whole is."""
    performers, originals, stated = _who(reading, clues, uploader, names)
    if not performers:
        performers = _from_outside(clues, uploader, hints, names)
        stated = False
    confidence = _confidence(reading, clues, performers, stated=stated)
    clues.originals[:] = originals
    return VideoSong(
        title=reading.title,
        artists=each_once((*performers, *clues.guests), names),
        original_artists=clues.ordered_originals(performers),
        tags=clues.ordered_tags(),
        confidence=confidence,
    )


def _who(reading: Reading, clues: Clues, uploader: str | None, names: Names) -> tuple[tuple[str, ...], list[str], bool]:
    """Return performers, original artists, and whether the performers are stated."""
    found, originals = reading.artists, list(clues.originals)
    bracketed = tuple(clues.bracketed)
    if clues.performers:
        performers = tuple(clues.performers)
        if clues.cover:
            originals += [artist for artist in found if artist not in bracketed]
        return performers, originals, True
    if not clues.cover or originals:
        return found, originals, reading.stated
    beside = found and not any(names.same(artist, other) for artist in found for other in bracketed)
    if beside and bracketed:
        return bracketed, list(found), True
    if beside and _are_covered(found, uploader, names, clues):
        return (), list(found), False
    return found, originals, reading.stated


def _are_covered(artists: tuple[str, ...], uploader: str | None, names: Names, clues: Clues) -> bool:
    """Say whether the only artist named in a cover is the one who is covered: known, and not one who sings covers."""
    if is_uploader(artists, uploader) or any(
        tag.text == "翻唱" and place > 0 for place, tag in clues.tags if tag.kind == "cover" and place > 3
    ):
        return False
    return all_known(artists, names) and not any(names.performs_covers(artist) for artist in artists)


def _from_outside(clues: Clues, uploader: str | None, hints: Sequence[str], names: Names) -> tuple[str, ...]:
    """Infer the performer where the title names none: the uploader of a cover or of an own song, a known artist."""
    name = uploader_name(uploader)
    if name and (clues.cover or clues.own_work):
        return (uploader.strip() if uploader and not names.is_artist(name) else name,)
    if name and names.is_artist(name):
        return (name,)
    if name and uploader and any(COVER.fullmatch(hint.strip()) for hint in hints):
        clues.tag(_LAST, "翻唱", "cover")
        return (uploader.strip(),)
    known = [hint for hint in hints if names.is_artist(hint)]
    return (known[0],) if len(known) == 1 and not clues.cover else ()


def _confidence(reading: Reading, clues: Clues, performers: tuple[str, ...], *, stated: bool) -> Confidence:
    if reading.evidence == "raw":
        return "low"
    credited = bool(clues.performers)
    if stated and performers and (reading.evidence != "plain" or credited):
        return "high"
    return "medium"
