"""Downloads: lists split without asking twice, nothing fetched twice, better qualities on request, lyrics."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import services

import musicq_async
from musicq_async.handlers import bilibili
from musicq_async.handlers.library import fetch
from musicq_async.media.audio import probe
from musicq_async.media.tags import read_tags
from musicq_async.testing import Fault
from musicq_async.testing.bilibili_catalogue import FAN, SiteMusic, SitePart, SiteVideo

pytestmark = pytest.mark.anyio
PLAY = "/x/player/playurl"
SUBTITLES = (("zh-CN", "", ((0.5, 1.5, "第一行"), (1.5, 2.0, "第二行"))),)


def media(site):
    return site.asked("cdn", "backup")


@pytest.fixture
def aids(site):
    return list(site.catalogue.videos)


async def test_a_list_costs_its_pages_and_one_call_an_item(site, opened, run, music):
    site.catalogue.fill_folder(media_id=9907, count=60, owner=FAN)
    async with opened() as app:
        task = await run(app, "download_bilibili_audio", url="https://space.bilibili.com/70707/favlist?fid=9907")
        assert task["result"]["gone"] == 0
        assert len(task["result"]["tasks"]) == 60
        assert not await app.list_tasks(state="failed")
    assert len(music()) == 60
    assert len(site.asked("api", "www")) <= 1.1 * 60
    assert len(site.asked(path=PLAY)) == 59


async def test_an_empty_list_is_no_error(site, opened, run):
    site.catalogue.fill_folder(media_id=9907, count=0, owner=FAN)
    async with opened() as app:
        assert (await run(app, "download_bilibili_audio", url="ml9907"))["result"] == {"tasks": [], "gone": 0}


async def test_a_task_that_runs_again_pushes_nothing_twice(site, opened, run):
    site.catalogue.fill_folder(media_id=9907, count=150, owner=FAN)
    async with opened() as app:
        await app.pause_type("download_bilibili_audio")
        wish = bilibili.read(bilibili.DownloadBilibiliAudio, {"url": "ml9907"})
        context = Context(app.queue)
        first = await bilibili.download(app.library, wish, context)
        second = await bilibili.download(app.library, wish, context)
        assert first == second
        assert len(await app.list_tasks(limit=1000)) == len(first["tasks"])


class Context:
    """As much of a task's context as a split needs."""

    task_id = "the-same-task"

    def __init__(self, queue):
        self.queue = queue

    async def progress(self, *_):
        pass


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"kind": "video"},
        {"kind": "file", "title": "x"},
        {"kind": "video", "title": "x", "bvid": "../../etc"},
        {"kind": "video", "title": 5, "bvid": "BV17x411w7KC"},
        {"kind": "song", "title": "x", "auid": -5},
        {"kind": "video", "title": "x", "bvid": "BV17x411w7KC", "cid": "7"},
    ],
)
async def test_a_spoilt_item_is_refused(opened, run, item):
    async with opened() as app:
        task = await run(app, "download_bilibili_audio", retries=3, url="BV17x411w7KC", item=item)
        assert (task["status"], task["retry_count"]) == ("failed", 0)
        assert task["error_message"].startswith("InvalidParams: item")


async def test_a_mirror_with_a_broken_copy_is_passed_over(site, opened, run, aids, tmp_path):
    broken = b"\0\0\0\x14ftypM4A \0\0\0\0M4A " + bytes(1000)
    site.fail("*.m4s", with_=Fault(status=200, body=broken), host="cdn")
    async with opened() as app:
        task = await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}")
        assert task["status"] == "completed"
    assert not list(tmp_path.rglob(".*.raw*"))


async def test_a_song_that_is_broken_everywhere_leaves_nothing_behind(site, opened, run, aids, tmp_path):
    broken = b"\0\0\0\x14ftypM4A \0\0\0\0M4A " + bytes(1000)
    site.fail("*.m4s", with_=Fault(status=200, body=broken), times=None)
    async with opened() as app:
        task = await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}")
        assert task["status"] == "failed"
        assert task["error_message"].startswith("ConvertFailed")
    assert not list(tmp_path.rglob(".*.raw*"))


async def test_a_song_whose_conversion_fails_is_not_fetched_again(site, opened, run, aids, music, monkeypatch):
    async def fails(*_, **__):
        raise musicq_async.ConvertFailed("no encoder")

    monkeypatch.setattr("musicq_async.media.convert.convert", fails)
    async with opened(audio_format="mp3") as app:
        task = await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}")
        assert task["error_message"].startswith("ConvertFailed: no encoder")
    assert len(music()) == len(media(site)) == 1


