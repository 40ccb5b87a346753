"""Lists: favourites, collections, series, uploaders, watch later and song menus, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from musicq_async.bilibili.api import Api, Call
from musicq_async.bilibili.links import (
    AllFavourites,
    AllLists,
    Collection,
    Favourites,
    Link,
    Series,
    SongMenu,
    Space,
    SpaceAudio,
    WatchLater,
)
from musicq_async.bilibili.models import Folder, Item, ListPage, Owner
from musicq_async.bilibili.parsing import folder_page, folders, listed_video, song
from musicq_async.bilibili.reading import Reader
from musicq_async.errors import InvalidParams, LoginRequired, NotPermitted

_FOLDER_PAGE: Final = 20
_PAGE: Final = 30
_MENU_PAGE: Final = 100
_MAX_PAGES: Final = 10_000
_HIDDEN_COLLECTION: Final = 156

Pages = Callable[[int], Awaitable[ListPage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What one page of a list brings that the pages before it did not."""

    items: tuple[Item, ...]
    last_word: bool
    """Whether nothing new follows, if all of these are known."""


class Walk:
    """One list, to be read from where new entries come in.

    Some lists have the newest first. With a page ``size``, the list grows at its end, or nobody knows where: then the
    first page is read, and after it the last ones backwards.
    """

    def __init__(self, page: Pages, *, size: int | None = None) -> None:
        self._page = page
        self._size = size

    async def stretches(self, *, full: bool, seen: set[str] | None = None) -> AsyncIterator[Stretch]:
        """Yield page after page, each entry once, to the end; the caller leaves earlier where that is enough.

        ``full`` goes straight through. ``seen`` holds what was yielded, over several walks if it is given. Ends also
        when a page brings nothing new: pages shift while they are read, and a broken list may go on for ever.
        """
        seen = set() if seen is None else seen
        numbers = iter(range(1, _MAX_PAGES))
        backwards = False
        for number in numbers:
            page = await self._page(number)
            fresh = tuple(item for item in page.items if _identity(item) not in seen)
            seen.update(map(_identity, fresh))
            single = number == 1 and not page.more
            yield Stretch(items=fresh, last_word=not full and (self._size is None or backwards or single))
            if single or (not backwards and (not page.more or not fresh)):
                return
            if number == 1 and not full and self._size and page.total:
                backwards = True
                break
        if backwards and self._size and page.total:
            for number in range(min(-(-page.total // self._size), _MAX_PAGES), 1, -1):
                last = await self._page(number)
                fresh = tuple(item for item in last.items if _identity(item) not in seen)
                seen.update(map(_identity, fresh))
                yield Stretch(items=fresh, last_word=True)


class Lists:
    """The lists of the site as async iterators of items, the newest first where the site knows an order."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def items(self, link: Link) -> AsyncIterator[Item]:
        """Yield the entries of a list, each once; collections inside are opened, gone entries are marked."""
        async for item in self.entries(link):
            if item.kind != "collection" or item.gone:
                yield item
                continue
            async for inner in self.collection(item):
                yield inner

    async def entries(self, link: Link) -> AsyncIterator[Item]:
        """Yield the entries of a list as they stand in it."""
        seen: set[str] = set()
        for walk in await self.walks(link):
            async for stretch in walk.stretches(full=True, seen=seen):
                for item in stretch.items:
                    yield item

    async def walks(self, link: Link) -> list[Walk]:
        """Return the lists that a link stands for, to be walked through. Raises `InvalidParams` for no list."""
        match link:
            case AllFavourites(mid):
                return [Walk(self._favourites(folder.number)) for folder in await self.folders(mid)]
            case AllLists(mid):
                return [
                    Walk(
                        self._source(Series(one.number, mid) if one.series else Collection(one.number, mid)), size=_PAGE
                    )
                    for one in await self.lists_of(mid)
                ]
            case Collection() | Series():
                return [Walk(self._source(link), size=_PAGE)]
            case SongMenu():
                return [Walk(self._source(link), size=_MENU_PAGE)]
            case _:
                return [Walk(self._source(link))]

    def walk_of(self, item: Item) -> Walk:
        """Return the walk through a collection that stands in another list."""
        return Walk(self._collection(item.season_id or 0, item.uploader.mid or None), size=_PAGE)

    def _source(self, link: Link) -> Pages:
        match link:
            case Favourites(media_id):
                return self._favourites(media_id)
            case Collection(season_id, mid):
                return self._collection(season_id, mid)
            case Series(series_id, mid):
                return self._series(series_id, mid)
            case Space(mid):
                return self._space(mid)
            case SpaceAudio(mid):
                return self._space_audio(mid)
            case SongMenu(amid):
                return self._menu(amid)
            case WatchLater():
                return self._watch_later
        raise InvalidParams(f"{type(link).__name__} is not a list")

    async def collection(self, item: Item) -> AsyncIterator[Item]:
        """Yield the videos of a collection that stands in another list."""
        if item.season_id is None:
            return
        async for stretch in self.walk_of(item).stretches(full=True):
            for inner in stretch.items:
                yield inner

    async def page(self, link: Favourites, number: int) -> ListPage:
        """Return one page of a folder, newest favourite first: enough to see what is new."""
        return await self._favourites(link.media_id)(number)

    async def favourite_ids(self, media_id: int) -> list[tuple[int, int, str]]:
        """Return (type, id, BV id) of every entry of a folder in one cheap call."""
        params = {"media_id": media_id, "platform": "web"}
        data = await self._api.call(
            Call(path="/x/v3/fav/resource/ids", params=params, subject=f"favourites folder {media_id}")
        )
        entries = [Reader(entry) for entry in data] if isinstance(data, list) else []
        return [(entry.count("type"), entry.count("id"), entry.text("bvid", "bv_id")) for entry in entries]

    async def folders(self, mid: int) -> list[Folder]:
        """Return a user's folders, as far as the account may see them."""
        subject = f"the favourites of user {mid}"
        data = await self._api.call(
            Call(path="/x/v3/fav/folder/created/list-all", params={"up_mid": mid}, subject=subject)
        )
        if data is None:
            raise NotPermitted(f"{subject} are hidden; only their owner may see them")
        return folders(data)

    async def lists_of(self, mid: int) -> list[Folder]:
        """Return the collections and series of a user."""
        found: list[Folder] = []
        for number in range(1, _MAX_PAGES):
            params = {"mid": mid, "page_num": number, "page_size": 20}
            call = Call(
                path="/x/polymer/web-space/seasons_series_list", params=params, subject=f"the lists of user {mid}"
            )
            lists = Reader(await self._api.call(call)).inner("items_lists")
            page = [
                Folder(number=key, title=meta.text("name", "title"), count=meta.count("total"), series=series)
                for name, id_name, series in (("seasons_list", "season_id", False), ("series_list", "series_id", True))
                for entry in lists.each(name)
                if (key := (meta := entry.inner("meta")).integer(id_name))
            ]
            fresh = [one for one in page if one not in found]
            found += fresh
            if not fresh or len(found) >= lists.inner("page").count("total"):
                break
        return found

    def _favourites(self, media_id: int) -> Pages:
        async def page(number: int) -> ListPage:
            params = {
                "media_id": media_id,
                "pn": number,
                "ps": _FOLDER_PAGE,
                "order": "mtime",
                "type": 0,
                "tid": 0,
                "platform": "web",
            }
            subject = f"favourites folder {media_id}"
            return folder_page(
                await self._api.call(Call(path="/x/v3/fav/resource/list", params=params, subject=subject))
            )

        return page

    def _collection(self, season_id: int, mid: int | None) -> Pages:
        subject = f"collection {season_id}"

        async def page(number: int) -> ListPage:
            if mid is None:
                params: dict[str, object] = {"season_id": season_id}
                data = Reader(
                    await self._api.call(Call(path="/x/space/fav/season/list", params=params, subject=subject))
                )
                return ListPage(items=_videos(data.each("medias")), title=data.inner("info").text("title"))
            params = {
                "mid": mid,
                "season_id": season_id,
                "sort_reverse": "false",
                "page_num": number,
                "page_size": _PAGE,
            }
            path = "/x/polymer/web-space/seasons_archives_list"
            data = Reader(await self._api.call(Call(path=path, params=params, subject=subject)))
            return _archive_page(data, number, title=data.inner("meta").text("name"), mid=mid)

        return page

    def _series(self, series_id: int, mid: int | None) -> Pages:
        subject = f"series {series_id}"
        owner = mid

        async def page(number: int) -> ListPage:
            nonlocal owner
            if owner is None:
                meta = await self._api.call(
                    Call(path="/x/series/series", params={"series_id": series_id}, subject=subject)
                )
                owner = Reader(meta).inner("meta").count("mid")
            params = {"mid": owner, "series_id": series_id, "only_normal": "true", "pn": number, "ps": _PAGE}
            data = Reader(await self._api.call(Call(path="/x/series/archives", params=params, subject=subject)))
            return _archive_page(data, number, mid=owner)

        return page

    def _space(self, mid: int) -> Pages:
        async def page(number: int) -> ListPage:
            params = {
                "mid": mid,
                "ps": _PAGE,
                "pn": number,
                "tid": 0,
                "order": "pubdate",
                "keyword": "",
                "platform": "web",
                "web_location": "333.1387",
            }
            call = Call(
                path="/x/space/wbi/arc/search",
                params=params,
                subject=f"the videos of user {mid}",
                signed=True,
                guarded=True,
            )
            data = Reader(await self._api.call(call))
            items = tuple(item for entry in data.inner("list").each("vlist") if (item := _uploaded(entry)))
            return ListPage(items=items, more=_more(data.inner("page"), number))

        return page

    def _space_audio(self, mid: int) -> Pages:
        async def page(number: int) -> ListPage:
            params = {"uid": mid, "pn": number, "ps": _PAGE, "order": 1}
            call = Call(path="/audio/music-service/web/song/upper", params=params, subject=f"the songs of user {mid}")
            return _song_page(Reader(await self._api.call(call)), number)

        return page

    def _menu(self, amid: int) -> Pages:
        async def page(number: int) -> ListPage:
            params = {"sid": amid, "pn": number, "ps": _MENU_PAGE}
            path = "/audio/music-service-c/web/song/of-menu"
            return _song_page(
                Reader(await self._api.call(Call(host="www", path=path, params=params, subject=f"am{amid}"))), number
            )

        return page

    async def _watch_later(self, _number: int) -> ListPage:
        call = Call(path="/x/v2/history/toview/web", subject="the watch-later list")
        try:
            data = Reader(await self._api.call(call))
        except InvalidParams as error:
            raise LoginRequired("the watch-later list needs a login") from error
        return ListPage(items=_videos(data.each("list")), total=data.integer("count"))


def _identity(item: Item) -> str:
    return item.bvid or item.key


def _videos(entries: list[Reader]) -> tuple[Item, ...]:
    return tuple(item for entry in entries if (item := listed_video(entry, added=entry.integer("add_at", "fav_time"))))


def _archive_page(data: Reader, number: int, *, mid: int, title: str = "") -> ListPage:
    found = [listed_video(entry, uploader=Owner(mid=mid)) for entry in data.each("archives")]
    page = data.inner("page")
    return ListPage(
        items=tuple(item for item in found if item), more=_more(page, number), title=title, total=page.integer("total")
    )


def _song_page(data: Reader, number: int) -> ListPage:
    songs = [song(entry.fields, entry.count("id")) for entry in data.each("data") if entry.count("id")]
    return ListPage(items=tuple(songs), more=number < data.count("pageCount"), total=data.integer("totalSize"))


def _uploaded(entry: Reader) -> Item | None:
    uploader = Owner(mid=entry.count("mid"), name=entry.text("author"))
    meta = entry.inner("meta")
    if meta.integer("attribute") == _HIDDEN_COLLECTION and (number := meta.integer("id")):
        return Item(kind="collection", title=meta.text("title"), season_id=number, uploader=uploader)
    return listed_video(entry, uploader=uploader)


def _more(page: Reader, number: int) -> bool:
    size = page.count("page_size", "size", "ps") or _PAGE
    return number * size < page.count("total", "count")
