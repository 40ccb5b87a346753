"""``download`` takes every form of link, and files end where they should whatever a title says."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest
from anyio.from_thread import start_blocking_portal

from musicq_async.testing import StandInBilibili
from musicq_async.testing.bilibili_catalogue import FAN, UPLOADER

pytest.importorskip("av")


@pytest.fixture
def site(monkeypatch):
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(StandInBilibili()) as site:
        for name, value in site.environment(cookie=site.cookie("member"), quality="64k").items():
            monkeypatch.setenv(name, value)
        yield site


WWW, SPACE = "https://www.bilibili.com", "https://space.bilibili.com"
ONE = (
    "{bvid}",
    "av{aid}",
    "bv{tail}",
    WWW + "/video/{bvid}",
    WWW + "/video/{bvid}/?p=1&spm_id_from=333.999&vd_source=0",
    WWW + "/video/AV{aid}/",
    "m.bilibili.com/video/{bvid}",
    WWW + "/festival/bnj?bvid={bvid}",
    "https://b23.tv/aBcD123",
    "https://b23.tv/{bvid}",
    "https://b23.tv/av{aid}",
    "【歌】 " + WWW + "/video/{bvid} 来自哔哩哔哩",
    "https://player.bilibili.com/player.html?aid={aid}",
)
"""Forms of a link to the first video."""
MANY = {
    WWW + "/video/{album}": 3,
    WWW + "/video/{album}?p=2": 1,
    SPACE + "/{fan}/favlist?fid=1234507": 12,
    SPACE + "/{fan}/favlist": 12,
    WWW + "/medialist/detail/ml1234507": 12,
    WWW + "/list/ml1234507": 12,
    SPACE + "/{up}/lists/8001?type=season": 4,
    SPACE + "/{up}/lists/8001": 4,
    SPACE + "/{up}/channel/collectiondetail?sid=8001": 4,
    SPACE + "/{fan}/favlist?fid=8001&ftype=collect&ctype=21": 4,
    SPACE + "/{up}/lists/9001?type=series": 4,
    SPACE + "/{up}/channel/seriesdetail?sid=9001": 4,
    WWW + "/list/{up}?sid=9001": 4,
    WWW + "/watchlater": 2,
    WWW + "/list/watchlater": 2,
    WWW + "/audio/au400100": 1,
    "au400100": 1,
    WWW + "/audio/am10624": 1,
    SPACE + "/{up}/audio": 1,
}
"""Other links, and how many songs each stands for."""


def test_every_form_of_a_link_is_taken_and_no_song_is_kept_twice(musicq, home, site):
    first = next(iter(site.catalogue.videos.values()))
    album = next(video for video in site.catalogue.videos.values() if len(video.parts) == 3)
    words = {"bvid": first.bvid, "tail": first.bvid[2:], "aid": first.aid, "album": album.bvid}
    words |= {"fan": FAN.mid, "up": UPLOADER.mid}
    forms = [form.format(**words) for form in ONE]
    same = musicq("download", *forms, "--json").json["items"]
    assert [item["bvid"] for item in same] == [first.bvid] * len(ONE)
    assert {item["status"] for item in same} <= {"ok", "skipped"}
    for form, count in MANY.items():
        items = musicq("download", form.format(**words), "--json").json["items"]
        assert (form, len(items)) == (form, count)
        assert {item["status"] for item in items} <= {"ok", "skipped"}, items
    songs = [path.name for path in (home / "music").rglob("*") if path.suffix in {".m4a", ".flac", ".mka"}]
    assert len(songs) == 12


@pytest.mark.parametrize("link", ["https://example.com/video/BV17x411w7KC", "BV1000000000", "hello", "https://b23.tv/"])
def test_what_is_no_link_is_named(musicq, site, link):
    answer = musicq("download", link, "--json", code=1)
    assert answer.json["items"][0]["error"] == "InvalidParams"
    assert site.requests == []


TITLES = [
    "../../../escaped", "/etc/passwd", "..", "C:\\Windows\\x", "a/b/../../../c", "\u202egpj.exe", "CON", "x" * 600, "《..》../..",
    "名" * 200, "\x00\x07\x1b[31m", "🎵" * 90, ".hidden", "~/x", "$(touch x)", "-rf", "{artist}/../{title}", "．．／x", "a\nb\rc",
]  # fmt: skip


@pytest.mark.parametrize("template", ["{title}{tags} - {artists}", "{uploader}/{video_title}/{part|title}"])
def test_no_title_leads_out_of_the_music_folder(musicq, home, site, monkeypatch, template):
    monkeypatch.setenv("MUSICQ_NAME_TEMPLATE", template)
    first = next(iter(site.catalogue.videos.values()))
    before = {path for path in home.rglob("*") if path.is_relative_to(home / "music")}
    links = []
    for number, title in enumerate(TITLES):
        (part,) = first.parts
        owner = dataclasses.replace(first.owner, name=title)
        part = dataclasses.replace(part, cid=40_000_000_000 + number, title=title)
        video = dataclasses.replace(first, aid=900_000 + number, title=title, parts=(part,), owner=owner)
        site.catalogue.add(video)
        links.append(f"av{video.aid}")
    items = musicq("download", *links, "--json").json["items"]
    assert [item["status"] for item in items] == ["ok"] * len(TITLES), items
    made = {path for path in home.rglob("*") if path.is_file()} - before
    outside = {path.name for path in made if not path.is_relative_to(home / "music")}
    assert outside <= {"musicq.db", "musicq.db-wal", "musicq.db-shm", "musicq.log", "musicq.db.lock"}
    for path in made:
        for name in path.relative_to(home).parts:
            assert len(name.encode()) <= 255
            assert not any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name)
    assert len({item["path"] for item in items}) == len(TITLES)
    assert not (home.parent / "escaped.m4a").exists()
