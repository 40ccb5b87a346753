"""Answers read into values, whatever is missing."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.bilibili.models import Item, Owner
from musicq_async.bilibili.parsing import (
    account,
    episodes,
    favourite,
    folder_page,
    folders,
    listed_video,
    music,
    player_info,
    song,
    subtitle_lines,
    video_info,
)
from musicq_async.bilibili.reading import Reader
from musicq_async.errors import AnswerNotUnderstood

BV, AID = "BV17x411w7KC", 170001


def view(*parts: tuple[str, int], **more: Any) -> dict[str, Any]:
    pages = [
        {"cid": 100 + page, "page": page, "part": name, "duration": length}
        for page, (name, length) in enumerate(parts, 1)
    ]
    return {
        "bvid": BV,
        "aid": AID,
        "title": "标题",
        "pages": pages,
        "owner": {"mid": 7, "name": "谁"},
        "pubdate": 5,
        **more,
    }


def test_a_video_of_one_part_takes_its_title_from_the_video() -> None:
    (item,) = video_info(view(("output.mp4", 61), pic="http://i0.hdslb.com/a.jpg")).items()
    assert item == Item(
        kind="video", title="标题", bvid=BV, aid=AID, cid=101, uploader=Owner(mid=7, name="谁"),
        cover="http://i0.hdslb.com/a.jpg", published=5, duration=61.0,
    )  # fmt: skip
    assert item.link == f"https://www.bilibili.com/video/{BV}"


def test_parts_keep_their_titles_unless_those_are_raw_files_or_empty() -> None:
    items = video_info(view(("夜", 1), ("第2首.MP4", 2), ("  ", 3), ("夜", 4))).items()
    assert [item.part_title for item in items] == ["夜", "标题_P02", "标题_P03", "夜"]
    assert [item.key for item in items] == [f"{BV}:{cid}" for cid in (101, 102, 103, 104)]
    assert items[1].link.endswith("?p=2")


def test_a_video_without_pages_has_the_part_that_its_cid_names() -> None:
    (item,) = video_info({"aid": AID, "cid": 9, "duration": 60}).items()
    assert (item.bvid, item.cid, item.duration, item.title) == (BV, 9, 60.0, BV)


def test_a_video_that_is_an_episode_says_so() -> None:
    assert video_info(view(("a", 1), redirect_url="https://www.bilibili.com/bangumi/play/ep345?x=1")).ep_id == 345


def test_a_page_without_id_is_not_understood() -> None:
    for data in (None, [], {}, {"title": "x"}, {"bvid": "BV1", "aid": "x"}):
        with pytest.raises(AnswerNotUnderstood):
            video_info(data)


def test_an_entry_of_a_folder_is_what_its_type_says() -> None:
    video = favourite(
        Reader(
            {
                "type": 2,
                "id": AID,
                "bvid": BV,
                "title": "a",
                "page": 1,
                "duration": 60,
                "ugc": {"first_cid": 5},
                "fav_time": 8,
                "pubtime": 3,
                "attr": 0,
            }
        )
    )
    assert video is not None
    assert (video.kind, video.cid, video.added, video.published, video.gone) == ("video", 5, 8, 3, False)
    zone = favourite(Reader({"type": 12, "id": AID, "title": "b"}))
    assert zone is not None
    assert (zone.kind, zone.auid, zone.bvid) == ("song", AID, None)
    collection = favourite(Reader({"type": 21, "id": 4, "title": "c", "upper": {"mid": 9}}))
    assert collection is not None
    assert (collection.kind, collection.season_id, collection.uploader.mid) == ("collection", 4, 9)
    assert favourite(Reader({"type": 24, "id": 4})) is None


def test_the_first_part_of_several_is_not_taken_for_the_whole() -> None:
    entry = favourite(Reader({"type": 2, "id": AID, "bvid": BV, "page": 3, "ugc": {"first_cid": 5}}))
    assert entry is not None
    assert (entry.cid, entry.pages) == (None, 3)


@pytest.mark.parametrize("mark", [{"attr": 9}, {"attr": 1}, {"title": "已失效视频"}])
def test_a_gone_entry_is_marked(mark: dict[str, Any]) -> None:
    entry = favourite(Reader({"type": 2, "id": AID, "bvid": BV, "ugc": {"first_cid": 5}, **mark}))
    assert entry is not None
    assert (entry.gone, entry.cid) == (True, None)


def test_an_empty_folder_is_an_empty_page() -> None:
    page = folder_page({"info": {"title": "x", "media_count": 0}, "medias": None, "has_more": False})
    assert (page.items, page.more, page.title, page.total) == ((), False, "x", 0)
    assert folders({"list": [{"id": 1, "attr": 23, "title": "私"}, {"title": "no id"}]})[0].private


def test_lengths_are_read_in_either_form() -> None:
    assert [
        found.duration
        for text in ("03:05", "1:02:03", "x")
        if (found := listed_video(Reader({"aid": AID, "length": text})))
    ] == [185.0, 3723.0, None]


def test_a_song_and_its_singer() -> None:
    item = song({"id": 3, "title": "歌", "author": "唱", "uname": "传", "duration": 200, "lyric": ""}, 3)
    assert (item.title, item.artists, item.uploader.name, item.key, item.lyric_url) == (
        "歌",
        ("唱",),
        "传",
        "au3",
        None,
    )


def test_trailers_are_left_out_of_a_season() -> None:
    season = {
        "title": "剧", "season_id": 2,
        "episodes": [{"id": 1, "cid": 11, "aid": AID, "title": "1", "long_title": "始", "duration": 61000}, {"id": 2, "cid": 12, "badge": "预告"}],
        "section": [{"episodes": [{"id": 3, "cid": 13}]}],
    }  # fmt: skip
    (item,) = episodes(season)
    assert (item.ep_id, item.bvid, item.part_title, item.duration, item.season_id) == (1, BV, "1 始", 61.0, 2)
    assert [item.ep_id for item in episodes(season, trailers=True)] == [1, 2, 3]


def test_subtitles_of_another_part_are_not_used() -> None:
    data = {
        "cid": 5,
        "subtitle": {
            "subtitles": [
                {"lan": "zh-CN", "subtitle_url": "//a.hdslb.com/s"},
                {"lan": "ai-zh", "subtitle_url": "//b"},
                {"lan": "en", "subtitle_url": ""},
            ]
        },
        "view_points": [{"content": "一", "from": 0, "to": 60}, {"content": "bad", "from": 9, "to": 3}],
        "bgm_info": {"music_id": "MA1", "music_title": "歌"},
    }
    found = player_info(data, cid=5)
    assert [(track.language, track.automatic) for track in found.subtitles] == [("zh-CN", False), ("ai-zh", True)]
    assert found.subtitles[0].address == "https://a.hdslb.com/s"
    assert [chapter.title for chapter in found.chapters] == ["一"]
    assert found.music_id == "MA1"
    assert player_info(data, cid=6).subtitles == ()


def test_subtitles_become_lyrics() -> None:
    body = {
        "body": [
            {"from": 0.5, "to": 2, "content": "一\n二"},
            {"from": 3725.999, "content": "x"},
            {"from": 1, "content": " "},
        ]
    }
    assert subtitle_lines(body) == "[00:00.50]一 二\n[62:06.00]x"


def test_recognised_artists_come_as_objects_or_texts() -> None:
    assert music({"music_title": "t", "artists_list": [{"name": "a"}, {"name": "b"}]}, "MA1").artists == ("a", "b")
    assert music({"artists_list": ["a", "b"]}, "MA1").artists == ("a", "b")
    assert music({"origin_artist": "a"}, "MA1").artists == ("a",)


def test_an_account_is_read_from_either_answer() -> None:
    assert not account({"isLogin": False}).logged_in
    assert account({"isLogin": True, "mid": 7, "uname": "x", "vipStatus": 1}).member


def test_numbers_are_kept_exact_and_within_64_bits() -> None:
    read = Reader(
        {
            "a": "114868162141203",
            "b": 2251799813685247,
            "c": 10**30,
            "d": float("nan"),
            "e": True,
            "f": "1e400",
            "g": [1],
        }
    )
    assert [read.integer(name) for name in "abcdefg"] == [114868162141203, 2251799813685247, None, None, 1, None, None]
    assert [read.number(name) for name in "dfg"] == [None, None, None]


def test_a_lone_surrogate_never_gets_through() -> None:
    assert Reader({"a": "x\ud800y"}).text("a").encode() == b"x?y"


FIELDS = [
    "bvid", "aid", "id", "cid", "title", "pages", "page", "part", "duration", "owner", "upper", "mid", "name", "type", "attr", "medias", "info",
    "episodes", "section", "badge", "subtitle", "subtitles", "view_points", "from", "to", "body", "content", "ugc", "first_cid", "list", "forward",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(BV),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=25,
)


@given(JSON)
def test_any_answer_is_read_or_not_understood(data: Any) -> None:
    with contextlib.suppress(AnswerNotUnderstood):
        video_info(data).items()
    for read in (folder_page, folders, episodes, account, subtitle_lines):
        read(data)
    player_info(data, cid=1)
    song(data, 1)
    music(data, "MA1")
