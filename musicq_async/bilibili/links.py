"""Links and ids of everything that can be downloaded, parsed without asking the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote

from musicq_async.bilibili.hosts import split_address
from musicq_async.bilibili.ids import BV_PATTERN, av_to_bv, normal_bvid
from musicq_async.errors import InvalidParams


@dataclass(frozen=True, slots=True)
class Video:
    """A video, or one of its parts (counted from 1)."""

    bvid: str
    part: int | None = None


@dataclass(frozen=True, slots=True)
class Favourites:
    """One folder of favourites."""

    media_id: int


@dataclass(frozen=True, slots=True)
class AllFavourites:
    """Every folder of a user that the account may see."""

    mid: int


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection; ``mid`` is its owner where the link names one."""

    season_id: int
    mid: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A series; ``mid`` is its owner where the link names one."""

    series_id: int
    mid: int | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """All videos of an uploader."""

    mid: int


@dataclass(frozen=True, slots=True)
class SpaceAudio:
    """All songs of an uploader in the audio zone."""

    mid: int


@dataclass(frozen=True, slots=True)
class AllLists:
    """Every collection and series of an uploader."""

    mid: int


@dataclass(frozen=True, slots=True)
class WatchLater:
    """The account's own watch-later list."""


@dataclass(frozen=True, slots=True)
class Song:
    """A song of the audio zone."""

    auid: int


@dataclass(frozen=True, slots=True)
class SongMenu:
    """A song list of the audio zone."""

    amid: int


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of a film or series."""

    ep_id: int


@dataclass(frozen=True, slots=True)
class Season:
    """All episodes of a season."""

    season_id: int


@dataclass(frozen=True, slots=True)
class Media:
    """A season by the number of its information page."""

    media_id: int


@dataclass(frozen=True, slots=True)
class ShortLink:
    """A short link; only the site knows where it leads."""

    code: str


Link = (
    Video
    | Favourites
    | AllFavourites
    | Collection
    | Series
    | Space
    | SpaceAudio
    | AllLists
    | WatchLater
    | Song
    | SongMenu
    | Episode
    | Season
    | Media
    | ShortLink
)

SHORT_HOSTS: Final = frozenset({"b23.tv", "www.b23.tv", "bili2233.cn"})
_SITE: Final = "bilibili.com"
_MAX_TEXT: Final = 4096
_MAX_NUMBER: Final = 1 << 63
_ADDRESS: Final = re.compile(r"https?://[^\s<>\"'，。！？；、（）【】《》「」“”]+", re.IGNORECASE)
_ANY_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_BARE_ADDRESS: Final = re.compile(
    r"(?<![\w@/.:-])(?:[a-z0-9-]+\.)*(?:bilibili\.com|b23\.tv|bili2233\.cn)/[^\s<>\"'，。！？；、（）【】《》「」“”]+",
    re.IGNORECASE | re.ASCII,
)
_VIDEO_IN_TEXT: Final = re.compile(rf"(?<![0-9A-Za-z])(?:{BV_PATTERN}|[Aa][Vv][0-9]{{1,16}})(?![0-9A-Za-z])")
_BARE_ID: Final = re.compile(rf"({BV_PATTERN}|(?:av|ep|ss|md|au|am|ml)[0-9]{{1,19}})/?(?:[?&#](.*))?", re.IGNORECASE)
_SHORT_CODE: Final = re.compile(r"[0-9A-Za-z]{1,32}")
_PAGE_FILE: Final = re.compile(r"index_([0-9]{1,5})\.html?")
_ACCEPTED: Final = (
    "give a video (BV…, av…, b23.tv/…), a favourites folder, collection, series, uploader or watch-later page,"
    " a song (au…, am…) or an episode (ep…, ss…, md…)"
)


def parse_link(text: str) -> Link:
    """Return what a link, a bare id, or a text with a link inside stands for.

    Raises `InvalidParams` for anything else, links to other sites among it.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > _MAX_TEXT:
        raise InvalidParams(f"not a Bilibili link; {_ACCEPTED}")
    text = text.strip()
    if bare := _BARE_ID.fullmatch(text):
        return _from_id(bare[1], parse_qs(bare[2] or ""))
    refusal = InvalidParams(f"{_shown(text)} is not a Bilibili link; {_ACCEPTED}")
    for address in _addresses(text):
        try:
            return _from_address(address)
        except InvalidParams as error:
            refusal = error
    if found := _VIDEO_IN_TEXT.search(_BARE_ADDRESS.sub(" ", _ANY_ADDRESS.sub(" ", text))):
        return _from_id(found[0], {})
    raise refusal


