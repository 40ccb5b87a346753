"""Sound moves into a container of its own with every bit kept."""

from __future__ import annotations

import struct

import anyio.to_thread
import mutagen
import mutagen.flac
import pytest

from musicq_async.errors import ConvertFailed, EncryptedStream
from musicq_async.media.audio import looks_like_mp4, probe
from musicq_async.media.flac import block_size
from musicq_async.media.mp4 import boxes
from musicq_async.media.remux import Cut, home_of, remux_file
from musicq_async.media.work import Stopped, Stopper, Unstoppable

pytestmark = pytest.mark.anyio


@pytest.fixture
def remux(tmp_path):
    def remux(*paths, **how):
        files = [path.open("rb") for path in paths]
        target = tmp_path / "target"
        try:
            with target.open("w+b") as file:
                home = remux_file(files, file, stop=how.pop("stop", Unstoppable()), **how)
        finally:
            for file in files:
                file.close()
        return target.rename(tmp_path / f"target.{home.extension}")

    return remux


@pytest.mark.parametrize(
    ("kind", "extension"),
    [
        ("aac.m4s", "m4a"),
        ("flac.m4s", "flac"),
        ("eac3.m4s", "mka"),
        ("video.mp4", "m4a"),
        ("video.flv", "m4a"),
        ("song.mp3", "mp3"),
        ("song.opus", "opus"),
        ("song.wav", "wav"),
    ],
)
async def test_the_decoded_sound_is_the_same_to_the_last_bit(sound, remux, pcm, kind, extension):
    source = sound(kind)
    target = await anyio.to_thread.run_sync(remux, source)
    assert target.suffix == f".{extension}"
    assert pcm(target) == pcm(source)
    found = await probe(target)
    assert found.duration == pytest.approx(2.0, abs=0.06)
    assert not found.picture


def test_a_flac_file_knows_its_length_and_frames(sound, remux):
    info = mutagen.File(remux(sound("flac.m4s"))).info
    assert info.total_samples == 88_200
    assert info.length == 2.0
    assert 0 < info.min_blocksize <= info.max_blocksize
    assert 0 < info.min_framesize <= info.max_framesize


def test_an_m4a_has_its_index_before_its_sound_and_its_length_right(sound, remux):
    target = remux(sound("aac.m4s"))
    with target.open("rb") as file:
        kinds = [kind for kind, _, _ in boxes(file)]
    assert kinds.index(b"moov") < kinds.index(b"mdat")
    assert b"moof" not in kinds
    assert mutagen.File(target).info.length == pytest.approx(2.0, abs=0.06)


def test_segments_are_joined_in_order_without_a_gap(sound, remux, tune, notes):
    first, second = sound("video.mp4", seconds=2.0), sound("video.flv", seconds=2.0)
    target = remux(first, second)
    assert mutagen.File(target).info.length == pytest.approx(4.0, abs=0.1)
    heard = tune(target)
    assert heard[1:7] == notes(2.0)[1:7]
    assert heard[9:14] == notes(2.0)[1:6]


def test_segments_that_differ_are_not_joined(sound, remux):
    with pytest.raises(ConvertFailed, match="differ"):
        remux(sound("aac.m4s"), sound("flac.m4s"))


def test_a_stretch_is_cut_out(sound, remux, tune, notes):
    target = remux(sound("aac.m4s"), cut=Cut(start=0.5, end=1.5))
    assert mutagen.File(target).info.length == pytest.approx(1.0, abs=0.06)
    assert tune(target)[:3] == notes(2.0)[2:5]


def test_a_stop_ends_the_copy(sound, remux):
    stopper = Stopper()
    stopper.set()
    with pytest.raises(Stopped):
        remux(sound("aac.m4s"), stop=stopper)


