"""Lists against the stand-in site."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from musicq_async import errors
from musicq_async.bilibili.client import BilibiliClient
from musicq_async.bilibili.links import Favourites
from musicq_async.testing.bilibili import StandInBilibili
from musicq_async.testing.bilibili_catalogue import FAN, UPLOADER, SiteEntry, SiteFolder, SiteList
from musicq_async.testing.bilibili_http import Fault

pytestmark = pytest.mark.anyio

PAGE = "/x/v3/fav/resource/list"


async def test_a_large_folder_comes_page_by_page_with_what_each_entry_is(
    guest: BilibiliClient, server: StandInBilibili
) -> None:
    server.catalogue.fill_folder(media_id=9907, count=1500, owner=FAN)
    items = await guest.resolve("https://space.bilibili.com/70707/favlist?fid=9907")
    assert len(server.requests) == 75
    assert len(items) == 1500
    assert sum(item.kind == "song" for item in items) == 15
    assert sum(item.gone for item in items) == 15
    assert all(item.cid for item in items if item.kind == "video" and not item.gone)
    assert len({item.key for item in items if not item.gone}) == 1485
    assert [item.added for item in items] == sorted((item.added or 0 for item in items), reverse=True)


async def test_an_entry_of_a_folder_needs_no_second_look(guest: BilibiliClient, server: StandInBilibili) -> None:
    server.catalogue.fill_folder(media_id=9907, count=3, owner=FAN)
    items = await guest.resolve("ml9907")
    server.requests.clear()
    await guest.audio((await guest.expand(items[0]))[0])
    assert [request.path for request in server.requests] == ["/x/player/playurl"]


async def test_entries_of_several_parts_are_expanded_and_gone_ones_are_not(guest: BilibiliClient) -> None:
    items = await guest.resolve("ml1234507")
    (album,) = [item for item in items if item.pages == 3]
    parts = await guest.expand(album)
    assert [part.part_title for part in parts] == ["晨雾", "正午的河", "归巢"]
    assert parts[0].added == album.added
    (song,) = [item for item in items if item.kind == "song"]
    assert await guest.expand(song) == [song]
    with pytest.raises(errors.WorkGone):
        await guest.expand(replace(album, gone=True))
    with pytest.raises(errors.WorkGone):
        await guest.audio(replace(album, gone=True))


async def test_the_first_page_alone_shows_what_is_new(guest: BilibiliClient, server: StandInBilibili) -> None:
    server.catalogue.fill_folder(media_id=9907, count=100, owner=FAN)
    page = await guest.lists.page(Favourites(9907), 1)
    assert (len(page.items), page.more, page.total) == (20, True, 100)
    ids = await guest.lists.favourite_ids(9907)
    assert len(ids) == 100
    assert ids[0] == (2, 990700001, page.items[0].bvid)
    assert len(server.requests) == 2


async def test_a_collection_inside_a_folder_is_opened(guest: BilibiliClient, server: StandInBilibili) -> None:
    entries = [SiteEntry(number=8001, type=21), SiteEntry(number=next(iter(server.catalogue.videos)))]
    server.catalogue.folders[55] = SiteFolder(media_id=55, title="x", owner=FAN, entries=entries)
    items = await guest.resolve("ml55")
    assert len(items) == 5
    assert all(item.kind == "video" for item in items)


async def test_private_missing_and_empty_folders(
    guest: BilibiliClient, member: BilibiliClient, server: StandInBilibili
) -> None:
    server.catalogue.folders[66] = SiteFolder(media_id=66, title="私", owner=FAN, private=True)
    assert await member.resolve("ml66") == []
    with pytest.raises(errors.LoginRequired):
        await guest.resolve("ml66")
    with pytest.raises(errors.WorkGone):
        await guest.resolve("ml67")
    with pytest.raises(errors.NotPermitted):
        await guest.resolve("https://space.bilibili.com/5/favlist")


async def test_all_folders_of_a_user_name_each_video_once(guest: BilibiliClient, server: StandInBilibili) -> None:
    first = server.catalogue.folders[1234507]
    server.catalogue.folders[77] = SiteFolder(media_id=77, title="y", owner=FAN, entries=first.entries[:3])
    items = await guest.resolve("https://space.bilibili.com/70707/favlist")
    assert len(items) == len(first.entries)


@pytest.mark.parametrize(
    ("link", "count"),
    [
        ("https://space.bilibili.com/20200/lists/8001?type=season", 4),
        ("https://space.bilibili.com/20200/channel/collectiondetail?sid=8001", 4),
        ("https://space.bilibili.com/1/favlist?fid=8001&ftype=collect&ctype=21", 4),
        ("https://space.bilibili.com/20200/lists/9001?type=series", 4),
        ("https://www.bilibili.com/list/20200?sid=9001", 4),
        ("https://space.bilibili.com/20200/lists", 8),
        ("https://space.bilibili.com/20200", 9),
        ("https://space.bilibili.com/20200/audio", 1),
        ("am10624", 1),
    ],
)
async def test_every_kind_of_list(guest: BilibiliClient, link: str, count: int) -> None:
    items = await guest.resolve(link)
    assert len(items) == count
    for item in items:
        assert await guest.expand(item)


async def test_long_lists_are_read_to_the_end(guest: BilibiliClient, server: StandInBilibili) -> None:
    server.catalogue.fill_folder(media_id=9907, count=95, owner=UPLOADER)
    aids = [entry.number for entry in server.catalogue.folders[9907].entries if entry.type == 2]
    server.catalogue.collections[8002] = SiteList(number=8002, title="长", owner=UPLOADER, aids=aids)
    server.catalogue.series[9002] = SiteList(number=9002, title="长", owner=UPLOADER, aids=aids)
    assert len(await guest.resolve("https://space.bilibili.com/20200/lists/8002")) == len(aids)
    assert len(await guest.resolve("https://space.bilibili.com/20200/lists/9002?type=series")) == len(aids)
    assert len(await guest.resolve("https://space.bilibili.com/20200")) == len(aids) + 9


async def test_watch_later_needs_a_login(
    guest: BilibiliClient, member: BilibiliClient, server: StandInBilibili
) -> None:
    assert len(await member.resolve("https://www.bilibili.com/watchlater")) == 2
    with pytest.raises(errors.LoginRequired):
        await guest.resolve("https://www.bilibili.com/watchlater")
    server.fail("/x/v2/history/toview/web", with_=Fault(code=-400))
    with pytest.raises(errors.LoginRequired):
        await member.resolve("https://www.bilibili.com/watchlater")


async def test_a_list_that_never_ends_is_left(guest: BilibiliClient, server: StandInBilibili) -> None:
    body = b'{"code":0,"data":{"info":{},"has_more":true,"medias":[{"type":2,"id":5,"title":"x","page":1}]}}'
    server.fail(PAGE, with_=Fault(body=body), times=None)
    assert len(await guest.resolve("ml1")) == 1
    assert len(server.requests) == 2


async def test_a_page_that_fails_for_a_moment_is_asked_again(guest: BilibiliClient, server: StandInBilibili) -> None:
    server.catalogue.fill_folder(media_id=9907, count=60, owner=FAN)
    server.fail(PAGE, with_=Fault(status=503), times=2)
    assert len(await guest.resolve("ml9907")) == 60


async def test_device_cookies_are_asked_for_once_and_only_where_looked_for(
    guest: BilibiliClient, server: StandInBilibili, store: Any
) -> None:
    await guest.resolve("ml1234507")
    assert server.asked(path="/x/frontend") == []
    for _ in range(2):
        await guest.resolve("https://space.bilibili.com/20200")
    assert len(server.asked(path="/x/frontend/finger/spi")) == 1
    assert all("buvid3" in request.cookies for request in server.asked(path="/x/space/wbi"))


async def test_without_device_cookies_it_goes_on(guest: BilibiliClient, server: StandInBilibili) -> None:
    server.fail("/x/frontend/finger/spi", with_=Fault(status=404), times=None)
    assert await guest.resolve("https://space.bilibili.com/20200")
