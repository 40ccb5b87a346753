"""Artists in the words around a song: where one ends and the next begins, and whether the words name anybody at all."""

from __future__ import annotations

import re
from typing import Final

from musicq_async.media.names.characters import CJK, HAN, HANGUL, LATIN, scripts
from musicq_async.media.names.dictionary import Names, is_work, surnames
from musicq_async.media.names.keys import artist_key
from musicq_async.media.names.lexicon import (
    ALBUM,
    ANYONE,
    COLLECTION,
    EDGE_SENTENCE,
    OCCASION,
    ROLE_AFTER,
    ROLE_BEFORE,
    SENTENCE,
    SEPARATORS,
    TRADE,
    only_noise,
)
from musicq_async.media.names.memory import remembered

_OWN_MARKS: Final = re.compile(r"[!！。.]+")
_ENDS_IN_HAN: Final = re.compile(f"[{HAN}]\\Z")
_ONE_HAN: Final = re.compile(f"[{HAN}]")
_AND: Final = re.compile("[和与]")
_SHORT_HAN: Final = re.compile(f"[{HAN}]{{2,3}}")
_LETTER: Final = re.compile(r"[^\W\d_]")
_SENTENCE_MARKS: Final = re.compile("[，。！？?；;…“”]")
_CJK: Final = re.compile(f"[{CJK}]")
_LATIN_WORDS: Final = re.compile(rf"[{LATIN}0-9'.&!]+")

_HAN_NAMES: Final = re.compile(f"[{HAN}·]{{2,4}}(?: [{HAN}·]{{2,4}})+")
_ALIAS: Final = re.compile(r"\s*[(（][^()（）]*[)）]")
_CREDITED_VOICE: Final = re.compile(r"[(（](?:cv|CV|vo|Vo|声)[.:：]\s*[^()（）]+[)）]")
_TWO_NAMES: Final = re.compile(
    rf"([{HAN}·]{{2,4}}) [{LATIN}][{LATIN} .'\-]*|([{LATIN}0-9][{LATIN}0-9 .'!*&\-]*) [{HANGUL}][{HANGUL} "
    rf"0-9]*|([{HANGUL}]+) [{LATIN}][{LATIN} .\-]*"
)
_TRIMMED: Final = ' -–—―~～|｜丨/／:：,，、.。·・_+&!！?？;；♪"“”'
_OWN_CHANNEL: Final = re.compile(
    r"\s*(?:[-_ ]*(?:official|channel|vevo|music|official channel)(?![A-Za-z])|官方(?:频道|账号)?|频道|"
    r"工作室|音乐|本人|丶|公式|チャンネル)+\s*\Z",
    re.IGNORECASE,
)


@remembered
def trimmed(text: str) -> str:
    """Return the text without the signs that join it to its neighbours; a name's own dot or mark at its end stays."""
    text = text.lstrip(_TRIMMED)
    kept = text.rstrip(_TRIMMED)
    tail = text[len(kept) :]
    own = _OWN_MARKS.match(tail) if not _ENDS_IN_HAN.search(kept) else None
    return kept + (own.group() if own and not tail.startswith("...") else "")


@remembered
def split_artists(text: str, names: Names) -> tuple[str, ...]:
    """Split a text that names artists; names that hold a separator themselves stay whole."""
    whole = text.strip()
    text = trimmed(_without_alias(text))
    if not text:
        return ()
    if whole != text and names.is_spelled(whole):
        return (whole,)
    if names.never_splits(text) or names.is_artist(text):
        return (one_name(text, names),)
    artists: list[str] = []
    for piece in _separated(text, names):
        artists.extend(one_name(artist, names) for artist in _spaced(trimmed(piece), names))
    return tuple(dict.fromkeys(artist for artist in artists if artist))


def _without_alias(text: str) -> str:
    """Drop ``(아이유)`` behind a name, not the voice behind a part, nor the bracket that a name begins with."""
    return _ALIAS.sub(
        lambda match: match.group() if match.start() == 0 or _CREDITED_VOICE.search(match.group()) else " ", text
    )


def _separated(text: str, names: Names) -> list[str]:
    """Split at the separators, then join again what ``never_splits`` says is one name."""
    places = [(0, 0), *((match.start(), match.end()) for match in SEPARATORS.finditer(text)), (len(text), len(text))]
    pieces: list[str] = []
    start = 0
    while start < len(places) - 1:
        for end in range(len(places) - 1, start, -1):
            piece = text[places[start][1] : places[end][0]]
            if end == start + 1 or names.never_splits(piece):
                pieces.append(piece)
                start = end
                break
    return pieces


