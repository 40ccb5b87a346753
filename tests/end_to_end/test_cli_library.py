"""An existing folder of songs is read into the archive, and what was guessed is reviewed and settled."""

from __future__ import annotations

import dataclasses
import shutil

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from musicq_async.media.tags import Tags, write_tags
from musicq_async.testing import StandInBilibili
from musicq_async.testing.bilibili_sound import song_file

pytest.importorskip("av")

LINK = "https://www.bilibili.com/video/BV1xx411c7mD"


@pytest.fixture
def song(home):
    """Write a song below the music folder, with or without tags."""
    (home / "music").mkdir(exist_ok=True)

    def write(name, **tags):
        path = home / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(song_file((440,), 0.5))
        if tags:
            anyio.run(lambda: write_tags(path, Tags(**tags)))
        return path

    return write


def seen(answer):
    """What became of each file, by its name."""
    return {item["path"].rpartition("/")[2]: item for item in answer.json["items"]}


def test_a_folder_is_read_by_tags_then_names(musicq, song, home):
    song("a/by link.m4a", title="晴天", artists=("周杰伦",), url=f"{LINK}?p=3&spm_id_from=x")
    song("a/by comment.m4a", title="t", comment="from BV17x411w7KC")
    song("by av.m4a", comment="https://www.bilibili.com/video/av1/")
    song("by zone.m4a", comment="https://www.bilibili.com/audio/au123")
    song("by key.m4a", url=LINK, others={"MUSICQ_ID": ("BV1xx411c7mD:62131",)})
    song("周深 - 大鱼 [BV1GJ411x7h7_p02].m4a")
    song("Lemon (柠檬) - 米津玄師.m4a")
    song("a/tagged only.m4a", title="夜曲", artists=("周杰伦",))
    song("other site.m4a", url="https://example.com/BV1xx411c7mQ", title="elsewhere")
    (home / "music" / "junk.mp3").write_bytes(b"no sound")
    (home / "music" / ".hidden.m4a").write_bytes(b"no sound")
    (home / "music" / "cover.jpg").write_bytes(b"no sound")
    answer = musicq("library", "scan", "--json", code=4)
    found = seen(answer)
    keys = {name: item["key"] for name, item in found.items() if item["status"] == "added"}
    assert keys == {
        "by link.m4a": f"{LINK}?p=3",
        "by comment.m4a": "https://www.bilibili.com/video/BV17x411w7KC",
        "by av.m4a": "https://www.bilibili.com/video/BV1xx411c7mQ",
        "by zone.m4a": "au123",
        "by key.m4a": "BV1xx411c7mD:62131",
        "周深 - 大鱼 [BV1GJ411x7h7_p02].m4a": "https://www.bilibili.com/video/BV1GJ411x7h7?p=2",
    }
    guessed = {name: (item["title"], item["artists"]) for name, item in found.items() if item["status"] == "guessed"}
    assert guessed == {
        "Lemon (柠檬) - 米津玄師.m4a": ("Lemon (柠檬)", ["米津玄師"]),
        "tagged only.m4a": ("夜曲", ["周杰伦"]),
        "other site.m4a": ("elsewhere", []),
    }
    assert (found["junk.mp3"]["status"], found["junk.mp3"]["error"]) == ("failed", "ConvertFailed")
    assert len(found) == 10
    assert "6 added, 3 guessed, 1 failed" in answer.err
    again = seen(musicq("library", "scan", str(home / "music"), "--json", code=4))
    assert {item["status"] for item in again.values()} == {"known", "guessed", "failed"}
    listed = musicq("library", "review", "--json").json
    assert sorted(row["title"] for row in listed) == sorted(title for title, _ in guessed.values())
    assert len(musicq("library", "review").out.splitlines()) == 3


def test_one_name_twice_is_two_guesses_and_a_moved_file_is_followed(musicq, song, home):
    one, two = song("a/x - y.m4a"), song("b/X - Y.m4a")
    keys = {item["key"] for item in musicq("library", "scan", "--json").json["items"]}
    assert len(keys) == 2
    linked = song("c.m4a", url=LINK)
    musicq("library", "scan")
    linked.rename(home / "music" / "d.m4a")
    one.unlink()
    two.unlink()
    (item,) = musicq("library", "scan", "--json").json["items"]
    assert (item["status"], item["path"]) == ("added", str(home / "music" / "d.m4a"))
    assert musicq("library", "review", "--json").json == []
    shutil.copy(home / "music" / "d.m4a", home / "music" / "e.m4a")
    copy = seen(musicq("library", "scan", "--json"))["e.m4a"]
    assert copy["status"] == "known"
    assert "d.m4a" in copy["message"]


def test_a_folder_that_is_not_there_is_named(musicq):
    assert "nowhere" in musicq("library", "scan", "nowhere", code=2).err
    assert "no songs found" in musicq("library", "scan").err


@pytest.fixture
def site(monkeypatch):
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(StandInBilibili()) as site:
        for name, value in site.environment().items():
            monkeypatch.setenv(name, value)
        yield site


def test_a_song_that_was_scanned_or_settled_is_not_fetched_again(musicq, song, home, site):
    aid = next(iter(site.catalogue.videos))
    first = musicq("download", f"av{aid}", "--json").json["items"][0]
    link, key = first["link"], f"{first['bvid']}:{first['cid']}"
    kept = song("mine/my own name.m4a")
    musicq("library", "scan")
    musicq("library", "set", str(kept), link)
    assert musicq("library", "review", "--json").json == []
    assert seen(musicq("library", "scan", "--json"))[kept.name]["key"] == key
    again = musicq("download", link, "--json").json["items"][0]
    assert again["status"] == "skipped"


def test_the_site_says_which_part_a_song_is_when_asked(musicq, song, home, site):
    aid = next(iter(site.catalogue.videos))
    song("x.m4a", url=f"https://www.bilibili.com/video/av{aid}")
    song("gone.m4a", url=LINK)
    found = seen(musicq("library", "scan", "--ask", "--json"))
    assert found["x.m4a"]["key"].count(":") == 1
    assert found["x.m4a"]["key"].startswith("BV1")
    assert found["gone.m4a"]["key"] == LINK


def test_a_recording_is_split_at_the_chapters_of_its_page_or_at_given_ones(musicq, song, home, site):
    video = next(iter(site.catalogue.videos.values()))
    (part, *_) = video.parts
    halves = ((0.0, part.seconds / 2, "晴天"), (part.seconds / 2, part.seconds, "七里香"))
    video = site.catalogue.videos[video.aid] = dataclasses.replace(video, chapters=halves)
    item = musicq("download", f"av{video.aid}", "--json").json["items"][0]
    tracks = musicq("library", "split", item["path"], "--json").json["items"]
    assert [track["number"] for track in tracks] == list(range(1, len(video.chapters) + 1))
    for track in tracks:
        assert track["path"].startswith(str(home / "music"))
    plain = song("x.m4a")
    assert "--chapters" in musicq("library", "split", str(plain), code=2).err
    given = musicq("library", "split", str(plain), "--chapters", '{"0:00": "a", "0:00.25": "b"}', code=2)
    assert "chapters" in given.err
    long = home / "music" / "long.m4a"
    long.write_bytes(song_file((440, 550), 4.0))
    made = musicq("library", "split", str(long), "--chapters", '{"0:00": "a", "0:02": "b"}').out.splitlines()
    assert made == [str(home / "music" / "long" / name) for name in ("01 a.m4a", "02 b.m4a")]
    assert "no place" in musicq("library", "split", str(long), "--chapters", '{"x": "a"}', code=2).err
