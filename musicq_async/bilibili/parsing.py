"""Tolerant readers that make values of the site's answers. Pure: any field may be missing or of another type."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from musicq_async.bilibili.ids import av_to_bv, normal_bvid
from musicq_async.bilibili.models import (
    Account,
    Chapter,
    Folder,
    Item,
    ListPage,
    Loudness,
    Music,
    Owner,
    Part,
    PlayerInfo,
    Subtitle,
    VideoInfo,
)
from musicq_async.bilibili.reading import Reader
from musicq_async.errors import AnswerNotUnderstood, InvalidParams

_EPISODE: Final = re.compile(r"/bangumi/play/ep([0-9]{1,18})")
_DELETED_TITLE: Final = "已失效视频"


def video_info(data: Any) -> VideoInfo:
    """Read a video's page. Raises `AnswerNotUnderstood` if it lacks what nothing can be done without."""
    view = Reader(data)
    bvid, aid = _ids(view)
    if bvid is None or aid is None:
        raise AnswerNotUnderstood("the site's answer about the video holds no id; try again, or report it")
    title = view.text("title") or bvid
    parts = _parts(view)
    ep = _EPISODE.search(view.text("redirect_url"))
    return VideoInfo(
        bvid=bvid,
        aid=aid,
        title=title,
        parts=parts,
        uploader=owner(view.inner("owner")),
        cover=view.text("pic") or None,
        description=view.text("desc"),
        published=view.integer("pubdate", "ctime"),
        duration=view.number("duration"),
        forward=view.integer("forward"),
        ep_id=int(ep[1]) if ep else None,
    )


def owner(user: Reader) -> Owner:
    """Read who uploaded something."""
    return Owner(mid=user.count("mid"), name=user.text("name", "uname"))


def account(data: Any) -> Account:
    """Read whose session it is."""
    nav = Reader(data)
    return Account(
        logged_in=nav.flag("isLogin"),
        mid=nav.count("mid"),
        name=nav.text("uname"),
        member=nav.integer("vipStatus") == 1,
    )


def loudness(volume: Reader) -> Loudness | None:
    """Read measured loudness; ``None`` if there is none that can be true."""
    integrated = volume.number("measured_i")
    if integrated is None or not -70 < integrated < 10 or integrated == 0:
        return None
    return Loudness(integrated=integrated, true_peak=volume.number("measured_tp"), range=volume.number("measured_lra"))


def listed_video(data: Reader, *, added: int | None = None, uploader: Owner | None = None) -> Item | None:
    """Read a video as the lists describe one; ``None`` if it has no id."""
    bvid, aid = _ids(data)
    if bvid is None:
        return None
    pages = data.count("page", "videos") or 1
    length = data.number("duration")
    return Item(
        kind="video",
        title=data.text("title") or bvid,
        bvid=bvid,
        aid=aid,
        cid=(data.integer("cid") or data.inner("ugc").integer("first_cid") or None) if pages == 1 else None,
        pages=pages,
        uploader=uploader or owner(data.inner("upper", "owner")),
        cover=data.text("cover", "pic") or None,
        description=data.text("intro", "desc", "description"),
        published=data.integer("pubtime", "pubdate", "ctime", "created"),
        added=added,
        duration=length if length is not None else _clock_length(data.text("length")),
    )


def favourite(data: Reader) -> Item | None:
    """Read one entry of a folder: a video, a song of the audio zone (its id is no av number) or a collection."""
    kind, number, added = data.integer("type"), data.integer("id"), data.integer("fav_time")
    gone = data.count("attr") != 0 or data.text("title") == _DELETED_TITLE
    shared: dict[str, Any] = {
        "title": data.text("title"),
        "uploader": owner(data.inner("upper")),
        "cover": data.text("cover") or None,
        "added": added,
        "gone": gone,
    }
    if kind == 12:
        return Item(kind="song", auid=number, duration=data.number("duration"), **shared) if number else None
    if kind == 21:
        return Item(kind="collection", season_id=number, **shared) if number else None
    if kind not in {2, None}:
        return None
    item = listed_video(Reader({"aid": number} | data.fields), added=added)
    return replace(item, gone=True, cid=None) if item and gone else item


def folder_page(data: Any) -> ListPage:
    """Read one page of a folder of favourites."""
    page = Reader(data)
    info = page.inner("info")
    items = [favourite(entry) for entry in page.each("medias")]
    return ListPage(
        items=tuple(item for item in items if item),
        more=page.flag("has_more"),
        title=info.text("title"),
        total=info.integer("media_count"),
    )


def folders(data: Any) -> list[Folder]:
    """Read a user's folders."""
    return [
        Folder(
            number=number,
            title=entry.text("title"),
            count=entry.count("media_count"),
            private=bool(entry.count("attr") & 1),
        )
        for entry in Reader(data).each("list")
        if (number := entry.integer("id"))
    ]


