"""The words before and behind a quoted song: who sings it, and what is said of the recording."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from musicq_async.media.names.characters import HAN, LATIN
from musicq_async.media.names.clues import Clues
from musicq_async.media.names.credits import take_credits
from musicq_async.media.names.dictionary import Names
from musicq_async.media.names.lexicon import (
    COVER,
    EDGE_NOISE,
    FEATURING,
    INSTRUMENTS,
    LIVE,
    NOISE,
    PERSON_TO_PERSON,
    PLAYED,
    SENTENCE,
    SHOW,
    SUNG_TO,
    THEME,
    WEAK_NAME,
    Hit,
    Words,
    only_noise,
)
from musicq_async.media.names.memory import remembered
from musicq_async.media.names.performers import known_in, named_in, surely_a_person, trimmed, without_roles
from musicq_async.media.names.tags import worded_kind
from musicq_async.media.names.values import TagKind

_TOKENS: Final = re.compile(r"[^\s,，。！!？?|｜~～/／:：]+")
_PAUSES: Final = re.compile("[,，:：]")
_ANY_LETTER: Final = re.compile(r"\w")

Found = Literal["stated", "inferred"]

_CLAUSES: Final = re.compile(r"[。！!？?…~～|｜丨]+|[—―]{2,}|--+")
_INTRODUCED: Final = re.compile(
    r"\s*(?:[-–—―/／|｜丨:：~～]+|(?<![A-Za-z])by(?![A-Za-z])[:：]?|(?:演唱|歌手)?\s*[:：])\s*(?P<who>.+)",
    re.IGNORECASE,
)
_YEAR: Final = re.compile(r"(?:19|20)\d\d年?(?:\d{1,2}月)?(?:\d{1,2}[日号])?|\d{2,4}[./-]\d{1,2}(?:[./-]\d{1,2})?")
_TAG_ENDS: Final = re.compile(
    r"(?:版|伴奏|纯音乐|弹唱|remix|mix|edit|(?<![A-Za-z])ver\.?|version|acoustic|inst\.?|instrumental|"
    r"バージョン|カラオケ|off vocal|无人声|無人聲|加速|降速|nightcore|slowed)\Z",
    re.IGNORECASE,
)
_LANGUAGE: Final = re.compile(
    "(?:国语|國語|粤语|粵語|日语|英文|英语|中文|韩语|韩文|日文|闽南语|普通话|日本語|한국어)版?"
)
_SAID: Final[tuple[tuple[Words, TagKind], ...]] = ((SUNG_TO, "acoustic"), (COVER, "cover"), (LIVE, "live"))
_SHORT_NAME: Final = re.compile(f"[{HAN}]{{2,4}}|[{LATIN}][{LATIN}0-9.'-]*")
_ONE_SONG_TAGS: Final[frozenset[TagKind]] = frozenset(
    ("instrumental", "speed", "remix", "acoustic", "remaster", "demo", "language", "version", "edit", "live")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The artists that a text names, and whether it states them or they were inferred."""

    artists: tuple[str, ...] = ()
    found: Found = "stated"


NOBODY: Final = People()


def take_tags(text: str, place: int, clues: Clues, names: Names) -> str:
    """Move what a text says of the recording into the clues; return the text without it."""
    for pattern, kind in _SAID:
        match = pattern.search(text)
        if match:
            clues.tag(place + match.start, match.text, kind)
            text = f"{text[: match.start]} {text[match.end :]}" if kind != "live" else _without_event(text, match)
    for token in _TOKENS.finditer(text):
        kind_here = _token_kind(token.group(), names, alone=trimmed(text) == token.group())
        if kind_here:
            clues.tag(place + token.start(), token.group(), kind_here)
            text = text.replace(token.group(), " ", 1)
    return text


def _without_event(text: str, match: Hit) -> str:
    """Drop the live word; a date, a tour or what is said of the performance goes with it, up to the next space."""
    before, after = text[: match.start], text[match.end :]
    before = re.sub(rf"(?:{_YEAR.pattern})\S*\Z", " ", before)
    after = (
        re.sub(r"\A[^\s\-–—/／|｜:：,，。！!？?(（]*", " ", after) if not re.match(r"\s*[-–—/／:：]", after) else after
    )
    return f"{before} {after}"


@remembered
def _token_kind(token: str, names: Names, *, alone: bool) -> TagKind | None:
    """Return what a single word says of the recording, None if it is no tag: too long, or part of a sentence."""
    if len(token) > 14 or only_noise(token) or names.is_artist(token):
        return None
    if THEME.search(token) and len(token) > 2 and not SENTENCE.search(token):
        return "source"
    if len(token) > 10 or SENTENCE.search(token):
        return None
    if (INSTRUMENTS.match(token) and PLAYED.search(token)) or (INSTRUMENTS.fullmatch(token) and not alone):
        return "instrumental"
    kind = worded_kind(token)
    if kind in _ONE_SONG_TAGS and (_TAG_ENDS.search(token) or _LANGUAGE.fullmatch(token)):
        return kind
    return None


