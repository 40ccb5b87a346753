"""`BilibiliClient`: what is behind a link, and where its sound is."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urljoin, urlsplit

from musicq_async.bilibili.api import Api, Call, nav_call
from musicq_async.bilibili.credentials import Credentials, parse_cookie
from musicq_async.bilibili.hosts import MediaHosts, split_address
from musicq_async.bilibili.links import (
    SHORT_HOSTS,
    Episode,
    Link,
    Media,
    Season,
    ShortLink,
    Song,
    Video,
    parse_link,
)
from musicq_async.bilibili.lists import Lists
from musicq_async.bilibili.login import Login
from musicq_async.bilibili.models import Account, Item, Music, PlayerInfo, VideoInfo
from musicq_async.bilibili.pacing import alone
from musicq_async.bilibili.parsing import account, episodes, music, player_info, song, subtitle_lines, video_info
from musicq_async.bilibili.reading import Reader
from musicq_async.bilibili.streams import (
    SONG_GRADES,
    AudioChoice,
    Offer,
    Quality,
    choose,
    parse_quality,
    read_offer,
    refuse_preview,
    song_choice,
)
from musicq_async.bilibili.transport import REFERER, USER_AGENT, Transport
from musicq_async.errors import (
    AnswerNotUnderstood,
    InvalidParams,
    LoginRequired,
    NotPermitted,
    SourceError,
    SourceUnavailable,
    WorkGone,
)
from musicq_async.ports import Clock, PublicStore
from musicq_async.settings import BilibiliSettings, HttpSettings

_MAX_HOPS: Final = 5
_MAX_FORWARDS: Final = 3
_EVERYTHING: Final = 4048
_AUDIO_ZONE: Final = "/audio/music-service-c"


class BilibiliClient:
    """One account's access to the site; an async context manager, shared by all who use the account.

    ``cookie`` is asked before every call, so that a login is seen at once. Calls raise the `SourceError` that the
    site's answer means; `RiskControl` and `RateLimited` bring ``retry_after``. Cancelling a call closes its request.
    ``patience`` is how often a call waits when the site asks for fewer, where nobody would try it again later.
    ``sharers`` tells how many processes use the account and so share its pace.
    """

    def __init__(
        self,
        settings: BilibiliSettings,
        http: HttpSettings,
        *,
        clock: Clock,
        cookie: Callable[[], Awaitable[str | None]],
        store: PublicStore,
        draw: Callable[[], float] = random.random,
        patience: int = 0,
        sharers: Callable[[], int] = alone,
    ) -> None:
        self._settings = settings
        self._cookie = cookie
        self._parsed: tuple[str | None, Credentials] = (None, parse_cookie(None))
        self._transport = Transport(http)
        self.media_hosts: MediaHosts = MediaHosts(extra=settings.media_hosts)
        """Where media and pictures may come from."""
        self.media_headers: dict[str, str] = {"User-Agent": USER_AGENT, "Referer": REFERER}
        """To be sent to the media hosts. Never a cookie."""
        self.api = Api(
            settings,
            self._transport,
            clock=clock,
            store=store,
            credentials=self.credentials,
            draw=draw,
            patience=patience,
            sharers=sharers,
        )
        self.lists = Lists(self.api)
        self.login = Login(self.api, clock=clock)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def credentials(self) -> Credentials:
        """Return the account's cookies as they are now."""
        text = await self._cookie() or self._settings.cookie
        if text != self._parsed[0]:
            self._parsed = (text, parse_cookie(text))
        return self._parsed[1]

    async def whoami(self) -> Account:
        """Return whose session it is; a guest's, if the cookie is missing or dead."""
        return account(await self.api.call(nav_call()))

    def parse(self, text: str) -> Link:
        """Parse a link; addresses under the configured bases count as the site's. Raises `InvalidParams`."""
        for candidate in self._canonical(text):
            try:
                return parse_link(candidate)
            except InvalidParams as error:
                refusal = error
        raise refusal

    async def resolve(self, link: Link | str) -> list[Item]:
        """Return all that a link stands for: each part of a video, each entry of a list.

        Raises `InvalidParams` for a link that is none, or a part that the video has not.
        """
        return [item async for item in self.items(link)]

    async def items(self, link: Link | str) -> AsyncIterator[Item]:
        """Yield what a link stands for as the pages of a list come in. Collections inside a list are opened."""
        link = await self.follow(self.parse(link) if isinstance(link, str) else link)
        match link:
            case Video(bvid, part):
                found = _part(await self.video(bvid), part)
            case Song(auid):
                found = [await self.song(auid)]
            case Episode() | Season() | Media():
                found = await self.season(link)
            case _:
                async for item in self.lists.items(link):
                    yield self._checked(item)
                return
        for item in found:
            yield item

    async def follow(self, link: Link) -> Link:
        """Return where a short link leads; any other link as it is."""
        if not isinstance(link, ShortLink):
            return link
        address = f"{self._settings.short_url.rstrip('/')}/{link.code}"
        for _ in range(_MAX_HOPS):
            answer = await self.api.whole(address)
            location = answer.headers.get("location", "")
            if answer.status in {412, 429} or answer.status >= 500:
                raise SourceUnavailable(f"the short link cannot be followed now (HTTP {answer.status})")
            if answer.status not in {301, 302, 303, 307, 308} or not location:
                raise WorkGone(f"the short link {link.code} leads nowhere; it may have expired")
            target = urljoin(address, location)
            try:
                found = self.parse(target)
            except InvalidParams as error:
                address = self._next_hop(target, error)
                continue
            if not isinstance(found, ShortLink):
                return found
            address = f"{self._settings.short_url.rstrip('/')}/{found.code}"
        raise WorkGone(f"the short link {link.code} leads from one address to the next without end")

    async def video(self, bvid: str) -> list[Item]:
        """Return the parts of a video; an episode where the video is the page of one."""
        info = await self._view({"bvid": bvid}, subject=bvid)
        for _ in range(_MAX_FORWARDS):
            if info.forward is None or info.forward == info.aid:
                break
            info = await self._view({"aid": info.forward}, subject=f"av{info.forward}")
        if info.ep_id is not None:
            return await self.season(Episode(info.ep_id))
        if not info.parts:
            raise AnswerNotUnderstood(f"the site names no part of {bvid}")
        return [self._checked(item) for item in info.items()]

    async def expand(self, item: Item) -> list[Item]:
        """Return an entry of a list as what can be fetched: its parts where it has several, itself where it is whole.

        Raises `WorkGone` for what the list already marks as gone.
        """
        if item.gone:
            raise WorkGone(f"{item.title or item.link} was removed from the site")
        if item.kind == "collection":
            return [self._checked(one) async for one in self.lists.collection(item)]
        if item.kind == "song" or item.cid is not None:
            return [item]
        if item.bvid is None:
            raise AnswerNotUnderstood("the list names no id for one of its entries")
        return [replace(part, added=item.added) for part in await self.video(item.bvid)]

    def restored(self, saved: dict[str, Any]) -> Item:
        """Return an item that was kept with a task; its picture is trusted no more than a new one's."""
        return self._checked(Item.restored(saved))

    async def season(self, link: Episode | Season | Media) -> list[Item]:
        """Return the episodes of a season, or the one that is asked for."""
        if isinstance(link, Media):
            path, params = "/pgc/review/user", {"media_id": link.media_id}
            found = Reader(await self.api.call(Call(path=path, params=params, subject=f"md{link.media_id}")))
            number = found.inner("media").integer("season_id")
            if number is None:
                raise WorkGone(f"md{link.media_id} has no episodes")
            link = Season(number)
        one = isinstance(link, Episode)
        params = {"ep_id": link.ep_id} if isinstance(link, Episode) else {"season_id": link.season_id}
        subject = f"ep{link.ep_id}" if isinstance(link, Episode) else f"ss{link.season_id}"
        result = await self.api.call(Call(path="/pgc/view/web/season", params=params, subject=subject))
        found_items = [self._checked(item) for item in episodes(result, trailers=one)]
        if isinstance(link, Episode):
            found_items = [item for item in found_items if item.ep_id == link.ep_id]
        if not found_items:
            raise WorkGone(f"{subject} has no episode that can be played")
        return found_items

    async def song(self, auid: int) -> Item:
        """Return a song of the audio zone."""
        data = await self._zone("/song/info", {"sid": auid}, subject=f"au{auid}")
        if not Reader(data):
            raise WorkGone(f"au{auid} was removed or never existed")
        return self._checked(song(data, auid))

    async def tags(self, item: Item) -> tuple[str, ...]:
        """Return the tags of a video; none if the site does not say."""
        if item.bvid is None:
            return ()
        call = Call(path="/x/tag/archive/tags", params={"bvid": item.bvid}, subject=f"the tags of {item.bvid}")
        try:
            data = await self.api.call(call)
        except (SourceError, InvalidParams):
            return ()
        entries = data if isinstance(data, list) else []
        return tuple(name for entry in entries if (name := Reader(entry).text("tag_name")))

    async def player(self, item: Item) -> PlayerInfo:
        """Return subtitles, chapters and the recognised song of a part."""
        if item.cid is None or item.bvid is None:
            return PlayerInfo()
        params = {"bvid": item.bvid, "cid": item.cid}
        call = Call(path="/x/player/wbi/v2", params=params, subject=item.bvid, signed=True)
        return player_info(await self.api.call(call), cid=item.cid)

    async def music(self, music_id: str) -> Music:
        """Return a recognised song."""
        params = {"music_id": music_id, "relation_from": "bgm_page"}
        call = Call(path="/x/copyright-music-publicity/bgm/detail", params=params, subject=f"the song {music_id}")
        return music(await self.api.call(call), music_id)

    async def text(self, address: str) -> str:
        """Fetch lyrics or a subtitle from a media host: LRC text, or a subtitle document turned into it."""
        address = "https:" + address if address.startswith("//") else address
        if not self.media_hosts.allow(address):
            raise NotPermitted(f"{urlsplit(address).hostname} is no media host of the site")
        answer = await self.api.whole(address)
        if answer.status != 200:
            raise WorkGone(f"the text at {urlsplit(address).hostname} is not there (HTTP {answer.status})")
        return _as_lines(answer.body)

    async def lyrics(self, item: Item, *, automatic: bool = False, player: PlayerInfo | None = None) -> str | None:
        """Return the words of an item as LRC text: a song's own, or a video's subtitles; ``None`` if there are none.

        ``player`` is what `player` has said, if it was asked before. Subtitles that a machine heard are left out
        unless ``automatic``. Guests see no subtitles.
        """
        if item.kind == "song":
            return await self.text(item.lyric_url) or None if item.lyric_url else None
        shown = (player or await self.player(item)).subtitles
        for track in sorted(shown, key=lambda track: track.automatic):
            if track.automatic and not automatic:
                break
            if lines := await self.text(track.address):
                return lines
        return None

    async def audio(self, item: Item, quality: Quality | str = "best") -> AudioChoice:
        """Return where the sound of an item is, for `quality` or the nearest that the account may have.

        The addresses die at ``expires_at``: ask again then. Raises `NotPermitted` where only a preview is offered,
        `EncryptedStream`, `NoAudioStream`, `WorkGone`, `InvalidParams` for an unknown quality.
        """
        wanted = parse_quality(quality)
        if item.gone or item.kind == "collection" or (item.cid is None and item.kind != "song"):
            item = (await self.expand(item))[0]
        match item.kind:
            case "song":
                choice = await self._song_audio(item, wanted)
            case "episode":
                choice = self._chosen(await self._episode_offer(item), item, wanted)
            case _:
                choice = self._chosen(await self._video_offer(item), item, wanted)
        return replace(choice, headers=tuple(self.media_headers.items()))

    def _chosen(self, offer: Offer, item: Item, quality: Quality) -> AudioChoice:
        refuse_preview(offer, expected=item.duration)
        return choose(offer, quality)

    async def _view(self, params: dict[str, object], *, subject: str) -> VideoInfo:
        return video_info(await self.api.call(Call(path="/x/web-interface/view", params=params, subject=subject)))

    async def _video_offer(self, item: Item) -> Offer:
        params = {"bvid": item.bvid, "cid": item.cid, "fnval": _EVERYTHING, "fnver": 0, "fourk": 1, "qn": 127}
        data = await self.api.call(Call(path="/x/player/playurl", params=params, subject=str(item.bvid)))
        return read_offer(data, hosts=self.media_hosts)

    async def _episode_offer(self, item: Item) -> Offer:
        params = {"ep_id": item.ep_id, "cid": item.cid, "fnval": _EVERYTHING, "fnver": 0, "fourk": 1, "qn": 127}
        call = Call(path="/pgc/player/web/v2/playurl", params=params, subject=f"ep{item.ep_id}")
        result = Reader(await self.api.call(call))
        _refuse_locked(result, subject=call.subject)
        return read_offer((result.inner("video_info") or result).fields, hosts=self.media_hosts)

    async def _song_audio(self, item: Item, quality: Quality) -> AudioChoice:
        data = await self._entitled_song(item, quality) or Reader(
            await self._zone("/url", {"sid": item.auid, "quality": 2, "privilege": 2}, subject=item.key)
        )
        if data.integer("type") == -1:
            raise NotPermitted(f"only a trial of {item.key} is offered to this account")
        return song_choice(data, quality, hosts=self.media_hosts, duration=item.duration)

    async def _entitled_song(self, item: Item, quality: Quality) -> Reader | None:
        """Ask for what an account may have beyond a guest; ``None`` where that is nothing."""
        credentials = await self.credentials()
        if not credentials.logged_in:
            return None
        params = {
            "songid": item.auid,
            "quality": SONG_GRADES[quality],
            "privilege": 2,
            "mid": credentials.cookies.get("DedeUserID", ""),
            "platform": "web",
        }
        call = Call(path=f"{_AUDIO_ZONE}/url", params=params, subject=item.key)
        try:
            data = Reader(await self.api.call(call))
        except (NotPermitted, LoginRequired, AnswerNotUnderstood, InvalidParams):
            return None
        return data if data.texts("cdns") and data.integer("type") != -1 else None

    async def _zone(self, path: str, params: dict[str, object], *, subject: str) -> Any:
        call = Call(host="www", path=f"{_AUDIO_ZONE}/web{path}", params=params, subject=subject)
        return await self.api.call(call)

    def _checked(self, item: Item) -> Item:
        """Drop a picture that comes from a foreign host."""
        return replace(item, cover=self.media_hosts.picture(item.cover)) if item.cover else item

    def _canonical(self, text: str) -> list[str]:
        """Write addresses under a configured base as the site's own: once for each base that they could be under."""
        bases = (
            (self._settings.www_url, "https://www.bilibili.com/"),
            (self._settings.short_url, "https://b23.tv/"),
        )
        return [str(text).replace(base.rstrip("/") + "/", own) for base, own in bases]

    def _next_hop(self, target: str, refusal: InvalidParams) -> str:
        """Return the address to ask for a redirect that stays on the site. Raises ``refusal`` for any other."""
        parts = split_address(target)
        host = (parts.hostname or "") if parts else ""
        inside = host in SHORT_HOSTS or host == "bilibili.com" or host.endswith(".bilibili.com")
        if parts is None or parts.scheme != "https" or not inside or parts.path in {"", "/"}:
            raise refusal
        base = self._settings.short_url if host in SHORT_HOSTS else self._settings.www_url
        query = f"?{parts.query}" if parts.query else ""
        return f"{base.rstrip('/')}{parts.path}{query}" if host in {*SHORT_HOSTS, "www.bilibili.com"} else target


