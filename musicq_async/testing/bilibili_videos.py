"""The stand-in's answers about videos, episodes and songs, and where their sound is."""

from __future__ import annotations

from typing import Any, Final

from musicq_async.bilibili.ids import bv_to_av
from musicq_async.errors import InvalidParams
from musicq_async.testing.bilibili_catalogue import (
    Level,
    Person,
    SiteEpisode,
    SitePart,
    SiteSeason,
    SiteSong,
    SiteVideo,
)
from musicq_async.testing.bilibili_http import Reply, Request
from musicq_async.testing.bilibili_site import Refusal, Site, envelope, number
from musicq_async.testing.bilibili_sound import StreamKind

_IDS: Final[dict[StreamKind, tuple[int, str, int]]] = {
    # id, codecs, nominal bits a second
    "low": (30216, "mp4a.40.2", 67_123),
    "middle": (30232, "mp4a.40.2", 132_406),
    "high": (30280, "mp4a.40.2", 196_832),
    "flac": (30251, "fLaC", 1_012_345),
    "dolby": (30250, "ec-3", 448_211),
}
_ALLOWED: Final[dict[Level, frozenset[StreamKind]]] = {
    "guest": frozenset({"low", "middle"}),
    "free": frozenset({"low", "middle", "high"}),
    "member": frozenset(_IDS),
}


def view(site: Site, request: Request) -> Reply:
    """Answer with a video's page."""
    video = _video(site, request.params)
    return envelope(
        {
            "bvid": video.bvid,
            "aid": video.aid,
            "videos": len(video.parts),
            "tid": 193,
            "tname": "音乐",
            "copyright": 1,
            "pic": site.picture(f"/{video.aid}.jpg"),
            "title": video.title,
            "pubdate": video.published,
            "ctime": video.published,
            "desc": video.description,
            "desc_v2": None,
            "state": 0,
            "duration": round(video.seconds),
            "rights": {"download": 1, "is_cooperation": 0, "is_stein_gate": 0},
            "owner": _owner(site, video.owner),
            "stat": {"view": 1000, "like": 10},
            "cid": video.parts[0].cid,
            "dimension": {"width": 1920, "height": 1080, "rotate": 0},
            "pages": _pages(video),
            "subtitle": {"allow_submit": False, "list": []},
            **({"forward": video.forward} if video.forward else {}),
            **({"redirect_url": f"https://www.bilibili.com/bangumi/play/ep{video.ep_id}"} if video.ep_id else {}),
        }
    )


def pagelist(site: Site, request: Request) -> Reply:
    """Answer with a video's parts."""
    return envelope(_pages(_video(site, request.params)))


def tags(site: Site, request: Request) -> Reply:
    """Answer with a video's tags."""
    video = _video(site, request.params)
    return envelope([{"tag_id": place, "tag_name": name} for place, name in enumerate(video.tags, 1)])


def playurl(site: Site, request: Request) -> Reply:
    """Answer with the streams of a part, as far as the account may have them."""
    video = _video(site, request.params)
    found = site.catalogue.parts.get(number(request.params, "cid"))
    if found is None or found[0].aid != video.aid:
        raise Refusal(-404)
    if video.play_code:
        raise Refusal(video.play_code)
    return envelope(_streams(site, *found, level=site.level(request), dash=_wants_dash(request)))


def player(site: Site, request: Request) -> Reply:
    """Answer with subtitles (for the logged in), chapters and the recognised song."""
    video = _video(site, request.params)
    cid = number(request.params, "cid")
    shown = video.subtitles if site.level(request) != "guest" else ()
    music = site.catalogue.music.get(video.music_id or "")
    return envelope(
        {
            "aid": video.aid,
            "bvid": video.bvid,
            "cid": cid,
            "need_login_subtitle": site.level(request) == "guest",
            "subtitle": {
                "subtitles": [
                    {
                        "id": place,
                        "lan": language,
                        "lan_doc": language,
                        "type": int(language.startswith("ai-")),
                        "subtitle_url": address or site.picture(f"/bfs/subtitle/{video.aid}-{place}.json", plain=True),
                    }
                    for place, (language, address, _) in enumerate(shown)
                ]
            },
            "view_points": [
                {"type": 2, "from": start, "to": end, "content": title} for start, end, title in video.chapters
            ],
            "bgm_info": {"music_id": music.music_id, "music_title": music.title, "jump_url": ""} if music else None,
        }
    )