def artists_before(text: str, place: int, clues: Clues, names: Names) -> People:
    """Find who sings in the words before the song. ``X翻唱Y的`` names both: X performs, Y is covered."""
    text = take_credits(text, place, clues, names)
    match = PERSON_TO_PERSON.last(text)
    if match is not None:
        return _person_to_person(text, match, place, clues, names)
    return _nearest(take_tags(text, place, clues, names), names)


def _person_to_person(text: str, match: Hit, place: int, clues: Clues, names: Names) -> People:
    """Read ``X翻唱Y的``, ``翻唱Y``, ``X深情演唱``."""
    performer, original = text[: match.start], text[match.end :]
    covered = _covered(original, names)
    take_tags(match.text, place + match.start, clues, names)
    if covered or re.search("[翻致改]", match.text):
        clues.cover = True
    elif trimmed(original):
        return _nearest(take_tags(text, place, clues, names), names)
    clues.originals.extend(covered)
    return _nearest(take_tags(performer, place, clues, names), names)


@remembered
def _covered(text: str, names: Names) -> tuple[str, ...]:
    text = without_roles(text)
    return known_in(text, names) or (named_in(text, names) if text else ())


@remembered
def _nearest(text: str, names: Names) -> People:
    """Take the clause nearest to the song if it is a name; of the others, only who is known."""
    if names.is_spelled(text.strip()):
        return People(artists=(text.strip(),))
    clauses = [clause for clause in _CLAUSES.split(text) if trimmed(clause)]
    for distance, clause in enumerate(reversed(clauses)):
        bare = without_roles(_without_asides(clause))
        artists = named_in(bare, names) or named_in(_PAUSES.split(bare)[-1], names)
        if artists and (distance == 0 or any(names.is_artist(artist) for artist in artists)):
            return People(artists=artists)
        known = known_in(clause, names)
        if known:
            return People(artists=known)
    return NOBODY


@remembered
def _without_asides(clause: str) -> str:
    """Drop the words of a clause that are noise, a show or a date."""
    clause = _YEAR.sub(" ", clause)
    words = [word for word in clause.split(" ") if word and not SHOW.search(word)]
    kept = [word for word in words if not only_noise(word) or not _ANY_LETTER.search(word)]
    return " ".join(kept)


def artists_after(text: str, place: int, clues: Clues, names: Names, *, follows_work: bool) -> People:
    """Find who sings in the words behind the song: a dash introduces anybody, without one only the known count."""
    text = take_credits(text, place, clues, names)
    match = PERSON_TO_PERSON.last(text)
    if match is not None and (covered := known_in(text[match.end :], names)):
        clues.originals.extend(covered)
        clues.cover = True
        take_tags(match.text, place + match.start, clues, names)
        text = text[: match.start]
    text = EDGE_NOISE.without(take_tags(text, place, clues, names))
    introduced = _INTRODUCED.match(text)
    if introduced is not None:
        people = _introduced(introduced["who"], names)
        if people.artists:
            return people
    bare = without_roles(_without_asides(_first_clause(text)))
    if artists := named_in(bare, names):
        if any(names.is_artist(artist) for artist in artists) or follows_work:
            return People(artists=artists)
        if all(_may_be_a_name(artist) for artist in artists):
            return People(artists=artists, found="inferred")
    return People(artists=known_in(text, names))


def guests_behind(text: str, names: Names) -> tuple[str, ...]:
    """Find who joins the singer: the names behind ``feat.``."""
    match = FEATURING.search(text)
    if match is None:
        return ()
    return named_in(without_roles(_without_asides(_first_clause(text[match.end() :]))), names, introduced=True)


def _may_be_a_name(artist: str) -> bool:
    """Say whether a lone word behind a song is likely who sings it."""
    if surely_a_person(artist):
        return True
    says_more = WEAK_NAME.search(artist) or NOISE.search(artist) or worded_kind(artist) != "other"
    return _SHORT_NAME.fullmatch(artist) is not None and not says_more


def _first_clause(text: str) -> str:
    return next((clause for clause in _CLAUSES.split(text) if trimmed(clause)), "")


@remembered
def _introduced(text: str, names: Names) -> People:
    """Read the name behind a dash or slash, up to the next one."""
    clause = re.split(r"\s[-–—]\s|[/／](?=\s)", _first_clause(text))[0]
    for candidate in (_without_asides(clause), without_roles(_without_asides(clause))):
        if artists := named_in(candidate, names, introduced=True):
            return People(artists=artists)
    return NOBODY
