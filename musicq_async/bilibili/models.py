"""What the site's answers say, as frozen values."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, Self

import msgspec

from musicq_async.bilibili.ids import bv_to_av
from musicq_async.bilibili.links import video_link
from musicq_async.errors import InvalidParams

_WWW: Final = "https://www.bilibili.com"
_RAW_FILE: Final = re.compile(r".+\.(?:mp4|flv|mkv|mov|avi|wmv|webm|m4v|ts|m4a|mp3|wav|flac)", re.IGNORECASE)

_LONGEST_SOUND: Final = 1e7
_LONGEST_TEXT: Final = 100_000
_MOST_NAMES: Final = 1000

ItemKind = Literal["video", "episode", "song", "collection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who uploaded something."""

    mid: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a video."""

    cid: int
    page: int
    title: str
    duration: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to be fetched: a part of a video, an episode or a song.

    Lists yield items as they know them: ``cid`` may be missing until `BilibiliClient.expand` has asked, and a
    ``collection`` stands for all its videos. ``gone`` marks what the site no longer has.
    """

    kind: ItemKind
    title: str
    """Title of the whole video, song or collection."""
    bvid: str | None = None
    aid: int | None = None
    cid: int | None = None
    page: int = 1
    """Number of the part, from 1."""
    pages: int = 1
    """Parts that the video has."""
    part_title: str = ""
    """Title of the part where it says more than ``title``, else empty."""
    auid: int | None = None
    ep_id: int | None = None
    season_id: int | None = None
    uploader: Owner = Owner()
    artists: tuple[str, ...] = ()
    """Names that the site itself gives as the singers (audio zone only)."""
    cover: str | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    published: int | None = None
    """Epoch seconds."""
    added: int | None = None
    """Epoch seconds at which the item came into the list."""
    duration: float | None = None
    """Seconds; of the part where the part is known."""
    lyric_url: str | None = None
    gone: bool = False

    def saved(self) -> dict[str, Any]:
        """Return what is known, without defaults, as JSON can hold it."""
        plain = asdict(self)
        return {entry.name: plain[entry.name] for entry in fields(self) if getattr(self, entry.name) != entry.default}

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> Self:
        """Return the item that `saved` told of, trusting none of it. Raises `InvalidParams`."""
        try:
            item = msgspec.convert(saved, cls)
        except (msgspec.ValidationError, RecursionError) as error:
            raise InvalidParams(f"item: {error}") from error
        if odd := _odd(item):
            raise InvalidParams(f"item: {odd}")
        return item

    @property
    def key(self) -> str:
        """Name the item in an archive: a re-uploaded part is another one, a renamed video is not."""
        if self.kind == "song":
            return f"au{self.auid}"
        if self.kind == "collection":
            return f"season{self.season_id}"
        return f"{self.bvid or f'ep{self.ep_id}'}:{self.cid}"

    @property
    def link(self) -> str:
        """The page of the item."""
        match self.kind:
            case "song":
                return f"{_WWW}/audio/au{self.auid}"
            case "episode":
                return f"{_WWW}/bangumi/play/ep{self.ep_id}"
            case "collection":
                return f"https://space.bilibili.com/{self.uploader.mid}/lists/{self.season_id}?type=season"
            case _:
                return video_link(self.bvid or "", self.page if self.pages > 1 else None)


def _odd(item: Item) -> str | None:
    """Return what is wrong with an item that came from outside."""
    numbers = (item.aid, item.cid, item.auid, item.ep_id, item.season_id, item.page, item.pages)
    if any(number is not None and not 0 < number < 1 << 63 for number in numbers):
        return "an id is no positive 64-bit number"
    needed = {"video": item.bvid, "episode": item.ep_id and item.cid, "song": item.auid, "collection": item.season_id}
    if not needed[item.kind]:
        return f"a {item.kind} without its id"
    if item.bvid is not None:
        try:
            bv_to_av(item.bvid)
        except InvalidParams as error:
            return str(error)
    if item.duration is not None and not 0 <= item.duration <= _LONGEST_SOUND:
        return "the duration is out of range"
    texts = (item.title, item.part_title, item.uploader.name, item.description, *item.artists, *item.tags)
    if any(len(text) > _LONGEST_TEXT for text in texts) or len(item.artists) + len(item.tags) > _MOST_NAMES:
        return "a text is too long"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """A video with its parts."""

    bvid: str
    aid: int
    title: str
    parts: tuple[Part, ...]
    uploader: Owner = Owner()
    cover: str | None = None
    description: str = ""
    published: int | None = None
    duration: float | None = None
    forward: int | None = None
    """The av number that this video was merged into."""
    ep_id: int | None = None
    """The episode that this video is really a page of."""

    def items(self) -> list[Item]:
        """Return one item a part."""
        return [self._item(part) for part in self.parts]

    def _item(self, part: Part) -> Item:
        several = len(self.parts) > 1
        return Item(
            kind="video",
            title=self.title,
            bvid=self.bvid,
            aid=self.aid,
            cid=part.cid,
            page=part.page,
            pages=len(self.parts),
            part_title=self._part_title(part) if several else "",
            uploader=self.uploader,
            cover=self.cover,
            description=self.description,
            published=self.published,
            duration=part.duration or (None if several else self.duration),
        )

    def _part_title(self, part: Part) -> str:
        """Return the part's title, or a made one where the uploader left the name of the raw file."""
        title = part.title.strip()
        return f"{self.title}_P{part.page:02}" if not title or _RAW_FILE.fullmatch(title) else title


@dataclass(frozen=True, slots=True, kw_only=True)
class Loudness:
    """Loudness as the site measured it."""

    integrated: float
    """LUFS."""
    true_peak: float | None = None
    """dBTP."""
    range: float | None = None
    """LU."""

    @property
    def gain(self) -> float:
        """ReplayGain 2.0 track gain in dB."""
        return -18.0 - self.integrated

    @property
    def peak(self) -> float | None:
        """ReplayGain track peak as a factor of full scale."""
        return None if self.true_peak is None else 10 ** (self.true_peak / 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose cookie it is."""

    logged_in: bool
    mid: int = 0
    name: str = ""
    member: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page of a list."""

    items: tuple[Item, ...] = ()
    more: bool = False
    title: str = ""
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of favourites or another list of a user."""

    number: int
    title: str
    count: int = 0
    private: bool = False
    series: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtitle:
    """A subtitle track; ``automatic`` ones come from speech recognition."""

    language: str
    address: str
    automatic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A marked stretch of a video, in seconds."""

    title: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerInfo:
    """What the player shows beside the sound."""

    subtitles: tuple[Subtitle, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    music_id: str | None = None
    music_title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Music:
    """A song that the site recognised in a video. It may be mere background: compare the title."""

    music_id: str
    title: str
    artists: tuple[str, ...] = ()
    album: str = ""
    lyrics: str = field(default="", repr=False)
    """LRC text, or the address of one."""
