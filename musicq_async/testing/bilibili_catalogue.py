"""What the stand-in has to offer: videos, songs, lists and accounts, and the catalogue that ``demo`` shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from musicq_async.bilibili.ids import av_to_bv
from musicq_async.testing.bilibili_sound import StreamKind

Level = Literal["guest", "free", "member"]

ALL_STREAMS: Final[tuple[StreamKind, ...]] = ("low", "middle", "high", "flac", "dolby")
PLAIN_STREAMS: Final[tuple[StreamKind, ...]] = ("low", "middle", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user of the site; as an uploader, or as whose account a session is."""

    mid: int
    name: str
    level: Level = "free"


UPLOADER: Final = Person(mid=20200, name="晚风唱片")
GUEST: Final = Person(mid=0, name="", level="guest")


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePart:
    """One part of a video: its sound is a chord of ``notes`` in Hz, multiples of 10."""

    cid: int
    title: str = ""
    seconds: float = 2.0
    notes: tuple[int, ...] = (440, 550)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteVideo:
    """One video and how it behaves."""

    aid: int
    title: str
    parts: tuple[SitePart, ...]
    owner: Person = UPLOADER
    published: int = 1_700_000_000
    description: str = ""
    tags: tuple[str, ...] = ("音乐",)
    streams: tuple[StreamKind, ...] = PLAIN_STREAMS
    code: int = 0
    """What asking for the video answers."""
    play_code: int = 0
    """What asking for its streams answers."""
    preview: float | None = None
    """Offer only so many seconds."""
    encrypted: bool = False
    old: bool = False
    """Offer only files with picture and sound together, one for each ``segments``."""
    segments: int = 1
    loudness: tuple[float, float, float] | None = (-9.5, 8.0, 0.5)
    """LUFS, LU, dBTP."""
    ep_id: int | None = None
    forward: int | None = None
    subtitles: tuple[tuple[str, str, tuple[tuple[float, float, str], ...]], ...] = ()
    """(language, address or "" for a made one, lines of (from, to, text))."""
    chapters: tuple[tuple[float, float, str], ...] = ()
    music_id: str | None = None

    @property
    def bvid(self) -> str:
        """The video's BV id."""
        return av_to_bv(self.aid)

    @property
    def seconds(self) -> float:
        """Length of all parts."""
        return sum(part.seconds for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSong:
    """A song of the audio zone."""

    auid: int
    title: str
    author: str
    owner: Person = UPLOADER
    seconds: float = 2.0
    notes: tuple[int, ...] = (330, 660)
    lyrics: str = ""
    code: int = 0
    trial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteEntry:
    """One entry of a folder: type 2 a video (av number), 12 a song, 21 a collection; ``attr`` 0 is fine, 9 deleted."""

    number: int
    type: int = 2
    attr: int = 0
    added: int = 1_720_000_000


@dataclass(slots=True, kw_only=True)
class SiteFolder:
    """A folder of favourites, the newest entry first."""

    media_id: int
    title: str
    owner: Person
    entries: list[SiteEntry] = field(default_factory=list)
    private: bool = False


@dataclass(slots=True, kw_only=True)
class SiteList:
    """A collection or a series: av numbers in order."""

    number: int
    title: str
    owner: Person
    aids: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteEpisode:
    """One episode; its sound is that of the video ``aid``."""

    ep_id: int
    aid: int
    title: str
    long_title: str = ""
    badge: str = ""
    play: Literal["PLAY_WHOLE", "PLAY_PREVIEW", "PLAY_NONE"] = "PLAY_WHOLE"
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSeason:
    """A season of episodes."""

    season_id: int
    media_id: int
    title: str
    episodes: tuple[SiteEpisode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteMusic:
    """A song that the site recognises in videos."""

    music_id: str
    title: str
    artists: tuple[str, ...]
    album: str = ""
    lyrics: str = ""


class Catalogue:
    """Everything on the site; change it as a test needs."""

    def __init__(self, videos: Iterable[SiteVideo] = ()) -> None:
        self.videos: dict[int, SiteVideo] = {}
        self.parts: dict[int, tuple[SiteVideo, SitePart]] = {}
        self.songs: dict[int, SiteSong] = {}
        self.menus: dict[int, list[int]] = {}
        self.folders: dict[int, SiteFolder] = {}
        self.collections: dict[int, SiteList] = {}
        self.series: dict[int, SiteList] = {}
        self.seasons: dict[int, SiteSeason] = {}
        self.music: dict[str, SiteMusic] = {}
        self.watch_later: dict[int, list[int]] = {}
        """User number to av numbers."""
        self.short: dict[str, str] = {}
        """Code to address."""
        for video in videos:
            self.add(video)

    def add(self, video: SiteVideo) -> SiteVideo:
        """Add a video, or replace the one with its number."""
        self.videos[video.aid] = video
        self.parts |= {part.cid: (video, part) for part in video.parts}
        return video

    def uploaded(self, mid: int) -> list[SiteVideo]:
        """Return a user's videos, the newest first."""
        return sorted(
            (video for video in self.videos.values() if video.owner.mid == mid and video.code == 0),
            key=lambda video: (-video.published, -video.aid),
        )

    def add_awkward(self, *, first_aid: int = 900_001) -> list[SiteVideo]:
        """Add one short video for each of `AWKWARD_TITLES`, all with parts of the same name."""
        return [
            self.add(
                SiteVideo(
                    aid=first_aid + place,
                    title=title,
                    parts=tuple(
                        SitePart(cid=10 * (first_aid + place) + page, seconds=1.0) for page in range(1 + place % 2)
                    ),
                )
            )
            for place, title in enumerate(AWKWARD_TITLES)
        ]

    def fill_folder(self, *, media_id: int, count: int, owner: Person) -> SiteFolder:
        """Add a folder of ``count`` short videos, with a song of the audio zone and a gone one among every hundred."""
        folder = SiteFolder(media_id=media_id, title=f"{count} 首", owner=owner)
        self.folders[media_id] = folder
        for place in range(count):
            aid, added = media_id * 100_000 + place + 1, 1_720_000_000 - place
            if place % 100 == 40:
                self.songs[aid] = SiteSong(auid=aid, title=f"音频 {place}", author=owner.name, seconds=1.0)
                folder.entries.append(SiteEntry(number=aid, type=12, added=added))
                continue
            chord = 300 + 10 * (place % 8)  # eight sounds are made, not 1,500
            part = SitePart(cid=aid + 7, seconds=1.0, notes=(chord, 2 * chord))
            self.add(SiteVideo(aid=aid, title=f"练习曲 第{place + 1}首", parts=(part,), owner=owner))
            folder.entries.append(SiteEntry(number=aid, attr=9 if place % 100 == 70 else 0, added=added))
        return folder


AWKWARD_TITLES: Final = (
    "../../../etc/passwd",
    "/absolute/path",
    "..",
    ".hidden",
    "CON",
    "nul.flac",
    'a/b\\c:d*e?f"g<h>i|j',
    "trailing dot. ",
    "新しい\u3000世界\u200b",
    "\u202emp3.gpj",
    "new\nline\ttab\x00nul\x1b[31mred",
    "🎵" * 80,
    "很长的标题" * 60,
    "Cafe\u0301 / Caf\u00e9",
    "&lt;b&gt;HTML &amp; 实体&lt;/b&gt;",
    "-rf --help",
    "$(touch pwned) `id` ; rm",
    "%s {0} {title} {{}}",
    "〈〉《》「」【】（）！？：",
    "   ",
)
"""Titles that a careless program would trip over."""

FAN: Final = Person(mid=70707, name="听歌的人")
_SONGS: Final = (
    # title, notes, streams
    ("林小满 - 月光邮局", (440, 550, 660), PLAIN_STREAMS),
    ("【原创曲】夜航星 / 阿澈 feat. 洛天", (390, 490, 590), PLAIN_STREAMS),
    ("【Hi-Res】夜空ミカ「星の手紙」", (330, 410, 490), (*PLAIN_STREAMS, "flac")),
    ("【杜比全景声】北岛回声《海底列车》", (290, 370, 440), (*PLAIN_STREAMS, "dolby")),
    ("陈听雨 - 夏夜萤火 (伴奏)", (260, 330, 390), PLAIN_STREAMS),
    ("【歌ってみた】雨のあとで / Covered by こはる", (490, 620, 740), PLAIN_STREAMS),
    ("《第七个站台》片尾曲：归途", (350, 440, 520), PLAIN_STREAMS),
    ("Aoi & 南风 - Paper Lanterns (Live)", (310, 390, 470), PLAIN_STREAMS),
)
_FIRST_AID: Final = 117_000_000_000_100


def demo_catalogue() -> Catalogue:
    """Return eight songs, an album in three parts, a song of the audio zone, a folder, a collection and a series."""
    catalogue = Catalogue()
    aids = []
    for place, (title, notes, streams) in enumerate(_SONGS):
        aid = _FIRST_AID + 37 * place
        part = SitePart(cid=30_000_000_000 + place, title="output.mp4", notes=notes)
        published = 1_700_000_000 + 86_400 * place
        catalogue.add(SiteVideo(aid=aid, title=title, parts=(part,), streams=streams, published=published))
        aids.append(aid)
    parts = tuple(
        SitePart(cid=30_000_001_000 + page, title=name, notes=(220 + 40 * page, 440 + 80 * page))
        for page, name in enumerate(("晨雾", "正午的河", "归巢"), 1)
    )
    album = catalogue.add(SiteVideo(aid=_FIRST_AID + 999, title="《四时小调》全专辑", parts=parts))
    catalogue.songs[400_100] = SiteSong(
        auid=400_100, title="旧唱机", author="晚风", lyrics="[00:00.00]旧唱机\n[00:01.00]慢慢转"
    )
    catalogue.menus[10_624] = [400_100]
    entries = [SiteEntry(number=aid, added=1_720_000_000 - place) for place, aid in enumerate(aids)]
    catalogue.folders[1_234_507] = SiteFolder(
        media_id=1_234_507,
        title="默认收藏夹",
        owner=FAN,
        entries=[*entries, SiteEntry(number=album.aid), SiteEntry(number=400_100, type=12)],
    )
    catalogue.collections[8_001] = SiteList(number=8_001, title="晚风合集", owner=UPLOADER, aids=aids[:4])
    catalogue.series[9_001] = SiteList(number=9_001, title="现场", owner=UPLOADER, aids=aids[4:])
    catalogue.watch_later[FAN.mid] = aids[:2]
    catalogue.short["aBcD123"] = f"https://www.bilibili.com/video/{av_to_bv(aids[0])}?p=1&share_source=copy_web"
    return catalogue
