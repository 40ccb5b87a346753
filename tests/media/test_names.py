"""File names are taken apart as a careful reader would, and written so that every system takes them."""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from pathlib import Path

import pytest

from musicq_async.errors import SettingsError
from musicq_async.media.names import (
    Names,
    SongName,
    Tag,
    check_template,
    file_key,
    format_name,
    free_name,
    name_key,
    numbered,
    parse_name,
    safe_name,
    song_path,
)

DATA = Path(__file__).parent / "data"
LIBRARY = json.loads((DATA / "names.json").read_text("utf-8"))["names"]


def further_names():
    for line in (DATA / "further-names.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            raw, _, rest = line.partition(" => ")
            yield raw, [field.strip() for field in re.split(r" ?\|(?= |$) ?", rest)]


@pytest.mark.parametrize("case", LIBRARY, ids=lambda case: case["name"])
def test_a_library_name_is_taken_apart(case):
    song = parse_name(case["name"])
    also = case["also"]
    assert song.title == case["title"]
    assert list(song.artists) in [case["artists"], *also.get("artists", [])]
    assert song.lossy is case["lossy"]
    assert [tag.text for tag in song.tags] == [text for text, _, _ in case["tags"]]
    for tag, (text, kind, style) in zip(song.tags, case["tags"], strict=True):
        assert tag.kind in [kind, *also.get("kinds", {}).get(text, [])]
        assert tag.style == style
    assert format_name(song) == unicodedata.normalize("NFC", case["name"])


@pytest.mark.parametrize(("raw", "wanted"), list(further_names()))
def test_a_further_name_is_taken_apart(raw, wanted):
    song = parse_name(raw)
    tags = " ; ".join(f"{tag.text} ({tag.kind})" for tag in song.tags)
    assert [song.title, " ; ".join(song.artists), tags, "yes" if song.lossy else "no"] == wanted
    assert format_name(song) == raw


def test_an_extension_is_dropped_and_nothing_else_after_a_dot():
    assert parse_name("晴天 - 周杰伦.flac.part").artists == ("周杰伦",)
    assert parse_name("晴天 - 周杰伦.MP3").artists == ("周杰伦",)
    assert parse_name("Vol.2 - A.B").artists == ("A.B",)


def test_a_decomposed_name_is_composed():
    assert parse_name(unicodedata.normalize("NFD", "Señorita - ガール")) == parse_name("Señorita - ガール")


def test_the_artist_may_stand_in_front():
    song = parse_name("周杰伦 _ 费玉清 - 千里之外 (Live)", order="artist-title")
    assert (song.title, song.artists, song.full) == ("千里之外", ("周杰伦", "费玉清"), "千里之外 (Live)")


def test_brackets_of_two_widths_are_one_pair():
    song = parse_name("夜曲（Live) - 周杰伦")
    assert song.tags == (Tag("Live", "live", "（)"),)
    assert format_name(song) == "夜曲（Live) - 周杰伦"


def test_names_of_the_library_restore_their_own_signs():
    names = Names(["Who?Man", "A|B"])
    assert parse_name("歌 - Who_Man _ A_B", names=names).artists == ("Who?Man", "A|B")
    assert parse_name("歌 - Who_Man _ A_B", names=names).lossy is False


@pytest.mark.parametrize(
    "stem", ["", " ", "-", " - ", "_", "___", "(", "()", "（", "a - ", "( - )", "-版", "\ud800", "a" * 5000, "(" * 3000]
)
def test_no_name_is_too_odd_to_parse(stem):
    format_name(parse_name(stem))


SAFE = [
    ('AC/DC: Live? "Yes" <1> | a*b\\c', "AC_DC_ Live_ _Yes_ _1_ _ a_b_c", "AC／DC： Live？ ＂Yes＂ ＜1＞ ｜ a＊b＼c"),
    ("CON", "_CON", "_CON"),
    ("nul", "_nul", "_nul"),
    ("LPT³", "_LPT³", "_LPT³"),
    ("com1.mp3", "com1_mp3", "_com1.mp3"),
    ("conin$", "_conin$", "_conin$"),
    ("CON .txt", "CON _txt", "_CON .txt"),
    ("COM10", "COM10", "COM10"),
    ("...", "___", "_._"),
    ("..", "__", "__"),
    (".", "_", "_"),
    ("", "_", "_"),
    ("  \u3000\u00a0 ", "_", "_"),
    ("end.", "end_", "end_"),
    ("end ", "end", "end"),
    (".hidden", "_hidden", "_hidden"),
    ("a\tb\r\nc", "a b c", "a b c"),
    ("a\0b\x7f\x85", "a_b__", "a_b__"),
    ("\u202eevil", "evil", "evil"),
    ("zero\u200bwidth\ufeff", "zerowidth", "zerowidth"),
    ("lone\ud800", "lone\ufffd", "lone\ufffd"),
    ("e\u200b\u0301", "é", "é"),
]


@pytest.mark.parametrize(("text", "seed", "wide"), SAFE)
def test_a_name_is_made_safe(text, seed, wide):
    assert safe_name(text) == seed
    assert safe_name(text, style="wide") == wide


def test_the_plain_style_keeps_dots():
    assert safe_name("Mr. Big: Live", style="plain") == "Mr. Big_ Live"


def test_a_long_name_is_cut_between_graphemes():
    family = "👨\u200d👩\u200d👧\u200d👦"
    assert safe_name("é" * 200) == "é" * 120
    assert safe_name("あ" * 100) == "あ" * 80
    assert safe_name(family * 30) == family * 9
    assert safe_name("🇨🇳" * 40) == "🇨🇳" * 30
    assert safe_name("각" * 200) == unicodedata.normalize("NFC", "각") * 80


def test_a_cut_name_is_trimmed_again():
    assert safe_name("a" * 239 + " b") == "a" * 239
    assert safe_name("a" * 239 + ".b", style="wide").endswith("_")


def test_two_cut_names_differ_by_their_source():
    one, other = (safe_name("あ" * 100, source=source) for source in ("BV1-1", "BV1-2"))
    assert one != other
    assert re.fullmatch(r"あ+ ~[0-9a-f]{6}", one)
    assert safe_name(one, source="BV1-1") == one


def test_a_song_that_is_too_long_loses_its_least_needed_words_first():
    tags = (Tag("Live", "live"), Tag("电影《" + "长" * 20 + "》主题曲", "source"), Tag("Hi-Res", "quality"))
    song = SongName("", "歌" * 20, tuple("人" * 8 + str(number) for number in range(9)), tags)
    name = format_name(song, source="BV1-1")
    assert "Hi-Res" not in name
    assert "主题曲" not in name
    assert "(Live)" in name
    assert "人人0 _ 人人人人人人人人1等 ~" in name
    assert len(name.encode()) <= 240


def test_a_long_title_is_cut_last():
    name = format_name(SongName("", "歌" * 300, ("周杰伦",)))
    assert re.fullmatch(r"歌+… - 周杰伦 ~[0-9a-f]{6}", name)
    assert 232 < len(name.encode()) <= 240


def test_names_that_collide_are_numbered():
    assert numbered("Song", 1) == "Song"
    assert numbered("Song", 3) == "Song (3)"
    assert free_name("SONG", {file_key("song"), file_key("Song (2)")}) == "SONG (3)"
    assert len(numbered("あ" * 80, 1234).encode()) <= 245


def test_spellings_of_one_name_share_a_key():
    assert name_key("AC/DC") == name_key("AC_DC") == name_key("ＡＣ／ＤＣ") == name_key("ac:dc")
    assert name_key("Señorita") == name_key(unicodedata.normalize("NFD", "SEÑORITA"))
    assert name_key("Don’t") == name_key("Don't")
    assert name_key("海阔天空") != name_key("海底")


def test_a_template_prints_fields_and_optional_sections():
    song = parse_name("晴天 (Live) - 周杰伦 _ 费玉清")
    fields = {"page": 3, "date": dt.date(2026, 11, 25), "quality": "", "uploader": "up"}
    printed = format_name(song, template="{page:02} {artist|uploader}[ ({quality})] - {base} {date:%Y}", fields=fields)
    assert printed == "03 周杰伦 - 晴天 2026"
    assert format_name(song, template="[[{collection|uploader}]] {title}{tags}", fields=fields) == "[up] 晴天 (Live)"


def test_a_song_without_artists_has_no_dash():
    assert format_name(SongName("", "大鱼")) == "大鱼"


@pytest.mark.parametrize("template", ["{nothing}", "[{title}", "{title}]", "{title", "{page:x}", "{title.__class__}"])
def test_a_template_that_cannot_be_filled_in_is_refused(template):
    with pytest.raises(SettingsError, match="template"):
        format_name(SongName("", "大鱼"), template=template)


@pytest.mark.parametrize("template", ["", "{artist}/", "{artist}/song", "[{title}/]x"])
def test_a_template_that_gives_songs_one_name_is_refused(template):
    with pytest.raises(SettingsError, match="needs a field"):
        check_template(template)
    check_template("{artist}/[{index:03} ]{title}")


def test_only_the_template_makes_folders():
    song, fields = SongName("", "a/b\\c", ("..", "/x")), {"uploader": "../../etc", "collection": ""}
    parts = song_path(song, template="{uploader}/{collection}/[{collection}/]{title}{tags} - {artists}", fields=fields)
    assert parts == ("______etc", "a_b_c - __ _ _x")
    assert song_path(SongName("", ".."), template="..\\{title}/../{title}") == ("__", "__", "__", "__")


def test_each_component_is_safe_by_itself():
    song = SongName("", "x" * 400)
    folder, name = song_path(song, template="{uploader}/{title}", fields={"uploader": "CON"}, source="BV1:2")
    assert folder == "_CON"
    assert name.startswith("x" * 200)
    assert name == format_name(song, template="{title}", source="BV1:2")


def test_songs_of_one_long_folder_stay_together():
    song = SongName("", "t", ("あ" * 200,))
    paths = {song_path(song, template="{artist}/{title}", source=source) for source in ("BV1:1", "BV1:2")}
    assert len(paths) == 1