def is_list(link: Link) -> bool:
    """Whether a link stands for a list, which may be long."""
    return not isinstance(link, Video | Song | Episode | Season | Media | ShortLink)


def video_link(bvid: str, part: int | None = None) -> str:
    """Return the address of a video's page, or of one part of it."""
    return f"https://www.bilibili.com/video/{bvid}" + (f"?p={part}" if part else "")


Query = dict[str, list[str]]


def _addresses(text: str) -> Iterator[SplitResult]:
    """Yield the addresses in a text that lead to the site, in order."""
    found = [*_ADDRESS.findall(text), *("https://" + bare for bare in _BARE_ADDRESS.findall(_ADDRESS.sub(" ", text)))]
    for address in found:
        parts = split_address(address.rstrip(".,;:!?)]}'\"~"))
        if parts is not None and parts.port in {None, 80, 443} and _is_site((parts.hostname or "").rstrip(".")):
            yield parts


def _is_site(host: str) -> bool:
    return host in SHORT_HOSTS or host == _SITE or host.endswith("." + _SITE)


def _from_address(parts: SplitResult) -> Link:
    host = (parts.hostname or "").rstrip(".")
    query = parse_qs(parts.query)
    steps = [unquote(step) for step in parts.path.split("/") if step]
    link: Link | None
    if host in SHORT_HOSTS:
        link = _short(steps, query)
    elif host == "space." + _SITE:
        link = _space(*_with_fragment(steps, query, parts.fragment))
    else:
        link = _page(steps, query) or _by_query(query)
    if link is None:
        raise InvalidParams(f"{_shown(parts.path)} on {host} is no page that can be downloaded; {_ACCEPTED}")
    return link


def _short(steps: list[str], query: Query) -> Link | None:
    if not steps:
        return None
    if _BARE_ID.fullmatch(steps[0]):
        return _from_id(steps[0], query)
    return ShortLink(steps[0]) if len(steps) == 1 and _SHORT_CODE.fullmatch(steps[0]) else None


def _with_fragment(steps: list[str], query: Query, fragment: str) -> tuple[list[str], Query]:
    """Read pages of the old kind, whose path stands behind ``#``."""
    if len(steps) > 1 or not fragment.startswith("/"):
        return steps, query
    path, _, rest = fragment.partition("?")
    return [*steps, *(unquote(step) for step in path.split("/") if step)], query | parse_qs(rest)


def _space(steps: list[str], query: Query) -> Link | None:
    mid = _number(steps[0]) if steps else None
    if mid is None:
        return None
    match [step.lower() for step in steps[1:]]:
        case ["audio", *_] | ["upload", "audio", *_]:
            return SpaceAudio(mid)
        case [] | ["video" | "upload", *_]:
            return Space(mid)
        case ["favlist", *_]:
            return _favlist(mid, query)
        case ["lists"] | ["channel", "series" | "index"] | ["channel"]:
            return AllLists(mid)
        case ["lists", number]:
            return _list(_number(number), mid, series=_first(query, "type") == "series")
        case ["channel", "collectiondetail"]:
            return _list(_number(_first(query, "sid")), mid, series=False)
        case ["channel", "seriesdetail"]:
            return _list(_number(_first(query, "sid")), mid, series=True)
    return None