async def test_pictures_and_words_of_foreign_hosts_are_not_asked_for(site, opened, run, aids):
    song = {"kind": "song", "title": "x", "auid": 400_100, "artists": ["y"]}
    foreign = "http://127.0.0.1:9/x"
    async with opened() as app:
        task = await run(
            app, "download_bilibili_audio", url="au400100", item={**song, "cover": foreign, "lyric_url": foreign}
        )
        assert task["status"] == "completed"
        tagged = await read_tags(task["result"]["path"])
        assert (tagged.cover, tagged.tags.lyrics) == (None, None)


async def test_nothing_is_fetched_twice_whatever_the_file_is_called_now(site, opened, run, aids, tmp_path):
    link = f"av{aids[0]}"
    async with opened(name_template="{title}") as app:
        first = (await run(app, "download_bilibili_audio", bv_id=link))["result"]
        calls = len(site.requests)
    async with opened(name_template="{artists} - {title}") as app:
        again = (await run(app, "download_bilibili_audio", bv_id=link))["result"]
    assert (again["status"], again["path"]) == ("skipped", first["path"])
    assert len(site.requests) == calls + 1  # what the link stands for


async def test_the_same_item_pushed_many_times_at_once_is_fetched_once(site, opened, aids, music):
    async with opened() as app:
        for _ in range(6):
            await app.queue.push_task({"type": "download_bilibili_audio", "params": {"bv_id": f"av{aids[0]}"}})
        await app.run_until_idle()
        statuses = [task["result"]["status"] for task in await app.list_tasks()]
    assert sorted(statuses) == ["ok"] + ["skipped"] * 5
    assert len(music()) == len(media(site)) == 1


async def test_a_file_without_a_record_is_known_by_its_tag_and_recorded(site, opened, run, aids, tmp_path):
    link = f"av{aids[0]}"
    async with opened() as app:
        first = (await run(app, "download_bilibili_audio", bv_id=link))["result"]
        assert await app.library.archive.forget(f"{first['bvid']}:{first['cid']}")
        assert (await run(app, "download_bilibili_audio", bv_id=link))["result"]["status"] == "skipped"
        assert (await app.library.archive.get(f"{first['bvid']}:{first['cid']}")).path == first["path"]
    assert len(media(site)) == 1


async def test_another_video_of_the_same_name_is_another_file(site, opened, run, aids, music):
    first = site.catalogue.videos[aids[0]]
    part = SitePart(cid=5, notes=(700, 800))
    site.catalogue.add(replace(first, aid=4711, parts=(part,)))
    async with opened() as app:
        for link in (f"av{aids[0]}", "av4711", "av4711"):
            await run(app, "download_bilibili_audio", bv_id=link)
    assert music() == ["月光邮局 - 林小满 (2).m4a", "月光邮局 - 林小满.m4a"]


async def test_a_replaced_part_is_fetched_although_its_link_is_the_same(site, opened, run, aids, music):
    first = site.catalogue.videos[aids[0]]
    async with opened() as app:
        await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}")
        site.catalogue.add(replace(first, parts=(SitePart(cid=5, notes=(700, 800)),)))
        assert (await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}"))["result"]["status"] == "ok"
    assert len(music()) == 2


async def test_a_better_quality_replaces_the_file_on_request_only(site, opened, run, aids, music):
    link = f"av{aids[2]}"  # offered as FLAC to members
    async with opened() as app:
        first = (await run(app, "download_bilibili_audio", bv_id=link))["result"]
        assert first["codec"] == "aac"
        same = (await run(app, "download_bilibili_audio", bv_id=link, upgrade=True))["result"]
        assert (same["status"], same["message"]) == ("skipped", "no better quality is offered")
        await app.queue.set_public("bilibili_cookie", site.cookie("member"))
        assert (await run(app, "download_bilibili_audio", bv_id=link))["result"]["status"] == "skipped"
        better = (await run(app, "download_bilibili_audio", bv_id=link, upgrade=True))["result"]
        assert (better["status"], better["codec"], better["quality"]) == ("ok", "flac", "hires")
        assert (await probe(better["path"])).codec == "flac"
        assert music() == [Path(better["path"]).name]
        again = (await run(app, "download_bilibili_audio", bv_id=link, upgrade=True))["result"]
        assert again["status"] == "skipped"


async def test_a_better_quality_of_the_same_kind_takes_the_same_name(site, opened, run, aids, music):
    link = f"av{aids[0]}"
    async with opened() as app:
        first = (await run(app, "download_bilibili_audio", bv_id=link, quality="64k"))["result"]
        better = (await run(app, "download_bilibili_audio", bv_id=link, upgrade=True))["result"]
        assert better["path"] == first["path"]
        assert (first["quality"], better["quality"]) == ("64k", "128k")
    assert len(music()) == 1


