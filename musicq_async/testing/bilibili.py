"""`StandInBilibili`: a Bilibili on loopback that behaves as the real one does, and misbehaves on demand."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from anyio.abc import SocketAttribute

from musicq_async.testing import bilibili_accounts as accounts
from musicq_async.testing import bilibili_lists as lists
from musicq_async.testing import bilibili_sound as sound
from musicq_async.testing import bilibili_videos as videos
from musicq_async.testing.bilibili_catalogue import ALL_STREAMS, FAN, Catalogue, Person, demo_catalogue
from musicq_async.testing.bilibili_http import Fault, FaultPlan, Host, Reply, Request
from musicq_async.testing.bilibili_site import Refusal, Site, refused

HOSTS: Final = ("api", "www", "passport", "short", "image", "cdn", "backup")

Endpoint = Callable[[Site, Request], Reply]

_API: Final[dict[str, Endpoint]] = {
    "/x/web-interface/nav": accounts.nav,
    "/x/frontend/finger/spi": accounts.device,
    "/x/web-interface/view": videos.view,
    "/x/web-interface/wbi/view": videos.view,
    "/x/player/pagelist": videos.pagelist,
    "/x/tag/archive/tags": videos.tags,
    "/x/player/playurl": videos.playurl,
    "/x/player/wbi/playurl": videos.playurl,
    "/x/player/wbi/v2": videos.player,
    "/x/copyright-music-publicity/bgm/detail": videos.recognised,
    "/pgc/view/web/season": videos.season,
    "/pgc/review/user": videos.media_page,
    "/pgc/player/web/v2/playurl": videos.episode_playurl,
    "/x/v3/fav/folder/created/list-all": lists.folder_list,
    "/x/v3/fav/resource/list": lists.folder_entries,
    "/x/v3/fav/resource/ids": lists.folder_ids,
    "/x/v3/fav/folder/info": lists.folder_info,
    "/x/polymer/web-space/seasons_archives_list": lists.collection,
    "/x/space/fav/season/list": lists.subscribed_collection,
    "/x/series/series": lists.series_info,
    "/x/series/archives": lists.series,
    "/x/polymer/web-space/seasons_series_list": lists.all_lists,
    "/x/space/wbi/arc/search": lists.uploads,
    "/x/v2/history/toview/web": lists.watch_later,
    "/audio/music-service/web/song/upper": lists.songs_of_user,
    "/audio/music-service-c/url": videos.song_url,
}
_WWW: Final[dict[str, Endpoint]] = {
    "/audio/music-service-c/web/song/info": videos.song_info,
    "/audio/music-service-c/web/song/lyric": videos.song_lyric,
    "/audio/music-service-c/web/url": videos.song_url,
    "/audio/music-service-c/web/song/of-menu": lists.songs_of_menu,
}
_PASSPORT: Final[dict[str, Endpoint]] = {
    "/x/passport-login/web/qrcode/generate": accounts.qr_generate,
    "/x/passport-login/web/qrcode/poll": accounts.qr_poll,
    "/x/passport-login/web/cookie/info": accounts.cookie_info,
    "/x/passport-login/web/cookie/refresh": accounts.cookie_refresh,
    "/x/passport-login/web/confirm/refresh": accounts.confirm_refresh,
}
# Where a missing signature passes, although a wrong one does not.
_SIGNATURE_OPTIONAL: Final = frozenset({"/x/player/wbi/v2"})
_SIGNATURE_BY_RISK: Final = frozenset({"/x/space/wbi/arc/search"})
_PLAYERS: Final = re.compile(r"python|httpx|aiohttp|curl|wget|^$", re.IGNORECASE)
_MEDIA: Final = re.compile(r"/upgcxcode/(\d+)/(low|middle|high|flac|dolby|muxed-\d+)\.(?:m4s|mp4)")
_SONG: Final = re.compile(r"/ugaxcode/au(\d+)\.m4a")
_PICTURE: Final = re.compile(r"/bfs/archive/(\d+)\.jpg(?:@(\d+)w.*)?")
_SUBTITLE: Final = re.compile(r"/bfs/subtitle/(\d+)-(\d+)\.json")
_LYRICS: Final = re.compile(r"/bfs/lyric/(\d+)\.lrc")
_RANGES: Final = (("Accept-Ranges", "bytes"),)
_NOT_FOUND: Final = Reply(status=404, body=b"404 Not Found")
_FORBIDDEN: Final = Reply(status=403, body=b"403 Forbidden")


class StandInBilibili:
    """The site on loopback, each of its hosts on a port of its own; an async context manager.

    ``catalogue`` says what there is (by default what ``demo`` shows) and may be changed at any time.
    ``requests`` holds every request as it came. ``fail`` plans faults. Needs the ``media`` extra to make sound.
    """

    def __init__(self, catalogue: Catalogue | None = None, *, now: Callable[[], float] = time.time) -> None:
        self.catalogue = catalogue or demo_catalogue()
        self.site = Site(self.catalogue, now=now)
        self.requests: list[Request] = []
        self._faults = FaultPlan()
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            listeners = []
            for _ in HOSTS:
                listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0, backlog=256)
                listeners.append(await opening.enter_async_context(listener))
            group = await opening.enter_async_context(anyio.create_task_group())
            opening.callback(group.cancel_scope.cancel)
            for name, listener in zip(HOSTS, listeners, strict=True):
                host = Host(name, answer=self._answer, faults=self._faults, record=self.requests, now=self._now)
                group.start_soon(listener.serve, host.serve)
                port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - not a database
                self.site.addresses[name] = f"http://127.0.0.1:{port}"
            self._closing = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Without the caller's error: the task group would wrap it.
        await self._closing.aclose()

    def settings(self, **bilibili: Any) -> dict[str, Any]:
        """Return the sections of ``Settings`` that lead here, for ``Settings(**server.settings(...))``."""
        addresses = self.site.addresses
        media = tuple(urlsplit(addresses[name]).netloc for name in ("cdn", "backup", "image"))
        section = {f"{name}_url": addresses[name] for name in ("api", "www", "passport", "short")}
        return {
            "bilibili": {**section, "media_hosts": media, "api_rate": 1000.0, **bilibili},
            "http": {"allow_private": True},
        }

    def environment(self, **bilibili: Any) -> dict[str, str]:
        """Return the same as environment variables, for another process."""
        return {
            f"MUSICQ_{section}__{name}".upper(): " ".join(value) if isinstance(value, tuple) else str(value)
            for section, values in self.settings(**bilibili).items()
            for name, value in values.items()
        }

    def fail(
        self, path_pattern: str, *, with_: Fault, times: int | None = 1, host: str | None = None, after: int = 0
    ) -> None:
        """Spoil ``times`` requests (``None``: all) whose path fits a shell pattern, once ``after`` of them passed."""
        self._faults.add(path_pattern, with_, times=times, host=host, after=after)

    def heal(self) -> None:
        """Forget all planned faults."""
        self._faults.clear()

    def cookie(self, level: str = "member", *, person: Person = FAN) -> str:
        """Begin a session for ``person`` at a level (free or member); return its Cookie header."""
        return self.site.cookie(
            Person(mid=person.mid, name=person.name, level="member" if level == "member" else "free")
        )

    def login(self, level: str = "member", *, person: Person = FAN) -> str:
        """Begin a session that can be renewed; return it as ``login`` keeps it: cookies and refresh token."""
        cookie = self.cookie(level, person=person)
        token = f"refresh-token-{len(self.site.refresh_tokens)}-of-the-stand-in"
        self.site.refresh_tokens[token] = list(self.site.sessions)[-1]
        return f"{cookie}; ac_time_value={token}"

    def asked(self, *hosts: str, path: str = "") -> list[Request]:
        """Return the requests to some hosts (all by default) whose path begins so."""
        wanted = hosts or HOSTS
        return [request for request in self.requests if request.host in wanted and request.path.startswith(path)]

    async def sound_of(self, cid: int, kind: sound.StreamKind) -> bytes:
        """Return the very bytes that a stream serves."""
        video, part = self.catalogue.parts[cid]
        return await anyio.to_thread.run_sync(sound.stream, kind, part.notes, video.preview or part.seconds)

    def _now(self) -> float:
        return self.site.now()  # asked each time: a test may put another clock in its place

    async def _answer(self, request: Request) -> Reply:
        match request.host:
            case "api":
                return self._api(request)
            case "passport":
                return _call(self.site, _PASSPORT, request)
            case "www":
                return self._www(request)
            case "short":
                address = self.catalogue.short.get(request.path.strip("/"))
                return Reply(status=302, headers=(("Location", address),)) if address else _NOT_FOUND
            case "image":
                return await self._image(request)
            case _:
                return await self._media(request)

    def _api(self, request: Request) -> Reply:
        if _PLAYERS.search(request.headers.get("user-agent", "")):
            return Reply(status=412, body=b'{"code":-412,"message":"request was banned","ttl":1,"data":null}')
        if "/wbi/" in request.path and not self._signed(request):
            risk = request.path in _SIGNATURE_BY_RISK
            return refused(Refusal(-352, data={"v_voucher": "voucher_stand_in"}) if risk else Refusal(-403))
        return _call(self.site, _API, request)

    def _signed(self, request: Request) -> bool:
        if "w_rid" not in request.params and request.path in _SIGNATURE_OPTIONAL:
            return True
        return self.site.signature_fits(request.query)

    def _www(self, request: Request) -> Reply:
        if request.path.startswith("/video/"):
            return Reply(status=412, body=b"<html><script>challenge()</script></html>")
        if request.path.startswith("/correspond/1/"):
            return _call(self.site, {request.path: accounts.correspond}, request)
        return _call(self.site, _WWW, request)

    async def _image(self, request: Request) -> Reply:
        referer = urlsplit(request.headers.get("referer", "")).hostname or ""
        if referer and referer != "bilibili.com" and not referer.endswith(".bilibili.com"):
            return _FORBIDDEN
        if found := _PICTURE.fullmatch(request.path):
            size = min(int(found[2] or 320), 1200)
            picture = await anyio.to_thread.run_sync(sound.cover, int(found[1]) % 64, size)
            return Reply(body=picture, headers=(("Content-Type", "image/jpeg"), *_RANGES))
        return self._text(request)

    def _text(self, request: Request) -> Reply:
        if (found := _LYRICS.fullmatch(request.path)) and (song := self.catalogue.songs.get(int(found[1]))):
            return Reply(body=song.lyrics.encode(), headers=(("Content-Type", "text/plain"),))
        if (found := _SUBTITLE.fullmatch(request.path)) and (video := self.catalogue.videos.get(int(found[1]))):
            lines = [
                {"from": start, "to": end, "location": 2, "content": text}
                for start, end, text in video.subtitles[int(found[2])][2]
            ]
            return Reply(body=json.dumps({"font_size": 0.4, "body": lines}).encode())
        return _NOT_FOUND

    async def _media(self, request: Request) -> Reply:
        referer = urlsplit(request.headers.get("referer", "")).hostname or ""
        known = referer == "bilibili.com" or referer.endswith(".bilibili.com")
        if not known or not request.headers.get("user-agent") or not self.site.media_allowed(request):
            return _FORBIDDEN
        body = await self._media_bytes(request.path)
        if body is None:
            return _NOT_FOUND
        return Reply(body=body, headers=(("Content-Type", "audio/mp4"), *_RANGES))

    async def _media_bytes(self, path: str) -> bytes | None:
        if (found := _SONG.fullmatch(path)) and (song := self.catalogue.songs.get(int(found[1]))):
            return await anyio.to_thread.run_sync(sound.song_file, song.notes, song.seconds)
        if not (found := _MEDIA.fullmatch(path)) or int(found[1]) not in self.catalogue.parts:
            return None
        video, part = self.catalogue.parts[int(found[1])]
        if found[2].startswith("muxed"):
            return await anyio.to_thread.run_sync(sound.muxed, part.notes, part.seconds / video.segments)
        kind = next(kind for kind in ALL_STREAMS if kind == found[2])
        return await self.sound_of(part.cid, kind)


def _call(site: Site, endpoints: dict[str, Endpoint], request: Request) -> Reply:
    endpoint = endpoints.get(request.path)
    if endpoint is None:
        return _NOT_FOUND
    try:
        return endpoint(site, request)
    except Refusal as refusal:
        return refused(refusal, message="msg" if request.path.startswith("/audio/") else "message")
