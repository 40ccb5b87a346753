"""Video titles are understood as a careful reader would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from musicq_async.media.names import Names, parse_video_title

DATA = Path(__file__).parent / "data"
TABLE = json.loads((DATA / "names.json").read_text("utf-8"))["videos"]
PARTS = json.loads((DATA / "video-parts.json").read_text("utf-8"))


def further_titles():
    for line in (DATA / "further-videos.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("# "):
            title, _, rest = line.partition(" => ")
            title, _, part = title.rpartition(" #") if " #" in title else (title, "", None)
            title, _, uploader = title.rpartition(" @") if " @" in title else (title, "", None)
            fields = [field.strip() for field in rest.split("|")]
            yield title, part, uploader, (fields + [""] * 5)[:5]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case["title"])
def test_a_title_of_the_table_is_understood(case):
    song = parse_video_title(case["title"], part=case.get("part"), uploader=case.get("uploader"))
    assert (song.title, list(song.artists), song.confidence) == (case["song"], case["artists"], case["confidence"])
    assert list(song.original_artists) == case.get("originals", [])
    assert [[tag.text, tag.kind] for tag in song.tags] == case.get("tags", [])


@pytest.mark.parametrize(("title", "part", "uploader", "wanted"), list(further_titles()))
def test_a_further_title_is_understood(title, part, uploader, wanted):
    song = parse_video_title(title, part=part, uploader=uploader)
    tags = " ; ".join(f"{tag.text} ({tag.kind})" for tag in song.tags)
    got = [song.title, " ; ".join(song.artists), song.confidence, tags, " ; ".join(song.original_artists)]
    assert [here for here, want in zip(got, wanted, strict=True) if want != "*"] == [
        want for want in wanted if want != "*"
    ]


@pytest.mark.parametrize("case", PARTS, ids=lambda case: case["title"])
def test_parts_uploaders_and_tags_help_to_understand(case):
    given = {key: case[key] for key in ("part", "parts", "uploader", "tags") if key in case}
    song = parse_video_title(case["title"], **given)
    assert song.title == case["song"] or case["song"] is None
    assert list(song.artists) == case["artists"]
    assert song.confidence == case["confidence"] or case["confidence"] is None
    assert list(song.original_artists) == case["originals"]
    if "said" in case:
        assert [[tag.text, tag.kind] for tag in song.tags] == case["said"]


def test_artists_of_the_users_library_are_known():
    names = Names(["山下小乐队"])
    assert parse_video_title("海边 - 山下小乐队").artists == ("海边",)
    assert parse_video_title("海边 - 山下小乐队", names=names).artists == ("山下小乐队",)


def test_traditional_and_japanese_spellings_name_one_artist():
    for spelling in ("米津玄師", "米津玄师"):
        song = parse_video_title(f"Lemon - {spelling}")
        assert (song.title, song.artists, song.confidence) == ("Lemon", (spelling,), "high")


def test_file_names_do_not_load_the_words_of_video_titles():
    code = "import sys, musicq_async.media.names as n; n.parse_name('a - b'); print('musicq_async.media.names.lexicon' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