async def test_a_converted_song_is_recorded_as_it_lies_there(site, opened, run, aids, music):
    async with opened() as app:
        first = (await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}", format="mp3"))["result"]
        assert (await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}"))["result"]["path"] == first["path"]
    assert music() == ["月光邮局 - 林小满.mp3"]


async def test_another_folder_is_another_wish(site, opened, run, aids, music):
    async with opened() as app:
        await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}", save_path="一")
        assert (await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}"))["result"]["status"] == "skipped"
        await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}", save_path="二")
    assert len(music()) == 2


async def test_songs_of_the_audio_zone_bring_artist_and_lyrics_out_of_a_list(site, opened, run, tmp_path):
    async with opened() as app:
        await run(app, "sync_favourites", media_id=1234507)
    tagged = await read_tags(tmp_path / "music" / "旧唱机 - 晚风.m4a")
    assert tagged.tags.artists == ("晚风",)
    assert "慢慢转" in (tagged.tags.lyrics or "")
    assert (tmp_path / "music" / "旧唱机 - 晚风.lrc").read_text("utf-8").startswith("[00:00.00]旧唱机")


@pytest.mark.parametrize(("wish", "found"), [("auto", True), ("always", True), ("never", False)])
async def test_subtitles_of_a_person_become_lyrics(site, opened, run, aids, tmp_path, wish, found):
    site.catalogue.add(replace(site.catalogue.videos[aids[0]], subtitles=SUBTITLES))
    async with opened(bilibili={"cookie": site.cookie(), "ask_lyrics": wish}) as app:
        path = (await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}"))["result"]["path"]
    lyrics = (await read_tags(path)).tags.lyrics
    assert ("第一行" in (lyrics or "")) is found
    assert Path(path).with_suffix(".lrc").exists() is found


async def test_songs_out_of_lists_ask_for_lyrics_only_if_told_to(site, opened, run, aids):
    async with opened(bilibili={"cookie": site.cookie()}) as app:
        await run(app, "sync_watch_later")
    assert site.asked(path="/x/player/wbi/v2") == []
    async with opened(bilibili={"cookie": site.cookie(), "ask_lyrics": "always"}) as app:
        await run(app, "sync_collection", season_id=8001, mid=20200)
    assert len(site.asked(path="/x/player/wbi/v2")) == 2


async def test_what_a_machine_heard_is_no_lyrics(site, opened, run, aids):
    heard = (("ai-zh", "", SUBTITLES[0][2]),)
    site.catalogue.add(replace(site.catalogue.videos[aids[0]], subtitles=heard))
    async with opened(bilibili={"cookie": site.cookie()}) as app:
        path = (await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}"))["result"]["path"]
    assert (await read_tags(path)).tags.lyrics is None


@pytest.fixture
def recognised(site):
    """A video whose title names no artist, in which the site recognises a song of this title."""

    def add(music_title, title="【无损】远山的呼唤", **music):
        site.catalogue.music["MA7"] = SiteMusic(
            music_id="MA7", title=music_title, artists=("苏木",), album="山海", lyrics="[00:01.00]呼唤", **music
        )
        video = SiteVideo(aid=4712, title=title, parts=(SitePart(cid=4713),), music_id="MA7")
        site.catalogue.add(video)
        return f"av{video.aid}"

    return add


async def test_a_recognised_song_gives_album_artist_and_words_where_the_title_agrees(opened, run, recognised):
    async with opened() as app:
        path = (await run(app, "download_bilibili_audio", bv_id=recognised("远山的呼唤")))["result"]["path"]
    tags = (await read_tags(path)).tags
    assert (tags.title, tags.artists, tags.album) == ("远山的呼唤", ("苏木",), "山海")
    assert "呼唤" in (tags.lyrics or "")
    assert Path(path).name == "远山的呼唤 - 苏木.m4a"


async def test_background_music_is_left_out(opened, run, recognised):
    async with opened() as app:
        path = (await run(app, "download_bilibili_audio", bv_id=recognised("夜的第七章")))["result"]["path"]
    tags = (await read_tags(path)).tags
    assert (tags.album, tags.lyrics) == (None, None)
    assert "苏木" not in tags.artists


async def test_a_song_without_words_or_picture_is_still_a_song(site, opened, run, aids):
    site.fail("/x/player/wbi/v2", with_=Fault(status=412))
    site.fail("/bfs/*", with_=Fault(status=404), times=None, host="image")
    async with opened(bilibili={"cookie": site.cookie()}) as app:
        task = await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}")
        assert task["result"]["status"] == "ok"
        assert (await read_tags(task["result"]["path"])).cover is None