def song(data: Any, auid: int) -> Item:
    """Read a song of the audio zone."""
    info = Reader(data)
    author = info.text("author")
    return Item(
        kind="song",
        title=info.text("title") or f"au{auid}",
        auid=info.integer("id") or auid,
        uploader=Owner(mid=info.count("uid"), name=info.text("uname")),
        artists=(author,) if author else (),
        cover=info.text("cover") or None,
        description=info.text("intro"),
        published=info.integer("passtime"),
        duration=info.number("duration"),
        lyric_url=info.text("lyric") or None,
    )


def episodes(result: Any, *, trailers: bool = False) -> list[Item]:
    """Read the episodes of a season, without trailers unless asked for."""
    season = Reader(result)
    found = [
        (entry, episode)
        for entry in season.each("episodes") + [one for part in season.each("section") for one in part.each("episodes")]
        if (episode := _episode(entry, season))
    ]
    main = len(season.each("episodes"))
    if trailers:
        return [episode for _, episode in found]
    return [episode for entry, episode in found[:main] if "预告" not in entry.text("badge")]


def player_info(data: Any, *, cid: int) -> PlayerInfo:
    """Read what the player shows; nothing if the answer is about another part, as happens."""
    player = Reader(data)
    if player.integer("cid") not in {cid, None}:
        return PlayerInfo()
    tracks = player.inner("subtitle").each("subtitles")
    chapters = [
        Chapter(title=point.text("content"), start=start, end=end)
        for point in player.each("view_points")
        if (start := point.number("from")) is not None and (end := point.number("to")) is not None and end > start
    ]
    music = player.inner("bgm_info")
    return PlayerInfo(
        subtitles=tuple(found for track in tracks if (found := _subtitle(track))),
        chapters=tuple(chapters),
        music_id=music.text("music_id") or None,
        music_title=music.text("music_title"),
    )


def music(data: Any, music_id: str) -> Music:
    """Read a recognised song."""
    info = Reader(data)
    named = [entry.text("name") for entry in info.each("artists_list")] + info.texts("artists_list")
    artists = [name for name in named if name] or [info.text("origin_artist")]
    return Music(
        music_id=music_id,
        title=info.text("music_title"),
        artists=tuple(name for name in artists if name),
        album=info.text("album"),
        lyrics=info.text("mv_lyric"),
    )


def subtitle_lines(body: Any) -> str:
    """Turn a subtitle document into LRC text; empty if it holds no line."""
    lines = []
    for line in Reader(body).each("body"):
        start, content = line.number("from"), " ".join(line.text("content").split())
        if start is not None and start >= 0 and content:
            hundredths = round(start * 100)
            minutes, rest = divmod(hundredths, 6000)
            lines.append(f"[{minutes:02}:{rest // 100:02}.{rest % 100:02}]{content}")
    return "\n".join(lines)


def _ids(data: Reader) -> tuple[str | None, int | None]:
    aid = data.integer("aid", "id")
    try:
        return normal_bvid(data.text("bvid", "bv_id")), aid
    except InvalidParams:
        pass
    try:
        return (av_to_bv(aid), aid) if aid else (None, None)
    except InvalidParams:
        return None, None


def _parts(view: Reader) -> tuple[Part, ...]:
    parts = [
        Part(cid=cid, page=entry.count("page") or place, title=entry.text("part"), duration=entry.number("duration"))
        for place, entry in enumerate(view.each("pages"), 1)
        if (cid := entry.integer("cid"))
    ]
    if not parts and (cid := view.integer("cid")):
        parts = [Part(cid=cid, page=1, title="", duration=view.number("duration"))]
    return tuple(parts)


def _clock_length(text: str) -> float | None:
    """Read ``mm:ss`` or ``hh:mm:ss``."""
    if not re.fullmatch(r"[0-9]{1,5}(:[0-9]{1,2}){1,2}", text):
        return None
    seconds = 0
    for number in text.split(":"):
        seconds = seconds * 60 + int(number)
    return float(seconds)


def _episode(entry: Reader, season: Reader) -> Item | None:
    number, cid = entry.integer("id", "ep_id"), entry.integer("cid")
    if not number or not cid:
        return None
    bvid, aid = _ids(Reader({"bvid": entry.value("bvid"), "aid": entry.value("aid")}))
    length = entry.number("duration")
    named = " ".join(filter(None, (entry.text("title"), entry.text("long_title"))))
    return Item(
        kind="episode",
        title=season.text("title") or entry.text("share_copy") or f"ep{number}",
        part_title=named,
        bvid=bvid,
        aid=aid,
        cid=cid,
        ep_id=number,
        season_id=season.integer("season_id"),
        uploader=owner(season.inner("up_info")),
        cover=entry.text("cover") or season.text("cover") or None,
        description=season.text("evaluate"),
        published=entry.integer("pub_time"),
        duration=length / 1000 if length else None,
    )


def _subtitle(track: Reader) -> Subtitle | None:
    address, language = track.text("subtitle_url"), track.text("lan")
    if not address:
        return None
    address = "https:" + address if address.startswith("//") else address
    return Subtitle(
        language=language, address=address, automatic=language.startswith("ai-") or track.integer("type") == 1
    )
