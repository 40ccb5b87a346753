"""The client against the stand-in site: items, sound, faults, and what is sent to whom."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import anyio
import pytest

from musicq_async import errors
from musicq_async.bilibili.breaker import risk_key
from musicq_async.bilibili.client import BilibiliClient
from musicq_async.bilibili.models import Item
from musicq_async.settings import HttpSettings
from musicq_async.testing.bilibili import StandInBilibili
from musicq_async.testing.bilibili_catalogue import ALL_STREAMS, SiteEpisode, SiteMusic, SitePart, SiteSeason, SiteVideo
from musicq_async.testing.bilibili_http import Fault

pytestmark = pytest.mark.anyio

VIEW, PLAY = "/x/web-interface/view", "/x/player/playurl"


def add(server: StandInBilibili, aid: int = 170001, **changes: Any) -> SiteVideo:
    parts = changes.pop("parts", (SitePart(cid=aid * 10, seconds=1.0),))
    return server.catalogue.add(SiteVideo(aid=aid, title=changes.pop("title", "标题"), parts=parts, **changes))


async def one(client: BilibiliClient, video: SiteVideo) -> Item:
    (item,) = await client.resolve(video.bvid)
    return item


async def test_a_video_is_resolved_with_all_that_its_page_says(guest: BilibiliClient, server: StandInBilibili) -> None:
    video = add(server, description="说明", published=1_650_000_000)
    item = await one(guest, video)
    assert (item.bvid, item.aid, item.cid, item.title) == (video.bvid, 170001, 1700010, "标题")
    assert (item.uploader.name, item.published, item.duration, item.description) == (
        "晚风唱片",
        1_650_000_000,
        1.0,
        "说明",
    )
    assert item.cover is not None
    assert guest.media_hosts.allow(item.cover)
    assert await guest.tags(item) == ("音乐",)


async def test_a_part_is_taken_alone_or_all_are(guest: BilibiliClient, server: StandInBilibili) -> None:
    parts = tuple(SitePart(cid=50 + page, title=f"第{page}") for page in (1, 2, 3))
    video = add(server, parts=parts)
    assert [item.part_title for item in await guest.resolve(video.bvid)] == ["第1", "第2", "第3"]
    assert [item.cid for item in await guest.resolve(f"https://www.bilibili.com/video/{video.bvid}?p=2")] == [52]
    with pytest.raises(errors.InvalidParams, match="3 part"):
        await guest.resolve(f"{video.bvid}?p=4")


@pytest.mark.parametrize(
    ("level", "best", "dolby"), [("guest", "128k", "128k"), ("free", "192k", "192k"), ("member", "hires", "dolby")]
)
async def test_an_account_gets_what_it_may_have(
    connect: Any, server: StandInBilibili, level: str, best: str, dolby: str
) -> None:
    video = add(server, streams=ALL_STREAMS)
    async with connect("" if level == "guest" else server.cookie(level)) as client:
        item = await one(client, video)
        assert (await client.audio(item)).quality == best
        got = await client.audio(item, "dolby")
        assert (got.quality, got.exact) == (dolby, dolby == "dolby")


async def test_a_choice_brings_all_that_a_transfer_needs(
    member: BilibiliClient, server: StandInBilibili, clock: Any
) -> None:
    choice = await member.audio(await one(member, add(server)))
    assert [source.split("/")[2] for source in choice.sources] == [
        server.site.addresses[name].split("/")[2] for name in ("cdn", "backup")
    ]
    assert (choice.codec, choice.duration, choice.expires_at) == ("aac", 1.0, int(clock.time()) + 7200)
    assert {name for name, _ in choice.headers} == {"User-Agent", "Referer"}
    assert choice.loudness is not None
    assert choice.loudness.gain == pytest.approx(-8.5)


async def test_old_videos_come_as_files_to_extract_from(guest: BilibiliClient, server: StandInBilibili) -> None:
    choice = await guest.audio(await one(guest, add(server, old=True, segments=2)))
    assert choice.muxed
    assert len(choice.segments) == 2


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"encrypted": True}, errors.EncryptedStream),
        ({"streams": ()}, errors.NoAudioStream),
        ({"parts": (SitePart(cid=9, seconds=30.0),), "preview": 5.0}, errors.NotPermitted),
        ({"play_code": 87007}, errors.NotPermitted),
        ({"play_code": -10403}, errors.NotPermitted),
    ],
)
async def test_what_may_not_be_kept_is_refused(
    guest: BilibiliClient, server: StandInBilibili, changes: Any, kind: Any
) -> None:
    item = await one(guest, add(server, **changes))
    with pytest.raises(kind):
        await guest.audio(item)


@pytest.mark.parametrize("code", [-404, 62002, 62004, 62012])
async def test_a_video_that_is_gone_says_so(guest: BilibiliClient, server: StandInBilibili, code: int) -> None:
    with pytest.raises(errors.WorkGone):
        await guest.resolve(add(server, code=code).bvid)


async def test_a_merged_video_is_followed_but_not_for_ever(guest: BilibiliClient, server: StandInBilibili) -> None:
    add(server, 11, forward=12)
    add(server, 12, title="新")
    assert (await guest.resolve("av11"))[0].title == "新"
    add(server, 12, forward=11)
    assert (await guest.resolve("av11"))[0].bvid


async def test_short_links_are_followed_on_the_site_only(guest: BilibiliClient, server: StandInBilibili) -> None:
    video = add(server)
    www, short = server.site.addresses["www"], server.site.addresses["short"]
    server.catalogue.short |= {
        "a": f"https://www.bilibili.com/video/{video.bvid}?p=1&share_source=x",
        "b": "https://b23.tv/a",
        "c": f"{www}/video/{video.bvid}",
        "d": "/a",
        "away": "https://evil.example/video/" + video.bvid,
        "down": "http://169.254.169.254/latest",
        "home": "https://www.bilibili.com/",
        "loop": "https://b23.tv/loop",
        "file": "file:///etc/passwd",
    }
    for code in "abcd":
        assert [item.bvid for item in await guest.resolve(f"https://b23.tv/{code}")] == [video.bvid]
    assert (await guest.resolve(f"{short}/a"))[0].bvid == video.bvid
    for code, kind in {
        "away": errors.InvalidParams,
        "down": errors.InvalidParams,
        "home": errors.InvalidParams,
        "file": errors.InvalidParams,
        "loop": errors.WorkGone,
        "expired": errors.WorkGone,
    }.items():
        with pytest.raises(kind):
            await guest.resolve(f"https://b23.tv/{code}")


async def test_the_loop_of_a_short_link_ends_after_few_steps(guest: BilibiliClient, server: StandInBilibili) -> None:
    server.catalogue.short["loop"] = "https://b23.tv/loop"
    with pytest.raises(errors.WorkGone):
        await guest.resolve("https://b23.tv/loop")
    assert len(server.asked("short")) <= 6


async def test_episodes_and_seasons(member: BilibiliClient, server: StandInBilibili) -> None:
    video = add(server, streams=ALL_STREAMS)
    episodes = (
        SiteEpisode(ep_id=1, aid=video.aid, title="1", long_title="始"),
        SiteEpisode(ep_id=2, aid=video.aid, title="PV", badge="预告"),
        SiteEpisode(ep_id=3, aid=video.aid, title="3", play="PLAY_PREVIEW"),
        SiteEpisode(ep_id=4, aid=video.aid, title="4", play="PLAY_NONE"),
        SiteEpisode(ep_id=5, aid=video.aid, title="5", blocked=True),
    )
    server.catalogue.seasons[77] = SiteSeason(season_id=77, media_id=88, title="剧集", episodes=episodes)
    assert [item.ep_id for item in await member.resolve("ss77")] == [1, 3, 4, 5]
    assert len(await member.resolve("md88")) == 4
    (item,) = await member.resolve("ep1")
    assert (item.title, item.part_title, item.duration) == ("剧集", "1 始", 1.0)
    assert (await member.audio(item)).quality == "hires"
    for number, kind in {3: errors.NotPermitted, 4: errors.LoginRequired, 5: errors.NotPermitted}.items():
        with pytest.raises(kind):
            await member.audio((await member.resolve(f"ep{number}"))[0])
    with pytest.raises(errors.WorkGone):
        await member.resolve("ep999")
    add(server, 500, ep_id=1)
    assert (await member.resolve("av500"))[0].kind == "episode"


async def test_songs_of_the_audio_zone(guest: BilibiliClient, member: BilibiliClient, server: StandInBilibili) -> None:
    for client in (guest, member):
        (item,) = await client.resolve("au400100")
        assert (item.title, item.artists) == ("旧唱机", ("晚风",))
        choice = await client.audio(item, "192k")
        assert (choice.codec, choice.quality, choice.exact) == ("aac", "192k", True)
        assert item.lyric_url is not None
        assert (await client.text(item.lyric_url)).startswith("[00:00.00]旧唱机")
    server.catalogue.songs[400100] = replace(server.catalogue.songs[400100], trial=True)
    with pytest.raises(errors.NotPermitted):
        await guest.audio(item)
    with pytest.raises(errors.WorkGone):
        await guest.resolve("au5")


async def test_what_the_player_shows(guest: BilibiliClient, member: BilibiliClient, server: StandInBilibili) -> None:
    server.catalogue.music["MA1"] = SiteMusic(
        music_id="MA1", title="歌", artists=("甲", "乙"), album="辑", lyrics="[00:01.00]啦"
    )
    lines = (("zh-CN", "", ((0.5, 2.0, "啦啦"),)), ("ai-zh", "", ()))
    video = add(server, subtitles=lines, chapters=((0, 60, "一"),), music_id="MA1")
    item = await one(member, video)
    shown = await member.player(item)
    assert [track.automatic for track in shown.subtitles] == [False, True]
    assert await member.text(shown.subtitles[0].address) == "[00:00.50]啦啦"
    assert shown.chapters[0].title == "一"
    assert shown.music_id == "MA1"
    assert (await member.music("MA1")).artists == ("甲", "乙")
    assert (await guest.player(item)).subtitles == ()
    with pytest.raises(errors.NotPermitted):
        await member.text("https://evil.example/x.lrc")


# -- faults ------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=502),
        Fault(code=-500),
        Fault(code=-8888),
        Fault(cut_after=10),
        Fault(reset=True, cut_after=10),
        Fault(length_delta=50),
    ],
)
async def test_a_failing_server_is_asked_again(
    guest: BilibiliClient, server: StandInBilibili, clock: Any, fault: Fault
) -> None:
    video = add(server)
    server.fail(VIEW, with_=fault, times=4)
    assert (await one(guest, video)).bvid == video.bvid
    assert clock.slept == [0.5, 1.0, 2.0, 4.0]
    server.fail(VIEW, with_=fault, times=None)
    with pytest.raises(errors.SourceUnavailable):
        await guest.resolve(video.bvid)
    assert len(server.asked(path=VIEW)) == 10


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=412),
        Fault(code=-412),
        Fault(code=-352),
        Fault(code=-401),
        Fault(voucher=True),
        Fault(code=-352, voucher=True),
    ],
)
async def test_a_refusal_pauses_every_call_of_the_account(
    guest: BilibiliClient, server: StandInBilibili, clock: Any, store: Any, fault: Fault
) -> None:
    video = add(server)
    item = await one(guest, video)
    server.requests.clear()
    server.fail(PLAY, with_=fault)
    with pytest.raises(errors.RiskControl) as caught:
        await guest.audio(item)
    assert caught.value.retry_after == pytest.approx(300)
    for _ in range(3):
        with pytest.raises(errors.RiskControl):
            await guest.resolve(video.bvid)
    assert len(server.requests) == 1
    assert (await store.get_public(risk_key("guest")))["level"] == 1
    clock.passed += 300
    assert (await guest.audio(item)).sources


async def test_too_many_requests_hold_everybody(guest: BilibiliClient, server: StandInBilibili, clock: Any) -> None:
    video = add(server)
    server.fail(VIEW, with_=Fault(code=-799), times=2)
    for wait in (11.25, 22.5):
        with pytest.raises(errors.RateLimited) as caught:
            await guest.resolve(video.bvid)
        assert caught.value.retry_after == pytest.approx(wait)
    start = clock.passed
    await guest.resolve(video.bvid)
    assert clock.passed - start >= 22
    assert len(server.asked(path=VIEW)) == 3


async def test_who_has_nobody_to_try_again_later_waits_where_it_is(
    connect: Any, server: StandInBilibili, clock: Any
) -> None:
    video = add(server)
    server.fail(VIEW, with_=Fault(code=-799), times=2)
    async with connect(patience=2) as client:
        assert (await one(client, video)).title == "标题"
        assert 30 <= clock.passed <= 40
        server.fail(VIEW, with_=Fault(code=-799), times=None)
        with pytest.raises(errors.RateLimited):
            await one(client, video)
    assert len(server.asked(path=VIEW)) == 6


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(body=b"<html>challenge</html>"), errors.AnswerNotUnderstood),
        (Fault(body=b'{"code":0,"data":null}'), errors.AnswerNotUnderstood),
        (Fault(code=-403), errors.LoginRequired),
        (Fault(code=-101), errors.LoginRequired),
        (Fault(code=99), errors.AnswerNotUnderstood),
        (Fault(status=302, headers=(("Location", "http://127.0.0.1:1/"),)), errors.AnswerNotUnderstood),
        (Fault(body=b"x" * 100, headers=(("Content-Encoding", "gzip"),)), errors.AnswerNotUnderstood),
        (Fault(body=b"x", headers=(("Content-Encoding", "br"),)), errors.AnswerNotUnderstood),
    ],
)
async def test_an_answer_that_makes_no_sense_is_not_asked_for_again(
    guest: BilibiliClient, server: StandInBilibili, fault: Fault, kind: Any
) -> None:
    add(server)
    server.fail(VIEW, with_=fault)
    with pytest.raises(kind):
        await guest.resolve("av170001")
    assert len(server.asked(path=VIEW)) == 1


@pytest.mark.parametrize("fault", [Fault(body=b""), Fault(body=b'{"code":0,"da', no_length=True)])
async def test_an_answer_that_broke_off_is_asked_for_again(
    guest: BilibiliClient, server: StandInBilibili, fault: Fault
) -> None:
    video = add(server)
    server.fail(VIEW, with_=fault)
    assert (await one(guest, video)).title == "标题"
    assert len(server.asked(path=VIEW)) == 2


async def test_a_gzip_bomb_does_not_go_off(guest: BilibiliClient, server: StandInBilibili) -> None:
    import gzip

    server.fail(VIEW, with_=Fault(body=gzip.compress(b" " * (40 << 20)), headers=(("Content-Encoding", "gzip"),)))
    with pytest.raises(errors.AnswerNotUnderstood, match="MiB"):
        await guest.resolve("av170001")


async def test_packed_answers_are_unpacked_and_cut_ones_asked_for_again(
    guest: BilibiliClient, server: StandInBilibili
) -> None:
    import gzip
    import json

    body = gzip.compress(json.dumps({"code": 0, "data": {"aid": 170001, "title": "x", "cid": 5}}).encode())
    packed = (("Content-Encoding", "gzip"),)
    server.fail(VIEW, with_=Fault(body=body[:-10], headers=packed))
    server.fail(VIEW, with_=Fault(body=body, headers=packed))
    assert (await guest.resolve("av170001"))[0].title == "x"


@pytest.mark.parametrize("fault", [Fault(stall_after=10), Fault(delay=30), Fault(bytes_per_second=40)])
async def test_a_call_ends_at_its_deadline(server: StandInBilibili, clock: Any, store: Any, fault: Fault) -> None:
    from musicq_async.bilibili.transport import Transport

    add(server)
    server.fail(VIEW, with_=fault)
    async with Transport(HttpSettings(connect_timeout=0.1, stall_timeout=0.2)) as transport:
        start = time.monotonic()
        with pytest.raises(errors.SourceUnavailable, match="in time"):
            await transport.send(server.site.addresses["api"] + VIEW + "?aid=170001")
        assert time.monotonic() - start < 1.0


async def test_a_cancelled_call_ends_at_once_and_the_next_works(guest: BilibiliClient, server: StandInBilibili) -> None:
    video = add(server)
    server.fail(VIEW, with_=Fault(stall_after=0))
    with anyio.move_on_after(0.05) as scope:
        await guest.resolve(video.bvid)
    assert scope.cancelled_caught
    assert (await one(guest, video)).bvid == video.bvid


async def test_a_host_that_does_not_answer_is_unavailable(connect: Any, clock: Any) -> None:
    async with connect(api_url="http://127.0.0.1:9") as client:
        with pytest.raises(errors.SourceUnavailable, match=r"127\.0\.0\.1"):
            await client.resolve("av1")
    assert len(clock.slept) == 4


async def test_a_closed_client_says_so(connect: Any) -> None:
    async with connect() as client:
        pass
    with pytest.raises(errors.NotRunning):
        await client.resolve("av1")


# -- signatures --------------------------------------------------------------


async def test_nothing_is_signed_that_need_not_be(guest: BilibiliClient, server: StandInBilibili) -> None:
    await guest.audio(await one(guest, add(server)))
    assert [request.path for request in server.requests] == [VIEW, PLAY]
    assert not any("w_rid" in request.query for request in server.requests)


async def test_the_keys_are_fetched_once_for_all(guest: BilibiliClient, server: StandInBilibili) -> None:
    item = await one(guest, add(server))
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(guest.player, item)
    assert len(server.asked(path="/x/web-interface/nav")) == 1
    assert len(server.asked(path="/x/player/wbi/v2")) == 10


async def test_changed_keys_are_fetched_once_more_and_the_call_repeated(
    guest: BilibiliClient, server: StandInBilibili
) -> None:
    item = await one(guest, add(server))
    await guest.player(item)
    server.site.rotate_wbi_keys()
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(guest.player, item)
    assert len(server.asked(path="/x/web-interface/nav")) == 2


async def test_a_signature_refused_twice_is_final(member: BilibiliClient, server: StandInBilibili) -> None:
    item = await one(member, add(server))
    server.fail("/x/player/wbi/v2", with_=Fault(code=-403), times=None)
    with pytest.raises(errors.NotPermitted):
        await member.player(item)
    assert len(server.asked(path="/x/player/wbi/v2")) == 2


async def test_a_wrong_clock_is_told_once(
    guest: BilibiliClient, server: StandInBilibili, clock: Any, caplog: Any
) -> None:
    video = add(server)
    assert not caplog.records
    server.site.now = lambda: clock.time() + 300
    with caplog.at_level(logging.WARNING):
        await guest.resolve(video.bvid)
        await guest.resolve(video.bvid)
    assert sum("clock" in record.getMessage() for record in caplog.records) == 1


# -- who is told what ---------------------------------------------------------


async def test_the_account_is_known(guest: BilibiliClient, member: BilibiliClient) -> None:
    assert not (await guest.whoami()).logged_in
    me = await member.whoami()
    assert (me.logged_in, me.mid, me.member) == (True, 70707, True)


async def test_every_call_looks_like_the_sites_own_page(guest: BilibiliClient, server: StandInBilibili) -> None:
    await guest.resolve(add(server).bvid)
    (request,) = server.requests
    assert request.headers["user-agent"].startswith("Mozilla/5.0")
    assert request.headers["referer"] == "https://www.bilibili.com/"
    assert request.headers["origin"] == "https://www.bilibili.com"


async def test_calls_keep_the_pace(connect: Any, server: StandInBilibili, clock: Any) -> None:
    video = add(server)
    async with connect(api_rate=2.0) as client:
        async with anyio.create_task_group() as group:
            for _ in range(9):
                group.start_soon(client.resolve, video.bvid)
        assert clock.passed == pytest.approx(3.0)


async def test_an_uploaders_pages_are_asked_for_slowly_and_never_two_at_once(
    connect: Any, server: StandInBilibili, clock: Any
) -> None:
    for place in range(100):
        add(server, 1000 + place)
    async with connect(api_rate=1.0) as client:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(client.resolve, "https://space.bilibili.com/20200")
        assert len(server.asked(path="/x/space/wbi/arc/search")) == 8
        assert clock.passed >= 7 * 3


async def test_lyrics_are_a_songs_own_or_what_a_person_wrote(member: BilibiliClient, server: StandInBilibili) -> None:
    (song,) = await member.resolve("au400100")
    assert await member.lyrics(song) == "[00:00.00]旧唱机\n[00:01.00]慢慢转"
    machine, person = ("ai-zh", "", ((0.0, 1.0, "机器"),)), ("zh-CN", "", ((0.0, 1.0, "人"),))
    both = await one(member, add(server, 21, subtitles=(machine, person)))
    heard = await one(member, add(server, 22, subtitles=(machine,)))
    assert await member.lyrics(both, automatic=True) == "[00:00.00]人"
    assert await member.lyrics(heard) is None
    assert await member.lyrics(heard, automatic=True) == "[00:00.00]机器"


async def test_an_item_survives_being_kept_with_a_task(guest: BilibiliClient) -> None:
    import json

    for item in await guest.resolve("ml1234507"):
        assert guest.restored(json.loads(json.dumps(item.saved()))) == item
    fine = {"kind": "video", "title": "x", "bvid": "BV17x411w7KC"}
    assert guest.restored(fine | {"cover": "http://169.254.169.254/"}).cover is None
    for spoilt in (
        {},
        {"kind": "file", "title": "x"},
        fine | {"title": 5},
        {"kind": "video", "title": "x"},
        fine | {"bvid": "../../etc/passwd"},
        fine | {"bvid": "BV17x411w7KI"},
        fine | {"cid": -1},
        fine | {"cid": 1 << 63},
        fine | {"duration": -1},
        fine | {"description": "x" * 200_000},
        {"kind": "song", "title": "x", "auid": 0},
        {"kind": "episode", "title": "x", "ep_id": 5},
        {"kind": "collection", "title": "x"},
    ):
        with pytest.raises(errors.InvalidParams):
            guest.restored(spoilt)


async def test_awkward_titles_come_through_as_they_are(guest: BilibiliClient, server: StandInBilibili) -> None:
    for video in server.catalogue.add_awkward():
        items = await guest.resolve(video.bvid)
        assert all(item.title == video.title for item in items)
        assert len({item.key for item in items}) == len(video.parts)


async def test_calls_that_are_refused_together_lengthen_the_wait_once(
    guest: BilibiliClient, server: StandInBilibili
) -> None:
    server.fail(VIEW, with_=Fault(code=-799, delay=0.02), times=3)
    waits = []

    async def call() -> None:
        with pytest.raises(errors.RateLimited) as caught:
            await guest.resolve("av5")
        waits.append(caught.value.retry_after)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
    assert waits == [pytest.approx(11.25)] * 3


def test_links_and_values_are_read_without_loading_an_http_library() -> None:
    import subprocess
    import sys

    script = (
        "import sys, musicq_async.bilibili.links, musicq_async.bilibili.parsing, musicq_async.bilibili.streams;"
        "sys.exit(bool({'httpx', 'anyio', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
