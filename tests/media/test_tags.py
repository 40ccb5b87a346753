"""Tags survive being written and read in every file type, and a file is never half tagged."""

from __future__ import annotations

import base64
import errno
import os

import mutagen
import mutagen.flac
import mutagen.id3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicq_async.errors import OutOfSpace, TagsRejected, UnsafePath
from musicq_async.media.covers import cover_from, make_cover, measure
from musicq_async.media.tags import ReplayGain, Tags, kind_of, read_tags, write_tags
from musicq_async.media.vorbis_names import from_fields, to_fields

pytestmark = pytest.mark.anyio

KINDS = ["song.m4a", "song.flac", "song.mp3", "song.opus", "song.wav", "song.mka"]

FULL = Tags(
    title="夜に駆ける 🎵",
    artists=("YOASOBI", "AC/DC"),
    album="THE BOOK",
    album_artists=("YOASOBI",),
    composers=("Ayase",),
    genres=("J-Pop", "Rock"),
    date="2019-12-15",
    track=3,
    tracks=9,
    disc=1,
    discs=2,
    comment="BV1xx411c7mD",
    url="https://www.bilibili.com/video/BV1xx411c7mD",
    lyrics="[00:01.00]沈むように\n[00:02.50]溶けてゆくように",
    replay_gain=ReplayGain(gain=-8.25, peak=0.987654),
    others={"ISRC": ("JPE301900560",), "MUSICQ_ID": ("bv:1",)},
)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_field_comes_back_as_it_was_written(sound, pcm, kind, picture):
    path = sound(kind)
    before = pcm(path)
    cover = make_cover(picture())
    await write_tags(path, FULL, cover=cover)
    found = await read_tags(path)
    wanted = FULL
    if kind == "song.opus":  # Opus keeps a gain in steps of 1/256 dB, and no peak
        assert found.tags.replay_gain.gain == pytest.approx(-8.25, abs=0.01)
        wanted = Tags(
            **{name: getattr(FULL, name) for name in FULL.__slots__} | {"replay_gain": found.tags.replay_gain}
        )
    assert found.tags == wanted
    assert found.cover == cover
    assert pcm(path) == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_not_said_is_left_alone(sound, kind, picture):
    path = sound(kind)
    await write_tags(path, FULL, cover=make_cover(picture()))
    await write_tags(path, Tags(title="Other"))
    found = await read_tags(path)
    assert found.tags.title == "Other"
    assert found.tags.artists == FULL.artists
    assert found.tags.lyrics == FULL.lyrics
    assert found.cover is not None


async def test_id3_of_both_versions_is_readable_by_others(sound):
    path = sound("song.mp3")
    await write_tags(path, FULL)
    frames = mutagen.id3.ID3(path, translate=False)
    assert frames.version == (2, 3, 0)
    assert str(frames["TPE1"]) == "YOASOBI / AC/DC"
    await write_tags(path, FULL, id3_version=4)
    frames = mutagen.id3.ID3(path)
    assert frames.version == (2, 4, 0)
    assert frames["TPE1"].text == ["YOASOBI", "AC/DC"]
    assert frames["TIT2"].text == [FULL.title]
    assert frames["USLT::XXX"].text == FULL.lyrics


async def test_other_programs_find_the_fields_where_they_look(sound, picture):
    cover = make_cover(picture())
    paths = {kind: sound(kind) for kind in KINDS}
    for path in paths.values():
        await write_tags(path, FULL, cover=cover)
    mp4 = mutagen.File(paths["song.m4a"]).tags
    assert (mp4["\xa9nam"], mp4["\xa9ART"], mp4["trkn"]) == ([FULL.title], ["YOASOBI", "AC/DC"], [(3, 9)])
    assert bytes(mp4["covr"][0]) == cover.content
    flac = mutagen.flac.FLAC(paths["song.flac"])
    assert (flac["artist"], flac["replaygain_track_gain"]) == (["YOASOBI", "AC/DC"], ["-8.25 dB"])
    assert (flac.pictures[0].data, flac.pictures[0].type) == (cover.content, 3)
    opus = mutagen.File(paths["song.opus"])
    assert opus["r128_track_gain"] == [str(round((-8.25 - 5) * 256))]
    coded = mutagen.flac.Picture(base64.b64decode(opus["metadata_block_picture"][0]))
    assert coded.data == cover.content
    mp3 = mutagen.File(paths["song.mp3"]).tags
    assert mp3["APIC:"].data == cover.content
    assert str(mp3["TRCK"]) == "3/9"
    assert (mp4["\xa9lyr"], mp4["\xa9day"], mp4["\xa9cmt"]) == ([FULL.lyrics], [FULL.date], [FULL.comment])
    assert bytes(mp4["----:com.apple.iTunes:WEBSITE"][0]).decode() == FULL.url
    for comments in (flac, opus):
        assert comments["lyrics"] == [FULL.lyrics]
        assert (comments["date"], comments["comment"]) == ([FULL.date], [FULL.comment])
        assert (comments["website"], comments["tracknumber"]) == ([FULL.url], ["3"])
    assert mp3.getall("USLT")[0].text == FULL.lyrics
    assert (str(mp3["TDRC"]), mp3.getall("COMM")[0].text, mp3["WOAS"].url) == (FULL.date, [FULL.comment], FULL.url)


