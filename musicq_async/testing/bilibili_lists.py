"""The stand-in's answers about lists."""

from __future__ import annotations

from typing import Any, Final

from musicq_async.testing.bilibili_catalogue import SiteEntry, SiteFolder, SiteList, SiteVideo
from musicq_async.testing.bilibili_http import Reply, Request
from musicq_async.testing.bilibili_site import Refusal, Site, envelope, number, paged
from musicq_async.testing.bilibili_videos import song_entry

_GONE: Final = "已失效视频"


def folder_list(site: Site, request: Request) -> Reply:
    """Answer with a user's folders: all to the owner, the public ones to others."""
    mid = number(request.params, "up_mid")
    owner = site.person(request).mid == mid
    shown = [one for one in site.catalogue.folders.values() if one.owner.mid == mid and (owner or not one.private)]
    if not shown:
        return envelope(None)
    entries = [
        {
            "id": folder.media_id,
            "fid": folder.media_id // 100,
            "mid": mid,
            "attr": int(folder.private),
            "title": folder.title,
            "media_count": len(folder.entries),
        }
        for folder in shown
    ]
    return envelope({"count": len(entries), "list": entries})


def folder_entries(site: Site, request: Request) -> Reply:
    """Answer with one page of a folder, at most 20 entries."""
    folder = _folder(site, request)
    at, of = paged(request.params, page="pn", size="ps", largest=20)
    shown = folder.entries[(at - 1) * of : at * of]
    data = {
        "info": _folder_info(site, folder),
        "medias": [_media(site, entry) for entry in shown] or None,
        "has_more": at * of < len(folder.entries),
    }
    return envelope(data)


def folder_ids(site: Site, request: Request) -> Reply:
    """Answer with the ids of all entries."""
    videos = site.catalogue.videos
    return envelope(
        [
            {
                "id": entry.number,
                "type": entry.type,
                "bvid": videos[entry.number].bvid if entry.type == 2 and entry.number in videos else "",
            }
            for entry in _folder(site, request).entries
        ]
    )


def folder_info(site: Site, request: Request) -> Reply:
    """Answer with a folder's title and size."""
    return envelope(_folder_info(site, _folder(site, request)))


def collection(site: Site, request: Request) -> Reply:
    """Answer with one page of a collection of ``mid``."""
    found = _list(site.catalogue.collections, number(request.params, "season_id"))
    if found.owner.mid != number(request.params, "mid"):
        raise Refusal(-404)
    at, of = paged(request.params, page="page_num", size="page_size", largest=100)
    shown = found.aids[(at - 1) * of : at * of]
    meta = {"name": found.title, "mid": found.owner.mid, "total": len(found.aids), "season_id": found.number}
    page = {"page_num": at, "page_size": of, "total": len(found.aids)}
    return envelope({"aids": shown, "archives": _archives(site, shown), "meta": meta, "page": page})


def subscribed_collection(site: Site, request: Request) -> Reply:
    """Answer with a whole collection whose owner is not named."""
    found = _list(site.catalogue.collections, number(request.params, "season_id"))
    medias = [
        {
            "id": video.aid,
            "bvid": video.bvid,
            "title": video.title,
            "cover": site.picture(f"/{video.aid}.jpg"),
            "duration": round(video.seconds),
            "pubtime": video.published,
            "upper": {"mid": video.owner.mid, "name": video.owner.name},
        }
        for video in _videos(site, found.aids)
    ]
    return envelope({"info": {"id": found.number, "title": found.title, "media_count": len(medias)}, "medias": medias})


def series_info(site: Site, request: Request) -> Reply:
    """Answer with who owns a series."""
    found = _list(site.catalogue.series, number(request.params, "series_id"))
    meta = {"series_id": found.number, "mid": found.owner.mid, "name": found.title, "total": len(found.aids)}
    return envelope({"meta": meta})


def series(site: Site, request: Request) -> Reply:
    """Answer with one page of a series."""
    found = _list(site.catalogue.series, number(request.params, "series_id"))
    if found.owner.mid != number(request.params, "mid"):
        return envelope({"aids": [], "archives": [], "page": {"num": 1, "size": 30, "total": 0}})
    at, of = paged(request.params, page="pn", size="ps", largest=100)
    shown = found.aids[(at - 1) * of : at * of]
    page = {"num": at, "size": of, "total": len(found.aids)}
    return envelope({"aids": shown, "archives": _archives(site, shown), "page": page})


def all_lists(site: Site, request: Request) -> Reply:
    """Answer with a user's collections and series."""
    mid = number(request.params, "mid")
    at, of = paged(request.params, page="page_num", size="page_size", largest=20)
    seasons = [
        {"meta": {"season_id": one.number, "name": one.title, "mid": mid, "total": len(one.aids)}}
        for one in site.catalogue.collections.values()
        if one.owner.mid == mid
    ]
    plain = [
        {"meta": {"series_id": one.number, "name": one.title, "mid": mid, "total": len(one.aids)}}
        for one in site.catalogue.series.values()
        if one.owner.mid == mid
    ]
    total = len(seasons) + len(plain)
    page = {"page_num": at, "page_size": of, "total": total}
    first = at == 1
    lists = {"seasons_list": seasons if first else [], "series_list": plain if first else [], "page": page}
    return envelope({"items_lists": lists})