def _part(items: list[Item], part: int | None) -> list[Item]:
    if part is None:
        return items
    found = [item for item in items if item.page == part]
    if not found and items[0].kind == "video":
        raise InvalidParams(f"{items[0].bvid} has {len(items)} part(s), not a part {part}")
    return found or items


def _refuse_locked(result: Reader, *, subject: str) -> None:
    for plugin in result.each("plugins"):
        if plugin.text("name") == "AreaLimitPanel" and plugin.inner("config").flag("is_block"):
            raise NotPermitted(f"{subject} is not offered in this region")
    detail = result.inner("play_check").text("play_detail") or result.text("play_detail")
    kind = result.text("play_video_type") or result.inner("video_info").text("play_video_type")
    preview = result.inner("video_info").flag("is_preview")
    if detail == "PLAY_NONE" or kind == "none":
        raise LoginRequired(f"{subject} is for members, or for those who are logged in")
    if detail == "PLAY_PREVIEW" or kind == "preview" or preview:
        raise NotPermitted(f"only a preview of {subject} is offered to this account")


def _as_lines(body: bytes) -> str:
    import json  # noqa: PLC0415

    text = body.decode("utf-8-sig", "replace")
    if not text.lstrip().startswith("{"):
        return text
    try:
        return subtitle_lines(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise AnswerNotUnderstood("the subtitle is not what the site usually sends") from error
