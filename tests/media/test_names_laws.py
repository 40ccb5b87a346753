"""The laws of song names, tried on made-up ones."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicq_async.media.names import (
    SongName,
    Tag,
    format_name,
    name_key,
    parse_name,
    parse_video_title,
    safe_name,
    song_path,
    tag_kind,
)

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no fault of a name's."""
AWKWARD = (
    "/\\:*?\"<>|._ -()（）[]【】《》「」'～…·\t\n\r\0\x7f\x85\u00a0\u3000\u200b\u200d\u202e\ufeff\u0301\u0338\ud800"
    "あガか゛한가\u1100\u1161\u11a8爱愛語é😀👨👩🇨🇳ßİıΣſﬀ①㏂℀．／＼：＊CONcon1²³"
)
TEXT = st.text(st.one_of(st.sampled_from(AWKWARD), st.characters()), max_size=40)
LONG = st.builds(lambda text, times: text * times, TEXT, st.integers(1, 30))
STYLES = st.sampled_from(["seed", "wide", "plain"])

TITLES = ["晴天", "海阔天空", "Re:Re:", "God knows...", "ヒバナ -Reloaded-", "LEVEL5-judgelight-", "(I Can't Get No) Satisfaction", "7 rings",
          "漠河舞厅·2022", "secret base ～君がくれたもの～", "Butter-Fly", "S.O.S", "밤편지", "Mr. Brightside", "POP/STARS", "どうして…", "Alone, Pt. II"]  # fmt: skip
ARTISTS = ["周杰伦", "AC/DC", "S.H.E", "G.E.M.邓紫棋", "IU (아이유)", "(G)I-DLE", "涼宮ハルヒ(CV:平野綾)", "DECO*27", "Earth, Wind & Fire",
           "どうぶつビスケッツ×PPP", "T.M.Revolution", "Chen-U/EG", "ASIAN KUNG-FU GENERATION", "H.O.T.", "Mr.Children"]  # fmt: skip
TAGS = ["Live", "Inst.", "English Ver.", "feat. GUMI", "Prod. X", "Type A", "国语", "伴奏", "DJ版", "Remastered 2011", "翻自 高橋優", "0.8x",
        "电影《太空旅客》主题曲", "Taylor's Version", "Instrumental/TV Edit"]  # fmt: skip
BRACKETS = [("()", 1), ("[]", 1), ("（）", 0), ("【】", 0), ("（）", 1), ("()", 2)]


@st.composite
def songs(draw):
    title = draw(st.sampled_from(TITLES))
    artists = tuple(draw(st.lists(st.sampled_from(ARTISTS), min_size=1, max_size=4)))
    tags = []
    for text in draw(st.lists(st.sampled_from(TAGS), max_size=3)):
        style, gap = draw(st.sampled_from(BRACKETS))
        tags.append(Tag(text, tag_kind(text, title, artists), style, gap))
    return SongName("", title, artists, tuple(tags))


LIBRARY_PIECES = [
    "晴天",
    "Ghost",
    "Re_",
    "_",
    "__",
    "___",
    "a_b",
    "A_B_C",
    "ver_",
    "-版",
    "-古风版",
    "Live",
    "どうして…",
    " ",
    "'07",
    "·",
    "12_30",
    "feat_",
    "Au_Ra",
    "x_ y",
    "_x_",
    "！",
]


@st.composite
def library_names(draw):
    """Names as the library writes them: safe already, with any brackets, separators and lost signs."""
    title = "".join(draw(st.lists(st.sampled_from(LIBRARY_PIECES), min_size=1, max_size=4))).strip() or "歌"
    for _ in range(draw(st.integers(0, 2))):
        style, gap = draw(st.sampled_from(BRACKETS))
        inside = draw(st.sampled_from(["Live", "Inst_", "国语", "x_y", "为什么_", "feat_ A", "_B_", "2019"]))
        title += " " * gap + style[0] + inside + style[1]
    artists = draw(
        st.lists(st.sampled_from(["周杰伦", "AC_DC", "S_H_E", "A_", "B_ C", "IU (아이유)", "K_DA", "_x"]), max_size=3)
    )
    name = title + (" - " + " _ ".join(artists) if artists else "")
    return safe_name(" ".join(name.split(" - ")) if not artists else name)


@law
@given(library_names())
def test_a_library_name_is_written_as_it_was_read(name):
    assert format_name(parse_name(name)) == unicodedata.normalize("NFC", name)


@law
@given(songs())
def test_a_song_is_read_as_it_was_written(song):
    assert parse_name(format_name(song)) == song


@law
@given(
    st.builds(SongName, st.just(""), TEXT.filter(str.strip), st.lists(TEXT.filter(str.strip), max_size=3).map(tuple))
)
def test_whatever_is_written_can_be_read(song):
    parse_name(format_name(song))


@law
@given(LONG, STYLES)
def test_a_safe_name_is_legal_everywhere_and_stays_as_it_is(text, style):
    check_safe(text, style)


@pytest.mark.soak
@pytest.mark.skipif("'soak' not in config.option.markexpr", reason="long: select it with -m soak")
@settings(max_examples=200_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LONG, STYLES)
def test_two_hundred_thousand_names_are_legal_everywhere(text, style):
    check_safe(text, style)


def check_safe(text, style):
    name = safe_name(text, style=style)
    assert safe_name(name, style=style) == name
    assert name
    assert not set(name) & set('/\\:*?"<>|' + ("." if style == "seed" else ""))
    assert name[0] not in " ."
    assert name[-1] not in " ."
    assert all(ord(character) >= 32 and not 0x7F <= ord(character) < 0xA0 for character in name)
    assert len(name.encode()) <= 240
    assert len(name.encode("utf-16-le")) <= 480
    assert unicodedata.is_normalized("NFC", name)
    assert name.split(".")[0].rstrip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9", "COM²"}


@law
@given(TEXT, STYLES)
def test_a_safe_name_keeps_its_key(text, style):
    name = safe_name(text, style=style)
    assert name_key(name) == name_key(text)


@law
@given(TEXT)
def test_a_key_of_a_key_is_the_key(text):
    assert name_key(name_key(text)) == name_key(text)


@law
@given(
    TEXT,
    st.lists(TEXT, max_size=3).map(tuple),
    st.sampled_from(["{uploader}/{title}", "{title}/../{artists}", "[{uploader}/]{title} - {artists}"]),
)
def test_no_value_leads_out_of_the_folder(title, artists, template):
    for part in song_path(SongName("", title, artists), template=template, fields={"uploader": title}, source="x"):
        assert part not in {"", ".", ".."}
        assert not set(part) & set("/\\\0")


@law
@given(TEXT, st.none() | TEXT, st.none() | TEXT, st.lists(TEXT, max_size=3).map(tuple))
def test_no_video_title_is_too_odd_to_read(title, part, uploader, parts):
    song = parse_video_title(title, part=part, uploader=uploader, parts=parts)
    assert song.confidence in {"high", "medium", "low"}