def _favlist(mid: int, query: Query) -> Link | None:
    given = _first(query, "fid")
    if not given:
        return AllFavourites(mid)
    number = _number(given)
    if number is None:
        return None
    # A subscribed list belongs to somebody else: the user in the link is only the subscriber.
    subscribed = _first(query, "ftype") == "collect" and _first(query, "ctype") in {"", "21"}
    return Collection(number) if subscribed else Favourites(number)


def _list(number: int | None, mid: int | None, *, series: bool) -> Link | None:
    if number is None:
        return None
    return Series(number, mid) if series else Collection(number, mid)


def _page(steps: list[str], query: Query) -> Link | None:
    match [step.lower() for step in steps]:
        case ["video", *rest] | ["s", "video", *rest] if rest:
            page = _PAGE_FILE.fullmatch(rest[1]) if len(rest) > 1 else None
            named = steps[-len(rest)]
            return _from_id(named, {"p": [page[1]]} | query if page else query) if _is_video(named) else None
        case ["list", "watchlater", *_] | ["watchlater", *_] | ["medialist", "play", "watchlater", *_]:
            return WatchLater()
        case ["list", name, *_] | ["medialist", "detail" | "play", name, *_]:
            return _list_page(name, query)
        case ["bangumi", "play", name, *_] if name[:2] in {"ep", "ss"}:
            return _from_id(name, {})
        case ["bangumi", "media", name, *_] if name[:2] == "md":
            return _from_id(name, {})
        case ["audio", name, *_] if name[:2] in {"au", "am"}:
            return _from_id(name, {})
        case ["space", number, *_]:
            return Space(mid) if (mid := _number(number)) is not None else None
        case [_] if _is_video(steps[0]):
            return _from_id(steps[0], query)
    return None


def _list_page(name: str, query: Query) -> Link | None:
    if name.startswith("ml"):
        return _from_id(name, {})
    mid = _number(name)
    if mid is None:
        return None
    business = _first(query, "business")
    number = _first(query, "sid") or (_first(query, "business_id") if business else "")
    return _list(_number(number), mid, series=business != "space_collection") if number else Space(mid)


def _by_query(query: Query) -> Link | None:
    """Read pages made for an occasion, and embedded players, which name the video in the query."""
    named = _first(query, "bvid") or (f"av{aid}" if (aid := _first(query, "aid").lower().removeprefix("av")) else "")
    if not _is_video(named):
        return None
    return _from_id(named, query if "p" in query else {"p": query.get("page", [])})


def _is_video(text: str) -> bool:
    return text[:2].lower() in {"bv", "av"}


def _from_id(text: str, query: Query) -> Link:
    kind, number = text[:2].lower(), _number(text[2:])
    if kind == "bv":
        return Video(normal_bvid(text), _part(query))
    if number is None:
        raise InvalidParams(f"{_shown(text)} holds no valid number; {_ACCEPTED}")
    match kind:
        case "av":
            return Video(av_to_bv(number), _part(query))
        case "ep":
            return Episode(number)
        case "ss":
            return Season(number)
        case "md":
            return Media(number)
        case "au":
            return Song(number)
        case "am":
            return SongMenu(number)
        case "ml":
            return Favourites(number)
    raise InvalidParams(f"{_shown(text)} is not a Bilibili id; {_ACCEPTED}")


def _part(query: Query) -> int | None:
    text = _first(query, "p")
    if not text:
        return None
    if (part := _number(text)) is None:
        raise InvalidParams(f"p={_shown(text)} is no part of a video; parts count from 1")
    return part


def _first(query: Query, name: str) -> str:
    return next(iter(query.get(name, [])), "").strip()


def _number(text: str) -> int | None:
    number = int(text) if re.fullmatch(r"[0-9]{1,19}", text) else 0
    return number if 0 < number < _MAX_NUMBER else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