def _spaced(piece: str, names: Names) -> list[str]:
    """Split at a space where both sides are names, at 和 or ・ where both sides are known."""
    if names.is_artist(piece):
        return [piece]
    if _HAN_NAMES.fullmatch(piece):
        return piece.split(" ")
    for joint in (" ", "和", "与", "・", "·"):
        parts = piece.split(joint)
        if len(parts) > 1 and all(names.is_artist(part) for part in parts) and not _same_artist(parts, names):
            return parts
    parts = _AND.split(piece)
    if len(parts) == 2 and all(_looks_chinese(part) for part in parts):
        return parts
    return [piece]


def _same_artist(parts: list[str], names: Names) -> bool:
    """Say whether the parts are two names of one artist: ``周杰倫 Jay Chou``."""
    return len(parts) == 2 and names.same(parts[0], parts[1])


@remembered
def one_name(text: str, names: Names) -> str:
    """Return the first of two names of one artist: ``周杰倫 Jay Chou``, ``aespa 에스파``."""
    if names.is_artist(text):
        return text
    mentions = names.mentions(text)
    if mentions and all(names.same(mentions[0].name, mention.name) for mention in mentions):
        han = [mention for mention in mentions if scripts(mention.name) == {"han"}]
        chosen = (han or mentions)[0]
        rest = (
            text[: mentions[0].start] + text[mentions[-1].end :]
            if len(mentions) > 1
            else text.replace(chosen.name, "", 1)
        )
        if scripts(rest) <= {"latin"} and (len(mentions) > 1 or han) and not re.search(r"\d", rest):
            return chosen.name
    match = _TWO_NAMES.fullmatch(text)
    if match:
        return match[match.lastindex or 0]
    first, _, rest = text.partition(" ")
    if rest and names.is_artist(rest) and scripts(first) != scripts(rest) and names.is_artist(first):
        return first
    return text


def _looks_chinese(text: str) -> bool:
    return _SHORT_HAN.fullmatch(text) is not None and text[0] in surnames()


@remembered
def is_name(text: str, names: Names, *, introduced: bool = False) -> bool:
    """Say whether the text can name an artist; ``introduced`` when a dash or a bracket already says that it does."""
    text = text.strip()
    if names.is_artist(text) or names.never_splits(text):
        return True
    if not _LETTER.search(text) or only_noise(TRADE.without(text, " ")) or ANYONE.match(text):
        return False
    if not introduced and (OCCASION.search(text) or _ONE_HAN.fullmatch(text)):
        return False
    if not ALBUM.without(COLLECTION.without(text, " "), " ").strip():
        return False
    if is_work(text) or EDGE_SENTENCE.search(text) or SENTENCE.search(text) or _SENTENCE_MARKS.search(text):
        return False
    han = len(_CJK.findall(text))
    words = len(_LATIN_WORDS.findall(text))
    return han <= (12 if introduced else 8) and words <= 6


@remembered
def surely_a_person(text: str) -> bool:
    """Say whether a bare text is a Chinese name: a surname and one or two characters."""
    return _looks_chinese(text) and not SENTENCE.search(text) and not EDGE_SENTENCE.search(text)


@remembered
def named_in(text: str, names: Names, *, introduced: bool = False) -> tuple[str, ...]:
    """Return the artists that a text names and nothing else; empty if it says anything more."""
    artists = split_artists(text, names)
    if artists and all(is_name(artist, names, introduced=introduced) for artist in artists):
        return artists
    return ()


@remembered
def without_roles(text: str) -> str:
    """Strike what is said of an artist before and behind the name: 歌手, 深情演唱, 的."""
    text = ROLE_AFTER.without(trimmed(text))
    return trimmed(ROLE_BEFORE.without(text))


@remembered
def known_in(text: str, names: Names) -> tuple[str, ...]:
    """Return the known artists that are mentioned in a sentence, each once."""
    return each_once(tuple(mention.name for mention in names.mentions(text)), names)


@remembered
def each_once(artists: tuple[str, ...], names: Names) -> tuple[str, ...]:
    """Return the artists without those that were named before, under this name or another of theirs."""
    kept: list[str] = []
    for artist in artists:
        if not any(names.same(artist, other) for other in kept):
            kept.append(artist)
    return tuple(kept)


def all_known(artists: tuple[str, ...], names: Names) -> bool:
    """Say whether at least one is given and each of them is known."""
    return bool(artists) and all(names.is_artist(artist) for artist in artists)


@remembered
def uploader_name(uploader: str | None) -> str:
    """Return the artist behind a channel's name: ``Aimer Official Channel`` is Aimer."""
    if not uploader:
        return ""
    name = uploader.strip()
    return _OWN_CHANNEL.sub("", name).strip(" -_") or name


def is_uploader(artists: tuple[str, ...], uploader: str | None) -> bool:
    """Say whether one of the artists is the uploader."""
    key = artist_key(uploader_name(uploader))
    return bool(key) and any(artist_key(artist) in {key, artist_key(uploader or "")} for artist in artists)
