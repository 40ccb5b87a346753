"""Lists that are kept in sync: what is new comes, once, and a look at nothing new costs next to nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from musicq_async.testing import Fault
from musicq_async.testing.bilibili_catalogue import FAN, UPLOADER, SiteEntry, SiteFolder, SiteList

pytestmark = pytest.mark.anyio
PAGE = "/x/v3/fav/resource/list"


def counts(task):
    assert task["status"] == "completed", task["error_message"]
    return tuple(task["result"][name] for name in ("new", "known", "gone", "pushed"))


async def test_a_folder_comes_whole_and_a_second_look_costs_one_call(site, opened, run, music):
    site.catalogue.fill_folder(media_id=9907, count=30, owner=FAN)
    async with opened() as app:
        assert counts(await run(app, "sync_favourites", media_id=9907)) == (30, 0, 0, 30)
        assert len(music()) == 30
        assert len(site.asked("api", "www")) == 2 + 30
        site.requests.clear()
        assert counts(await run(app, "sync_favourites", media_id="9907")) == (0, 20, 0, 0)
        assert [request.path for request in site.requests] == [PAGE]


async def test_what_is_new_comes_and_nothing_else(site, opened, run, music):
    folder = site.catalogue.fill_folder(media_id=9907, count=50, owner=FAN)
    later = [folder.entries.pop(0) for _ in range(3)]
    async with opened() as app:
        await run(app, "sync_favourites", media_id=9907)
        before = music()
        folder.entries[:0] = later
        site.requests.clear()
        assert (
            counts(await run(app, "sync_favourites", link="https://space.bilibili.com/70707/favlist?fid=9907"))[3] == 3
        )
        assert len(site.asked(path=PAGE)) == 2
        assert len(site.asked(path="/x/player/playurl")) == 3
        assert len(music()) == len(before) + 3


async def test_songs_collections_albums_and_gone_entries_are_what_they_are(site, opened, run, music):
    catalogue = site.catalogue
    aids = list(catalogue.videos)
    gone = SiteEntry(number=aids[7], attr=9)
    entries = [
        SiteEntry(number=8001, type=21), SiteEntry(number=400_100, type=12), SiteEntry(number=aids[8]), gone,
    ]  # fmt: skip
    catalogue.folders[55] = SiteFolder(media_id=55, title="x", owner=FAN, entries=entries)
    async with opened() as app:
        assert counts(await run(app, "sync_favourites", media_id=55)) == (6, 0, 1, 6)
        assert len(music()) == 4 + 2 + 3  # a song with its lyrics, an album in three parts
        assert {"旧唱机 - 晚风.m4a", "旧唱机 - 晚风.lrc", "归巢 - 晚风唱片.m4a"} <= set(music())
        site.requests.clear()
        assert counts(await run(app, "sync_favourites", media_id=55)) == (0, 3, 1, 0)
        assert len(site.requests) == 1
        catalogue.collections[8001].aids.append(aids[5])
        assert counts(await run(app, "sync_favourites", media_id=55, full_every=0)) == (1, 6, 1, 1)


async def test_a_new_part_of_a_known_video_is_new(site, opened, run, music):
    album = next(video for video in site.catalogue.videos.values() if len(video.parts) == 3)
    site.catalogue.add(replace(album, parts=album.parts[:2]))
    site.catalogue.folders[55] = SiteFolder(media_id=55, title="x", owner=FAN, entries=[SiteEntry(number=album.aid)])
    async with opened() as app:
        await run(app, "sync_favourites", media_id=55)
        assert len(music()) == 2
        site.catalogue.add(album)
        await run(app, "sync_favourites", media_id=55)
        assert len(music()) == 3
        assert len(site.asked("cdn")) == 3


async def test_what_the_user_removed_stays_removed_until_it_is_asked_for(site, opened, run, music, tmp_path):
    folder = site.catalogue.fill_folder(media_id=9907, count=3, owner=FAN)
    async with opened() as app:
        await run(app, "sync_favourites", media_id=9907)
        removed = music()[0]
        (tmp_path / "music" / removed).unlink()
        for full_every in (86_400, 0):
            assert counts(await run(app, "sync_favourites", media_id=9907, full_every=full_every)) == (0, 3, 0, 0)
        assert removed not in music()
        for entry in folder.entries:
            await run(app, "download_bilibili_audio", bv_id=f"av{entry.number}")
        assert len(music()) == 3


@pytest.mark.parametrize("at_once", [False, True])
async def test_two_syncs_of_one_folder_push_each_item_once(site, opened, run, music, at_once):
    site.catalogue.fill_folder(media_id=9907, count=25, owner=FAN)
    site.catalogue.folders[9908] = replace_folder(site.catalogue.folders[9907], 9908)
    async with opened() as app:
        ids = [
            await app.queue.push_task({"type": "sync_favourites", "params": {"media_id": media_id}})
            for media_id in ((9907, 9907) if at_once else (9907, 9908))
        ]
        await app.run_until_idle()
        results = [(await app.get_task(task_id))["result"] for task_id in ids]
        assert sum(result["pushed"] for result in results) == 25
        assert len(await app.list_tasks(type="download_bilibili_audio", limit=100)) == 25
    assert len(music()) == 25


def replace_folder(folder, media_id):
    return SiteFolder(media_id=media_id, title="copy", owner=folder.owner, entries=folder.entries)


async def test_a_sync_that_was_cut_off_looks_through_the_whole_list_next_time(site, opened, run, music):
    folder = site.catalogue.fill_folder(media_id=9907, count=45, owner=FAN)
    later = [folder.entries.pop(0) for _ in range(41)]
    async with opened() as app:
        await run(app, "sync_favourites", media_id=9907)
        folder.entries[:0] = later
        site.fail(PAGE, with_=Fault(code=-404), after=1)
        assert (await run(app, "sync_favourites", media_id=9907))["status"] == "failed"
        assert len(music()) == 24
        assert counts(await run(app, "sync_favourites", media_id=9907))[3] == 21
        assert len(music()) == 45


async def test_an_item_that_fails_is_not_pushed_again_the_same_day(site, opened, run):
    site.catalogue.fill_folder(media_id=9907, count=3, owner=FAN)
    aid = site.catalogue.folders[9907].entries[0].number
    site.catalogue.add(replace(site.catalogue.videos[aid], play_code=-10403))
    async with opened() as app:
        assert counts(await run(app, "sync_favourites", media_id=9907)) == (3, 0, 0, 3)
        assert counts(await run(app, "sync_favourites", media_id=9907)) == (1, 2, 0, 0)
        (failed,) = await app.list_tasks(state="failed")
        assert "NotPermitted" in failed["error_message"]


async def test_growing_lists_are_seen_to_grow_at_their_end(site, opened, run, music):
    site.catalogue.fill_folder(media_id=9907, count=70, owner=UPLOADER)
    aids = [entry.number for entry in site.catalogue.folders[9907].entries if entry.type == 2 and not entry.attr]
    late = aids.pop()
    site.catalogue.collections[8002] = SiteList(number=8002, title="长", owner=UPLOADER, aids=aids)
    async with opened() as app:
        params = {"season_id": 8002, "mid": 20200}
        assert counts(await run(app, "sync_collection", **params)) == (len(aids), 0, 0, len(aids))
        site.requests.clear()
        assert counts(await run(app, "sync_collection", **params))[3] == 0
        assert len(site.requests) == 2
        aids.append(late)
        site.requests.clear()
        assert counts(await run(app, "sync_collection", **params))[3] == 1
        assert len(site.asked(path="/x/polymer")) <= 3
    assert len(music()) == len(aids)


@pytest.mark.parametrize(
    ("kind", "params", "count"),
    [
        ("sync_collection", {"link": "https://space.bilibili.com/20200/lists/8001?type=season"}, 4),
        ("sync_collection", {"season_id": 8001}, 4),
        ("sync_series", {"series_id": "9001"}, 4),
        ("sync_uploader", {"mid": 20200}, 9),
        ("sync_uploader", {"link": "https://space.bilibili.com/20200/audio"}, 1),
        ("sync_watch_later", {}, 2),
        ("sync", {"link": "am10624"}, 1),
        ("sync", {"link": "https://space.bilibili.com/20200/lists"}, 8),
        ("sync_favourites", {"mid": 70707}, 10),
    ],
)
async def test_every_kind_of_list(site, opened, run, kind, params, count):
    async with opened(bilibili={"cookie": site.cookie("member")}) as app:
        assert counts(await run(app, kind, **params))[3] == count
        assert not await app.list_tasks(state="failed")
        site.requests.clear()
        assert counts(await run(app, kind, **params))[3] == 0
        assert len(site.requests) <= 3


@pytest.mark.parametrize(
    ("kind", "params", "words"),
    [
        ("sync_favourites", {}, "media_id"),
        ("sync_favourites", {"link": "BV17x411w7KC"}, "Video"),
        ("sync_favourites", {"link": "https://space.bilibili.com/20200"}, "Space"),
        ("sync_favourites", {"media_id": "x"}, "media_id"),
        ("sync_favourites", {"media_id": -1}, "media_id"),
        ("sync_favourites", {"media_id": 1, "file": 1}, "file"),
        ("sync", {}, "link"),
        ("sync", {"link": "au400100"}, "Song"),
        ("sync_uploader", {"full_every": "daily"}, "full_every"),
    ],
)
async def test_bad_params_are_refused_with_the_field(opened, run, kind, params, words):
    async with opened() as app:
        task = await run(app, kind, retries=3, **params)
        assert task["status"] == "failed"
        assert task["error_message"].startswith("InvalidParams")
        assert words in task["error_message"]


async def test_formats_qualities_and_folders_are_passed_on(site, opened, run, music):
    site.catalogue.fill_folder(media_id=9907, count=2, owner=FAN)
    async with opened() as app:
        await run(app, "sync_favourites", media_id=9907, save_path="收藏", audio_format="mp3", quality="64k")
        assert [Path(name).parent.name + Path(name).suffix for name in music()] == ["收藏.mp3"] * 2
        assert counts(await run(app, "sync_favourites", media_id=9907)) == (0, 2, 0, 0)
        assert all("/low.m4s" in request.path for request in site.asked("cdn"))


async def test_a_spoilt_memory_means_a_full_pass(site, opened, run):
    site.catalogue.fill_folder(media_id=9907, count=25, owner=FAN)
    async with opened() as app:
        for spoilt in ("x", {"full_at": "soon", "opened": 5}, {"full_at": 10**12, "open": None}, []):
            await app.queue.set_public("bilibili_sync_favourites_9907", spoilt)
            site.requests.clear()
            await run(app, "sync_favourites", media_id=9907)
            assert len(site.asked(path=PAGE)) == 2