def recognised(site: Site, request: Request) -> Reply:
    """Answer with a recognised song."""
    music = site.catalogue.music.get(request.params.get("music_id", ""))
    if music is None:
        raise Refusal(-404)
    artists = [{"mid": 0, "name": name, "identity": "歌手"} for name in music.artists]
    return envelope(
        {
            "music_title": music.title,
            "origin_artist": "/".join(music.artists),
            "artists_list": artists,
            "album": music.album,
            "mv_lyric": music.lyrics,
        }
    )


def season(site: Site, request: Request) -> Reply:
    """Answer with the season that an episode or a number belongs to."""
    found, _ = _episode(site, request.params)
    return envelope(
        {
            "season_id": found.season_id,
            "media_id": found.media_id,
            "title": found.title,
            "evaluate": "",
            "cover": site.picture(f"/{found.season_id}.jpg"),
            "episodes": [_episode_entry(site, episode) for episode in found.episodes],
            "section": [],
        },
        name="result",
    )


def media_page(site: Site, request: Request) -> Reply:
    """Answer with the season of an information page."""
    wanted = number(request.params, "media_id")
    for found in site.catalogue.seasons.values():
        if found.media_id == wanted:
            media = {"media_id": wanted, "season_id": found.season_id, "title": found.title}
            return envelope({"media": media}, name="result")
    raise Refusal(-404)


def episode_playurl(site: Site, request: Request) -> Reply:
    """Answer with the streams of an episode. A session spelt with a bare comma counts as none."""
    _, episode = _episode(site, request.params)
    if episode is None:
        raise Refusal(-400)
    level: Level = "guest" if "," in request.cookies.get("SESSDATA", "") else site.level(request)
    video = site.catalogue.videos[episode.aid]
    if video.play_code:
        raise Refusal(video.play_code)
    refused = episode.play == "PLAY_NONE" or episode.blocked
    info = {} if refused else _streams(site, video, video.parts[0], level=level, dash=_wants_dash(request))
    kinds = {"PLAY_WHOLE": "whole", "PLAY_PREVIEW": "preview", "PLAY_NONE": "none"}
    result = {
        "play_check": {"play_detail": episode.play},
        "play_video_type": kinds[episode.play],
        "video_info": info | {"is_preview": int(episode.play == "PLAY_PREVIEW")},
        "plugins": [{"name": "AreaLimitPanel", "config": {"is_block": episode.blocked}}],
    }
    return envelope(result, name="result")


def song_info(site: Site, request: Request) -> Reply:
    """Answer with a song of the audio zone."""
    return envelope(song_entry(site, _song(site, request.params)), message="msg")


def song_lyric(site: Site, request: Request) -> Reply:
    """Answer with a song's lyrics."""
    return envelope(_song(site, request.params).lyrics or None, message="msg")


def song_url(site: Site, request: Request) -> Reply:
    """Answer with where a song is."""
    song = _song(site, request.params)
    main, backup = site.media(f"/ugaxcode/au{song.auid}.m4a")
    kind = -1 if song.trial else 1
    data = {"sid": song.auid, "type": kind, "info": "", "timeout": 10800, "size": 0, "cdns": [main, backup]}
    return envelope(data, message="msg")


def song_entry(site: Site, song: SiteSong) -> dict[str, Any]:
    """Return what the audio zone says about a song."""
    lyric = site.picture(f"/bfs/lyric/{song.auid}.lrc", plain=True) if song.lyrics else ""
    return {
        "id": song.auid,
        "uid": song.owner.mid,
        "uname": song.owner.name,
        "author": song.author,
        "title": song.title,
        "cover": site.picture(f"/{song.auid}.jpg"),
        "intro": "",
        "lyric": lyric,
        "duration": round(song.seconds),
        "passtime": 1_600_000_000,
        "aid": 0,
        "bvid": "",
        "cid": 0,
    }


def _video(site: Site, params: dict[str, str]) -> SiteVideo:
    try:
        aid = bv_to_av(params["bvid"]) if params.get("bvid") else number(params, "aid" if "aid" in params else "avid")
    except InvalidParams:
        raise Refusal(-400) from None
    video = site.catalogue.videos.get(aid)
    if video is None:
        raise Refusal(-404)
    if video.code:
        raise Refusal(video.code)
    return video


def _song(site: Site, params: dict[str, str]) -> SiteSong:
    song = site.catalogue.songs.get(number(params, "sid" if "sid" in params else "songid"))
    if song is None:
        raise Refusal(7201006)
    if song.code:
        raise Refusal(song.code)
    return song