async def test_fetching_by_hand_shares_session_archive_and_pauses_with_the_database(site, opened, run, settings, aids):
    async with opened() as app:
        await app.queue.set_public("bilibili_cookie", site.cookie("member"))
        await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}")
    rows = await fetch([f"av{aid}" for aid in aids[:3]], settings=settings())
    assert [row["status"] for row in rows] == ["skipped", "ok", "ok"]
    assert rows[2]["codec"] == "flac"  # by the member's cookie of the database
    site.fail(PLAY, with_=Fault(status=412))
    (row,) = await fetch([f"av{aids[4]}"], settings=settings())
    assert row["error"] == "RiskControl"
    asked = len(site.requests)
    (row,) = await fetch([f"av{aids[5]}"], settings=settings())
    assert row["error"] == "RiskControl"
    assert len(site.requests) == asked


async def test_the_parts_of_a_video_share_one_look_at_its_picture(site, settings):
    album = next(video for video in site.catalogue.videos.values() if len(video.parts) == 3)
    rows = await fetch([album.bvid], settings=settings())
    assert all([(await read_tags(row["path"])).cover for row in rows])
    assert len(site.asked("image", path="/bfs/archive/")) == 1


async def test_fetching_a_list_by_hand_spares_the_calls_for_words(site, settings, aids):
    site.catalogue.fill_folder(media_id=9907, count=3, owner=FAN)
    await fetch(["ml9907"], settings=settings())
    assert not site.asked(path="/x/player/wbi/v2")
    await fetch([f"av{aids[0]}"], settings=settings(music_dir=str(settings().music_dir) + "2"))
    assert site.asked(path="/x/player/wbi/v2")


async def test_a_title_with_control_characters_reads_the_same_in_the_answer_and_in_the_file(site, settings):
    part = SitePart(cid=77_001, seconds=1.0)
    video = site.catalogue.add(SiteVideo(aid=77, title="夜\t航\n星\x07的\x00歌\x9b", parts=(part,)))
    (row,) = await fetch([video.bvid], settings=settings())
    assert (row["title"], (await read_tags(row["path"])).tags.title) == ("夜 航 星的歌", "夜 航 星的歌")


async def test_a_video_that_cannot_be_had_is_still_named(site, settings):
    site.fail("/x/web-interface/view", with_=Fault(code=-404))
    (row,) = await fetch(["https://www.bilibili.com/video/BV17x411w7KC?p=2"], settings=settings())
    assert (row["status"], row["error"], row["bvid"], row["cid"]) == ("failed", "WorkGone", "BV17x411w7KC", None)


async def test_a_pause_outlives_the_process_though_no_service_ever_ran(site, settings, aids, tmp_path):
    database = tmp_path / "data" / "new.db"
    wished = settings(database_url=f"sqlite+aiosqlite:///{database}")
    site.fail(PLAY, with_=Fault(status=412))
    (row,) = await fetch([f"av{aids[0]}"], settings=wished)
    assert row["error"] == "RiskControl"
    asked = len(site.requests)
    (row,) = await fetch([f"av{aids[1]}"], settings=wished)
    assert (row["error"], len(site.requests)) == ("RiskControl", asked)
    assert (await anyio.Path(database).stat()).st_mode & 0o777 == 0o600  # it may come to hold a session


async def test_fetching_by_hand_finds_the_session_where_the_queue_is(site, settings, aids):
    queue_url = services.need("redis")
    wished = settings(queue_url=queue_url, redis={"namespace": f"test-{secrets.token_hex(6)}", "allow_volatile": True})
    async with musicq_async.open_musicq(wished) as app:
        await app.queue.set_public("bilibili_cookie", site.cookie("member"), ttl=60)
    (row,) = await fetch([f"av{aids[2]}"], settings=wished)
    assert row["codec"] == "flac"  # by the member's cookie
    away = settings(queue_url="redis://127.0.0.1:9")
    (row,) = await fetch([f"av{aids[0]}"], settings=away)
    assert row["status"] == "ok"


async def test_fetching_needs_no_database(site, settings, aids, tmp_path):
    (tmp_path / "file").touch()
    places = (f"sqlite+aiosqlite:///{tmp_path}/file/none.db", "postgresql+asyncpg://nobody:x@127.0.0.1:9/none")
    for aid, place in zip(aids, places, strict=False):
        (row,) = await fetch([f"av{aid}"], settings=settings(database_url=place))
        assert row["status"] == "ok"
