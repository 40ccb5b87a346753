"""Lyrics lie beside a song where players look for them."""

from __future__ import annotations

import pytest

from musicq_async.errors import UnsafePath
from musicq_async.media.files import SafeFolder
from musicq_async.media.lyrics import is_timed, plain_lyrics, write_lrc

LRC = "\ufeff[ti:夜曲]\r\n[00:01.00]一群嗜血的蚂蚁\r\n[00:04.5][01:10.50]被腐肉所吸引\r\n\u2028[100:00]end"


@pytest.mark.anyio
async def test_timed_lyrics_become_a_file_of_the_songs_name(tmp_path):
    safe = SafeFolder(tmp_path)
    song = tmp_path / "周杰伦" / "夜曲 - 周杰伦_ v1.5.m4a"
    song.parent.mkdir()
    song.touch()
    path = await write_lrc(song, LRC, within=safe)
    assert path == song.with_name("夜曲 - 周杰伦_ v1.5.lrc")
    lines = ["[ti:夜曲]", "[00:01.00]一群嗜血的蚂蚁", "[00:04.5][01:10.50]被腐肉所吸引", "", "[100:00]end", ""]
    assert path.read_bytes() == "\n".join(lines).encode()
    assert (await write_lrc(song, "[00:01]neu\0\ud800", within=safe)).read_text() == "[00:01]neu?\n"
    assert len(list(song.parent.iterdir())) == 2


@pytest.mark.anyio
async def test_lyrics_without_moments_make_no_file(tmp_path):
    assert await write_lrc(tmp_path / "x.flac", "la\nla", within=SafeFolder(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_lyrics_of_a_song_elsewhere_are_refused(tmp_path):
    with pytest.raises(UnsafePath):
        await write_lrc(tmp_path / "x.flac", LRC, within=SafeFolder(tmp_path / "music"))


@pytest.mark.parametrize(
    ("text", "timed"),
    [
        ("[00:01.00]a", True),
        ("words\n [1:02]b", True),
        ("[00:01:50]old form", True),
        ("[ti:title]\nwords", False),
        ("a [00:01.00] in the middle", False),
        ("[00:99]x", False),
        ("", False),
    ],
)
def test_lrc_is_told_by_its_moments(text, timed):
    assert is_timed(text) is timed


def test_the_words_alone():
    assert plain_lyrics(LRC) == "一群嗜血的蚂蚁\n被腐肉所吸引\n\nend"
    assert plain_lyrics("just\nwords") == "just\nwords"