def _episode(site: Site, params: dict[str, str]) -> tuple[SiteSeason, SiteEpisode | None]:
    if "season_id" in params:
        found = site.catalogue.seasons.get(number(params, "season_id"))
        if found is not None:
            return found, None
        raise Refusal(-404)
    wanted = number(params, "ep_id")
    for found in site.catalogue.seasons.values():
        for episode in found.episodes:
            if episode.ep_id == wanted:
                return found, episode
    raise Refusal(-404)


def _episode_entry(site: Site, episode: SiteEpisode) -> dict[str, Any]:
    video = site.catalogue.videos[episode.aid]
    return {
        "id": episode.ep_id,
        "aid": video.aid,
        "bvid": video.bvid,
        "cid": video.parts[0].cid,
        "title": episode.title,
        "long_title": episode.long_title,
        "badge": episode.badge,
        "cover": site.picture(f"/{video.aid}.jpg"),
        "pub_time": video.published,
        "duration": round(video.seconds * 1000),
        "share_copy": f"{episode.title} {episode.long_title}",
    }


def _owner(site: Site, person: Person) -> dict[str, Any]:
    return {"mid": person.mid, "name": person.name, "face": site.picture(f"/{person.mid}.jpg")}


def _pages(video: SiteVideo) -> list[dict[str, Any]]:
    return [
        {
            "cid": part.cid,
            "page": page,
            "from": "vupload",
            "part": part.title,
            "duration": round(part.seconds),
            "vid": "",
            "weblink": "",
        }
        for page, part in enumerate(video.parts, 1)
    ]


def _wants_dash(request: Request) -> bool:
    fnval = request.params.get("fnval", "1")
    return fnval.isdecimal() and bool(int(fnval) & 16)


def _streams(site: Site, video: SiteVideo, part: SitePart, *, level: Level, dash: bool) -> dict[str, Any]:
    length = video.preview or part.seconds
    data: dict[str, Any] = {
        "from": "local",
        "result": "suee",
        "quality": 64,
        "format": "flv720",
        "timelength": round(length * 1000),
        "accept_quality": [64, 32, 16],
        "accept_description": ["试看" if video.preview else "高清 720P"],
        "volume": _volume(video),
    }
    if video.old or not dash:
        return data | {"durl": _files(site, video, part)}
    allowed = [kind for kind in video.streams if kind in _ALLOWED[level]]
    plain = [_stream(site, video, part, kind) for kind in allowed if kind in {"low", "middle", "high"}]
    dolby = [_stream(site, video, part, kind) for kind in allowed if kind == "dolby"]
    flac = [_stream(site, video, part, kind) for kind in allowed if kind == "flac"]
    sound = {
        "duration": round(length),
        "minBufferTime": 1.5,
        "video": [],
        "audio": plain or None,
        "dolby": {"type": 2 if dolby else 0, "audio": dolby or None},
        "flac": {"display": "flac" in video.streams, "audio": flac[0]} if flac else None,
    }
    return data | {"dash": sound}


def _stream(site: Site, video: SiteVideo, part: SitePart, kind: StreamKind) -> dict[str, Any]:
    number_, codecs, bandwidth = _IDS[kind]
    main, backup = site.media(f"/upgcxcode/{part.cid}/{kind}.m4s")
    encrypted = {30216: 100008, 30232: 100009}.get(number_, 100010)
    return {
        "id": encrypted if video.encrypted else number_,
        "baseUrl": main,
        "base_url": main,
        "backupUrl": [backup, main],
        "backup_url": [backup, main],
        "bandwidth": bandwidth,
        "mimeType": "audio/mp4",
        "mime_type": "audio/mp4",
        "codecs": codecs,
        "codecid": 0,
        "SegmentBase": {"Initialization": "0-943", "indexRange": "944-1379"},
        "segment_base": {"initialization": "0-943", "index_range": "944-1379"},
    }


def _files(site: Site, video: SiteVideo, part: SitePart) -> list[dict[str, Any]]:
    files = []
    for order in range(1, video.segments + 1):
        main, backup = site.media(f"/upgcxcode/{part.cid}/muxed-{order}.mp4")
        length = round(part.seconds * 1000 / video.segments)
        files.append({"order": order, "length": length, "size": 0, "url": main, "backup_url": [backup]})
    return files


def _volume(video: SiteVideo) -> dict[str, Any] | None:
    if video.loudness is None:
        return None
    integrated, spread, peak = video.loudness
    return {
        "measured_i": integrated,
        "measured_lra": spread,
        "measured_tp": peak,
        "measured_threshold": integrated - 10,
        "target_offset": 0.1,
        "target_i": -14,
        "target_tp": -1,
    }