@pytest.mark.parametrize("kind", ["song.m4a", "song.flac", "song.mp3", "song.opus"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    title=st.text(min_size=1, max_size=30).filter(lambda text: text.replace("\0", "").strip()),
    artists=st.lists(st.sampled_from(["A", "B/C", "涼宮", "🎵", "a;b", "x & y"]), max_size=4, unique=True),
    number=st.integers(0, 999),
)
async def test_any_text_is_taken(sound, kind, title, artists, number):
    path = sound(kind)
    await write_tags(path, Tags(title=title, artists=tuple(artists), track=number))
    found = (await read_tags(path)).tags
    assert found.title == title.replace("\0", "").encode("utf-8", "replace").decode()
    assert found.artists == tuple(artists)
    assert (found.track or 0) == number


async def test_halves_of_characters_do_not_break_a_file(sound):
    path = sound("song.m4a")
    await write_tags(path, Tags(title="a\ud800b\0c", artists=("", "x")))
    found = (await read_tags(path)).tags
    assert (found.title, found.artists) == ("a?bc", ("x",))


async def test_a_full_disk_leaves_the_file_as_it_was(sound, monkeypatch, tmp_path):
    path = sound("song.flac")
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfSpace):
        await write_tags(path, FULL)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["song.flac"]


@pytest.mark.parametrize(
    "content", [b"", b"junk" * 100, b"ID3\x03\0\0\0\0\x7f\x7f", b"fLaC", b"OggS" + bytes(60), b"RIFF\0\0\0\0WAVE"]
)
async def test_a_broken_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "broken.mp3"
    path.write_bytes(content)
    try:
        await write_tags(path, FULL)
    except TagsRejected:
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["broken.mp3"]


async def test_missing_files_and_raw_sound_are_refused(tmp_path, sound):
    with pytest.raises(TagsRejected, match="no file"):
        await read_tags(tmp_path / "none.mp3")
    with pytest.raises((TagsRejected, UnsafePath)):
        await write_tags(tmp_path / "no" / "none.mp3", FULL)
    raw = sound("song.m4a", tmp_path / "raw.aac", muxer="adts")
    with pytest.raises(TagsRejected, match="takes no tags"):
        await write_tags(raw, FULL)
    assert (await read_tags(raw)).tags == Tags()


async def test_permissions_stay(sound):
    path = sound("song.flac")
    path.chmod(0o640)
    await write_tags(path, Tags(title="x"))
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kind", [*KINDS, "aac.m4s"])
def test_the_type_is_told_by_the_bytes(sound, kind):
    types = {"m4a": "mp4", "m4s": "mp4", "opus": "ogg", "mka": "matroska"}
    with sound(kind).open("rb") as file:
        extension = kind.split(".")[-1]
        assert kind_of(file) == types.get(extension, extension)


def test_an_old_value_gives_way_to_a_new_one():
    newer = Tags(title="new", others={"B": ("2",)}).over(Tags(title="old", album="a", others={"A": ("1",)}))
    assert newer == Tags(title="new", album="a", others={"A": ("1",), "B": ("2",)})


def test_names_that_other_programs_use_are_understood():
    tags = from_fields(
        {"unsyncedlyrics": ["la"], "Description": ["d"], "TRACK": ["3/12"], "PURL": ["u"], "YEAR": ["1999"]}
    )
    assert tags == Tags(lyrics="la", comment="d", track=3, tracks=12, url="u", date="1999")
    assert from_fields(to_fields(FULL)) == FULL
    assert from_fields({"REPLAYGAIN_TRACK_GAIN": ["loud"], "TRACKNUMBER": ["x"]}) == Tags()


# --- covers ---


@pytest.mark.parametrize("codec", ["mjpeg", "png", "libwebp", "gif", "bmp"])
async def test_pictures_are_known_by_their_bytes(picture, codec):
    content = picture(64, 48, codec)
    kind = {"mjpeg": "jpeg", "libwebp": "webp"}.get(codec, codec)
    assert measure(content) == (f"image/{kind}", 64, 48)
    cover = await cover_from(content)
    assert (cover.width, cover.height) == (64, 48)
    assert cover.media_type == (f"image/{kind}" if kind in ("jpeg", "png") else "image/jpeg")
    assert (cover.content == content) is (kind in ("jpeg", "png"))


async def test_a_large_picture_is_scaled_down_in_proportion(picture):
    cover = await cover_from(picture(2000, 1000))
    assert (cover.media_type, cover.width, cover.height) == ("image/jpeg", 1200, 600)
    assert measure(cover.content) == ("image/jpeg", 1200, 600)


@pytest.mark.parametrize(
    "junk", [b"", b"<svg/>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xc0" + bytes(3), b"%PDF"]
)
async def test_what_is_no_picture_is_refused(junk):
    with pytest.raises(TagsRejected):
        await cover_from(junk)


async def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded(picture):
    bomb = bytearray(picture(64, 48, "png"))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    with pytest.raises(TagsRejected, match="100000 x 100000"):
        await cover_from(bytes(bomb))