@pytest.mark.parametrize(
    "junk", [b"", b"x", b"<html>blocked</html>" * 20, b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n", bytes(5000)]
)
def test_what_is_no_sound_is_refused(tmp_path, remux, junk):
    path = tmp_path / "junk.mp3"
    path.write_bytes(junk)
    with pytest.raises(ConvertFailed):
        remux(path)


@pytest.mark.parametrize(
    "playlist", ["#EXTM3U\n#EXTINF:1,\n{other}\n", "ffconcat version 1.0\nfile {other}\n", "file {other}\n"]
)
def test_a_list_of_other_files_is_not_followed(tmp_path, sound, remux, playlist):
    other = sound("song.wav")
    path = tmp_path / "list.mp3"
    path.write_text(playlist.format(other=other))
    with pytest.raises(ConvertFailed):
        remux(path)


def test_an_encrypted_stream_is_named_as_such(tmp_path, sound, remux):
    data = bytearray(sound("aac.m4s").read_bytes())
    at = data.index(b"mp4a")
    data[at : at + 4] = b"enca"
    path = tmp_path / "locked.m4s"
    path.write_bytes(data)
    with pytest.raises(EncryptedStream):
        remux(path)


def test_a_video_without_sound_is_refused(tmp_path, sound, remux):
    import av

    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(ConvertFailed, match="no sound"):
        remux(path)


async def test_a_sound_is_described(sound, tmp_path):
    found = await probe(sound("deep.flac"))
    assert (found.codec, found.container, found.sample_rate, found.channels, found.bits) == (
        "flac",
        "flac",
        96000,
        2,
        24,
    )
    assert found.lossless
    found = await probe(sound("song.mp3"))
    assert (found.codec, found.container, found.lossless) == ("mp3", "mp3", False)
    assert found.bit_rate == pytest.approx(192_000, rel=0.05)
    found = await probe(sound("eac3.m4s"))
    assert (found.codec, found.sample_rate) == ("eac3", 48000)
    with pytest.raises(ConvertFailed, match="no file"):
        await probe(tmp_path / "missing.mp3")


def test_first_bytes_tell_an_mp4():
    assert looks_like_mp4(b"\0\0\0\x18ftypiso5")
    assert not looks_like_mp4(b"<html>")


@pytest.mark.parametrize(
    ("codec", "extension"),
    [("aac", "m4a"), ("flac", "flac"), ("eac3", "mka"), ("ac3", "mka"), ("opus", "opus"), ("odd", "mka")],
)
def test_every_codec_has_a_home(codec, extension):
    assert home_of(codec).extension == extension


@pytest.mark.parametrize(
    ("header", "samples"),
    [
        (bytes([0xFF, 0xF8, 0x19, 0x18, 0x00, 0, 0, 0]), 192),
        (bytes([0xFF, 0xF8, 0xC9, 0x18, 0x00, 0, 0, 0]), 4096),
        (bytes([0xFF, 0xF8, 0x69, 0x18, 0x05, 0x0F, 0, 0]), 16),
        (bytes([0xFF, 0xF9, 0x79, 0x18, 0xC4, 0x80, 0x03, 0xE7, 0]), 1000),
        (bytes([0xFF, 0xF8, 0x29, 0x18, 0x00, 0, 0, 0]), 576),
    ],
)
def test_a_flac_frame_tells_its_length(header, samples):
    assert block_size(header) == samples
    with pytest.raises(ValueError, match="FLAC"):
        block_size(b"\0" + header[1:])


def test_a_checksum_of_another_length_is_not_kept(sound, tmp_path, remux):
    data = bytearray(sound("flac.m4s").read_bytes())
    at = data.index(b"dfLa") + 12
    info = at + data[at:].index(struct.pack(">HH", 4608, 4608)) if struct.pack(">HH", 4608, 4608) in data[at:] else at
    data[info + 18 : info + 34] = b"m" * 16
    path = tmp_path / "odd.m4s"
    path.write_bytes(data)
    assert mutagen.flac.FLAC(remux(path)).info.md5_signature == 0