def uploads(site: Site, request: Request) -> Reply:
    """Answer with one page of an uploader's videos."""
    mid = number(request.params, "mid")
    at, of = paged(request.params, page="pn", size="ps", largest=50)
    found = site.catalogue.uploaded(mid)
    shown = found[(at - 1) * of : at * of]
    entries = [
        {
            "aid": video.aid,
            "bvid": video.bvid,
            "title": video.title,
            "author": video.owner.name,
            "mid": mid,
            "created": video.published,
            "length": f"{round(video.seconds) // 60:02}:{round(video.seconds) % 60:02}",
            "pic": site.picture(f"/{video.aid}.jpg"),
            "description": video.description,
            "meta": None,
        }
        for video in shown
    ]
    return envelope({"list": {"vlist": entries}, "page": {"pn": at, "ps": of, "count": len(found)}})


def watch_later(site: Site, request: Request) -> Reply:
    """Answer with the account's own list."""
    person = site.person(request)
    if person.level == "guest":
        raise Refusal(-101)
    videos = _videos(site, site.catalogue.watch_later.get(person.mid, []))
    entries = [
        {
            "aid": video.aid,
            "bvid": video.bvid,
            "cid": video.parts[0].cid,
            "title": video.title,
            "pic": site.picture(f"/{video.aid}.jpg"),
            "videos": len(video.parts),
            "duration": round(video.seconds),
            "pubdate": video.published,
            "add_at": 1_720_000_000,
            "owner": {"mid": video.owner.mid, "name": video.owner.name},
        }
        for video in videos
    ]
    return envelope({"count": len(entries), "list": entries})


def songs_of_menu(site: Site, request: Request) -> Reply:
    """Answer with one page of a song list."""
    auids = site.catalogue.menus.get(number(request.params, "sid"))
    if auids is None:
        raise Refusal(72000000)
    return _songs(site, request, auids)


def songs_of_user(site: Site, request: Request) -> Reply:
    """Answer with one page of a user's songs."""
    mid = number(request.params, "uid")
    return _songs(site, request, [song.auid for song in site.catalogue.songs.values() if song.owner.mid == mid])


def _songs(site: Site, request: Request, auids: list[int]) -> Reply:
    at, of = paged(request.params, page="pn", size="ps", largest=100)
    shown = [song_entry(site, site.catalogue.songs[auid]) for auid in auids[(at - 1) * of : at * of]]
    pages = -(-len(auids) // of)
    data = {"curPage": at, "pageCount": pages, "totalSize": len(auids), "pageSize": of, "data": shown}
    return envelope(data, message="msg")


def _folder(site: Site, request: Request) -> SiteFolder:
    folder = site.catalogue.folders.get(number(request.params, "media_id"))
    if folder is None:
        raise Refusal(11010)
    if folder.private and site.person(request).mid != folder.owner.mid:
        raise Refusal(-403)
    return folder


def _folder_info(site: Site, folder: SiteFolder) -> dict[str, Any]:
    return {
        "id": folder.media_id,
        "title": folder.title,
        "media_count": len(folder.entries),
        "cover": site.picture(f"/{folder.media_id}.jpg"),
        "upper": {"mid": folder.owner.mid, "name": folder.owner.name},
        "mtime": max((entry.added for entry in folder.entries), default=0),
    }


def _media(site: Site, entry: SiteEntry) -> dict[str, Any]:
    shared = {"id": entry.number, "type": entry.type, "attr": entry.attr, "fav_time": entry.added, "intro": ""}
    if entry.type == 12:
        song = site.catalogue.songs[entry.number]
        upper = {"mid": song.owner.mid, "name": song.owner.name}
        return shared | {"title": song.title, "duration": round(song.seconds), "page": 1, "upper": upper, "bvid": ""}
    if entry.type == 21:
        found = site.catalogue.collections[entry.number]
        upper = {"mid": found.owner.mid, "name": found.owner.name}
        return shared | {"title": found.title, "duration": 0, "page": 0, "upper": upper, "bvid": ""}
    video = site.catalogue.videos[entry.number]
    return shared | {
        "title": _GONE if entry.attr else video.title,
        "cover": site.picture(f"/{video.aid}.jpg"),
        "page": len(video.parts),
        "duration": round(video.seconds),
        "upper": {"mid": video.owner.mid, "name": video.owner.name},
        "pubtime": video.published,
        "ctime": video.published,
        "bvid": video.bvid,
        "bv_id": video.bvid,
        "ugc": {"first_cid": video.parts[0].cid},
    }


def _list(lists: dict[int, SiteList], wanted: int) -> SiteList:
    if wanted not in lists:
        raise Refusal(-404)
    return lists[wanted]


def _videos(site: Site, aids: list[int]) -> list[SiteVideo]:
    return [site.catalogue.videos[aid] for aid in aids if aid in site.catalogue.videos]


def _archives(site: Site, aids: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "aid": video.aid,
            "bvid": video.bvid,
            "title": video.title,
            "pic": site.picture(f"/{video.aid}.jpg"),
            "pubdate": video.published,
            "duration": round(video.seconds),
        }
        for video in _videos(site, aids)
    ]
