"""The parts of a video: their numbers, and what all of them share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from musicq_async.media.names.characters import CJK
from musicq_async.media.names.lexicon import COLLECTION, NOISE, only_noise

_INDEX: Final = re.compile(
    r"(?P<mark>[Pp]|EP|ep|No\.?|NO\.?|Track|track|TRACK|CD\d-|第)?\s*(?P<number>\d{1,4})(?P<gap>[首曲集]?[\s._、．"
    r"。\-–—:：)）\]】】丨|]*)(?P<rest>\S.*)",
    re.DOTALL,
)
_BRACKETED_INDEX: Final = re.compile(r"[\[【(（]\s*[Pp]?(?P<number>\d{1,4})\s*[\]】)）]\s*(?P<rest>\S.*)", re.DOTALL)
_SIDE: Final = re.compile(r"\s+[-–—/|_]\s+|[-–—／|｜_]")
_SHARE: Final = 0.6
_MACHINE_NAME: Final = re.compile(
    r"(?:[A-Za-z]*[_-]?\d{5,}[\d_\-.A-Za-z]*|[A-Za-z]+[_-]?\d{4}|[A-Za-z0-9_\-]*(?:1080|720|2160|480)[pP]?[A-Za-z"
    r"0-9_\-.]*|(?:video|untitled|sequence|final|output|mv|audio|main)[\s_\-\d()]*)(?:\.[a-z0-9]{2,4})?",
    re.IGNORECASE,
)


def without_index(part: str, parts: Sequence[str]) -> str:
    """Strike the number that an uploader put in front of a part.

    With all ``parts`` known, only if at least 60 % of them begin with rising numbers, and only a number that is in
    line; with this part alone, only a form that is no song's: ``P03 ``, ``05.``, ``001_``, ``12 晴天``.
    """
    part = part.strip()
    match = _BRACKETED_INDEX.fullmatch(part) or _INDEX.fullmatch(part)
    if match is None:
        return part
    if len(parts) > 1:
        return match["rest"].strip() if _in_line(part, parts, int(match["number"])) else part
    return match["rest"].strip() if _is_index_alone(part, match) else part


def _in_line(part: str, parts: Sequence[str], number: int) -> bool:
    """Say whether the parts are numbered, and this number is the one that is due at its place."""
    numbers = [_number(other) for other in parts]
    offsets = Counter(value - place for place, value in enumerate(numbers) if value is not None)
    if not offsets:
        return False
    offset, count = offsets.most_common(1)[0]
    rising = max(count, _rising(numbers))
    if rising < _SHARE * len(parts):
        return False
    places = [place for place, other in enumerate(parts) if other.strip() == part]
    if count >= _SHARE * len(parts):
        return any(number - place == offset for place in places) or not places
    return not places or all(_fits(numbers, place) for place in places)


def _number(part: str) -> int | None:
    match = _BRACKETED_INDEX.fullmatch(part.strip()) or _INDEX.fullmatch(part.strip())
    return int(match["number"]) if match else None


def _rising(numbers: Sequence[int | None]) -> int:
    """Return how many of the numbers are greater than all before them."""
    highest, count = -1, 0
    for number in numbers:
        if number is not None and number > highest:
            highest, count = number, count + 1
    return count


def _fits(numbers: Sequence[int | None], place: int) -> bool:
    number = numbers[place]
    before = [value for value in numbers[:place] if value is not None]
    after = [value for value in numbers[place + 1 :] if value is not None]
    return (
        number is not None
        and all(value < number for value in before[-2:])
        and all(value > number for value in after[:2])
    )


def _is_index_alone(part: str, match: re.Match[str]) -> bool:
    """Judge a number without its neighbours."""
    if _BRACKETED_INDEX.fullmatch(part) or match["mark"]:
        return True
    gap, rest, number = match["gap"], match["rest"], match["number"]
    if re.search(r"[._、．。)）\]】:：|丨首曲集]", gap):
        return not rest[0].isdigit()
    if "-" in gap or "–" in gap:
        return len(number) > 1 or gap.strip() != gap
    zero_led = number.startswith("0") and len(number) > 1
    if gap.strip(" ") == "" and gap:
        return zero_led or re.match(f"[{CJK}《【「]", rest) is not None
    return zero_led and re.match(f"[{CJK}《【「A-Za-z]", rest) is not None


def constant_sides(parts: Sequence[str]) -> tuple[str, ...]:
    """Return the sides of a dash that nearly all parts share: the artist, in a list of one artist's songs."""
    if len(parts) < 3:
        return ()
    sides = Counter(
        side for part in parts for side in {side.strip() for side in _SIDE.split(without_index(part, parts))} if side
    )
    return tuple(side for side, count in sides.items() if count >= max(3, _SHARE * len(parts)))


def says_nothing(part: str) -> bool:
    """Say whether a part's name is only a number, a word of quality, or a file's name."""
    text = part.strip()
    if re.fullmatch(r"\d{3,4}", text) and not _MACHINE_NAME.fullmatch(text + "p"):
        return False
    numbered = re.fullmatch(r"(?:[Pp]|第)?\d+[集P话]?|正片|视频|全片", text) is not None
    return not text or numbered or only_noise(text) or _MACHINE_NAME.fullmatch(text) is not None


def heading_artist_text(heading: str) -> str:
    """Return what is left of a collection's heading without the words of collecting: ``林俊杰歌曲合集`` is 林俊杰."""
    text = re.sub(r"[\d+]+(?:首|支|多首)?", " ", COLLECTION.without(heading, " "))
    text = NOISE.without(text, " ")
    return re.sub(
        r"\s+",
        " ",
        re.sub(
            "(?:最|全部|所有|热门|好听|的|歌|专辑|無損|全|个人|历年|大碟|CD|正版|演唱|作品|出道至今|歌手|音乐)+",
            " ",
            text,
        ),
    ).strip(" -–—|·•,，")
