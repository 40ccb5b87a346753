"""Links in all their forms."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.bilibili.links import (
    AllFavourites,
    AllLists,
    Collection,
    Episode,
    Favourites,
    Link,
    Media,
    Season,
    Series,
    ShortLink,
    Song,
    SongMenu,
    Space,
    SpaceAudio,
    Video,
    WatchLater,
    parse_link,
)
from musicq_async.errors import InvalidParams

BV = "BV17x411w7KC"
WWW = "https://www.bilibili.com"
SPACE = "https://space.bilibili.com"

FORMS: dict[str, Link] = {
    BV: Video(BV),
    f"  {BV}\n": Video(BV),
    "bv17x411w7KC": Video(BV),
    "av170001": Video(BV),
    "AV170001": Video(BV),
    f"{BV}?p=2": Video(BV, 2),
    f"{WWW}/video/{BV}": Video(BV),
    f"{WWW}/video/{BV}/": Video(BV),
    f"{WWW}/video/{BV}/?p=3&spm_id_from=333.1007&vd_source=0123": Video(BV, 3),
    f"{WWW}/video/av170001": Video(BV),
    f"{WWW}/video/av170001/index_2.html": Video(BV, 2),
    f"http://bilibili.com/video/{BV}": Video(BV),
    f"HTTPS://WWW.BILIBILI.COM/video/{BV}": Video(BV),
    f"https://m.bilibili.com/video/{BV}?p=2": Video(BV, 2),
    f"www.bilibili.com/video/{BV}": Video(BV),
    f"{WWW}/s/video/{BV}": Video(BV),
    f"{WWW}/{BV}": Video(BV),
    f"{WWW}/festival/2026bnj?bvid={BV}": Video(BV),
    f"{WWW}/blackboard/activity-x.html?bvid={BV}&p=4": Video(BV, 4),
    f"https://player.bilibili.com/player.html?aid=170001&page=2": Video(BV, 2),  # noqa: F541
    "https://b23.tv/aBcDeF1": ShortLink("aBcDeF1"),
    "b23.tv/aBcDeF1": ShortLink("aBcDeF1"),
    "https://b23.tv/aBcDeF1?share_medium=android": ShortLink("aBcDeF1"),
    "https://bili2233.cn/aBcDeF1": ShortLink("aBcDeF1"),
    f"https://b23.tv/{BV}": Video(BV),
    f"https://b23.tv/{BV}?p=2": Video(BV, 2),
    "https://b23.tv/av170001": Video(BV),
    "https://b23.tv/ep123": Episode(123),
    f"{SPACE}/7/favlist?fid=1234507": Favourites(1234507),
    f"{SPACE}/7/favlist?fid=1234507&ftype=create": Favourites(1234507),
    f"{SPACE}/7/favlist": AllFavourites(7),
    f"{SPACE}/7/favlist?fid=88&ftype=collect&ctype=21": Collection(88),
    f"{SPACE}/7/favlist?fid=88&ftype=collect": Collection(88),
    f"{SPACE}/7/favlist?fid=88&ftype=collect&ctype=11": Favourites(88),
    f"{SPACE}/7/#/favlist?fid=1234507": Favourites(1234507),
    f"{WWW}/medialist/detail/ml1234507": Favourites(1234507),
    f"{WWW}/medialist/play/ml1234507": Favourites(1234507),
    f"{WWW}/list/ml1234507?oid=1&bvid={BV}": Favourites(1234507),
    "ml1234507": Favourites(1234507),
    f"{SPACE}/7/lists/88?type=season": Collection(88, 7),
    f"{SPACE}/7/lists/88": Collection(88, 7),
    f"{SPACE}/7/channel/collectiondetail?sid=88": Collection(88, 7),
    f"{SPACE}/7/lists/88?type=series": Series(88, 7),
    f"{SPACE}/7/channel/seriesdetail?sid=88&ctype=0": Series(88, 7),
    f"{WWW}/list/7?sid=88": Series(88, 7),
    f"{WWW}/list/7": Space(7),
    f"{SPACE}/7/lists": AllLists(7),
    f"{SPACE}/7": Space(7),
    f"{SPACE}/7/": Space(7),
    f"{SPACE}/7/video": Space(7),
    f"{SPACE}/7/upload/video": Space(7),
    f"{SPACE}/7?spm_id_from=333.337": Space(7),
    "https://m.bilibili.com/space/7": Space(7),
    f"{SPACE}/7/audio": SpaceAudio(7),
    f"{SPACE}/7/upload/audio": SpaceAudio(7),
    f"{WWW}/watchlater": WatchLater(),
    f"{WWW}/watchlater/#/list": WatchLater(),
    f"{WWW}/list/watchlater?bvid={BV}": WatchLater(),
    f"{WWW}/bangumi/play/ep123?from=search": Episode(123),
    "https://m.bilibili.com/bangumi/play/ss456": Season(456),
    f"{WWW}/bangumi/play/ss456": Season(456),
    f"{WWW}/bangumi/media/md789/": Media(789),
    "ep123": Episode(123),
    "ss456": Season(456),
    "md789": Media(789),
    f"{WWW}/audio/au1": Song(1),
    f"{WWW}/audio/am2?type=2": SongMenu(2),
    "au1": Song(1),
    "am2": SongMenu(2),
    f"【晚风 - 林小满-哔哩哔哩】 https://b23.tv/aBcDeF1": ShortLink("aBcDeF1"),  # noqa: F541
    f"快看这个：{WWW}/video/{BV}?p=2，太好听了": Video(BV, 2),
    f"听这首（{WWW}/video/{BV}）": Video(BV),
    f"nice song {BV}!": Video(BV),
    f"see https://example.com/x and {BV}": Video(BV),
    f"first https://example.com/a then {WWW}/video/{BV}.": Video(BV),
}

REFUSED = [
    "",
    "   ",
    "hello",
    "12345",
    "https://example.com/",
    f"https://example.com/video/{BV}",
    f"https://www.bilibili.com.evil.example/video/{BV}",
    f"https://www.bilibili.com@evil.example/video/{BV}",
    f"https://evilbilibili.com/video/{BV}",
    f"https://user:pass@www.bilibili.com/video/{BV}",
    f"https://www.bilibili.com:8443/video/{BV}",
    f"ftp://www.bilibili.com/video/{BV}",
    f"file:///etc/{BV[:5]}",
    "https://www.bilibili.com/",
    "https://www.bilibili.com/video/",
    "https://www.bilibili.com/video/BV17x411w7KI",
    "https://www.bilibili.com/video/av0",
    "https://www.bilibili.com/read/cv123",
    "https://live.bilibili.com/1",
    "https://space.bilibili.com/",
    "https://space.bilibili.com/abc",
    "https://space.bilibili.com/7/favlist?fid=abc",
    "https://space.bilibili.com/7/lists/abc",
    "https://b23.tv/",
    "https://b23.tv/a/b",
    "BV17x411w7KI",
    "av0",
    "av99999999999999999999",
    "ep0",
    f"{BV}?p=0",
    f"{BV}?p=x",
    f"{BV}?p=-1",
    "x" * 10_000,
]


@pytest.mark.parametrize(("text", "link"), FORMS.items())
def test_every_form_is_understood(text: str, link: Link) -> None:
    assert parse_link(text) == link


@pytest.mark.parametrize("text", REFUSED)
def test_everything_else_is_refused_with_the_cure(text: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        parse_link(text)
    assert 10 < len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [None, 7, b"BV17x411w7KC", ["av1"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidParams):
        parse_link(value)  # type: ignore[arg-type]


@given(st.text(max_size=300))
def test_any_text_is_a_link_or_a_typed_error(text: str) -> None:
    with contextlib.suppress(InvalidParams):
        parse_link(text)


@given(
    st.text(alphabet="BVav/:?#.=&pm017x41wKC@[]%bilcomhttps ", max_size=80).map(
        lambda tail: "https://www.bilibili.com/" + tail
    )
)
def test_any_address_is_a_link_or_a_typed_error(text: str) -> None:
    with contextlib.suppress(InvalidParams):
        parse_link(text)
