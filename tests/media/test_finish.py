"""A downloaded stream becomes a tagged song with a good name, in one step."""

from __future__ import annotations

import wave

import anyio
import mutagen
import pytest

from musicq_async.errors import ConvertFailed, OutOfSpace, UnsafePath
from musicq_async.media.audio import probe
from musicq_async.media.covers import make_cover
from musicq_async.media.files import SafeFolder
from musicq_async.media.finish import finish
from musicq_async.media.loudness import measure_loudness, write_loudness
from musicq_async.media.remux import Cut
from musicq_async.media.tags import ReplayGain, Tags, read_tags

pytestmark = pytest.mark.anyio

TAGS = Tags(title="夜に駆ける", artists=("YOASOBI",), comment="BV1")


@pytest.fixture
def safe(tmp_path):
    return SafeFolder(tmp_path / "music")


def left(safe):
    return sorted(path.relative_to(safe.root).as_posix() for path in safe.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("missing", [1, 30, 1000])
@pytest.mark.parametrize("kind", ["aac.m4s", "flac.m4s", "eac3.m4s"])
async def test_a_stream_that_lacks_its_last_bytes_is_refused_however_few(sound, safe, kind, missing):
    raw = sound(kind)
    raw.write_bytes(raw.read_bytes()[:-missing])
    with pytest.raises(ConvertFailed, match="cut off"):
        await finish(raw, safe, "song", tags=TAGS)
    assert left(safe) == []


@pytest.mark.parametrize(
    ("kind", "extension"), [("aac.m4s", "m4a"), ("flac.m4s", "flac"), ("eac3.m4s", "mka"), ("video.flv", "m4a")]
)
async def test_a_stream_becomes_a_tagged_song(sound, safe, picture, pcm, kind, extension):
    raw = sound(kind)
    before, cover = pcm(raw), make_cover(picture())
    done = await finish(raw, safe, "Artist/夜に駆ける - YOASOBI", tags=TAGS, cover=cover)
    assert done.path == safe.root.resolve() / "Artist" / f"夜に駆ける - YOASOBI.{extension}"
    assert pcm(done.path) == before
    found = await read_tags(done.path)
    assert (found.tags, found.cover) == (TAGS, cover)
    assert done.sound.duration == pytest.approx(2.0, abs=0.06)
    assert done.size == done.path.stat().st_size
    assert left(safe) == [f"Artist/{done.path.name}"]
    assert not raw.exists()


async def test_the_raw_file_may_stay(sound, safe):
    raw = sound("aac.m4s")
    await finish(raw, safe, "x", tags=TAGS, remove_raw=False)
    assert raw.exists()


async def test_another_song_of_the_same_name_gets_a_number_and_the_same_one_its_place(sound, safe):
    for wanted in ("x.m4a", "x (2).m4a"):
        assert (await finish(sound("aac.m4s"), safe, "x", tags=TAGS)).path.name == wanted
    assert (await finish(sound("aac.m4s"), safe, "x", tags=TAGS, existing="replace")).path.name == "x.m4a"
    assert (
        await finish(sound("aac.m4s"), safe, "x", tags=TAGS, stale=lambda name: name == "x (2).m4a")
    ).path.name == "x (2).m4a"
    assert left(safe) == ["x (2).m4a", "x.m4a"]


async def test_two_at_once_are_two_files(sound, safe, tmp_path):
    raws = [sound("aac.m4s", tmp_path / f"{number}.m4s") for number in range(4)]
    async with anyio.create_task_group() as tasks:
        for raw in raws:
            tasks.start_soon(lambda raw=raw: finish(raw, safe, "x", tags=TAGS))
    assert left(safe) == ["x (2).m4a", "x (3).m4a", "x (4).m4a", "x.m4a"]


async def test_segments_are_joined(sound, safe):
    done = await finish([sound("video.mp4"), sound("video.flv")], safe, "x", tags=TAGS)
    assert done.sound.duration == pytest.approx(4.0, abs=0.1)


async def test_a_preview_is_not_saved_as_the_song(sound, safe):
    raw = sound("aac.m4s")
    with pytest.raises(ConvertFailed, match="preview"):
        await finish(raw, safe, "x", tags=TAGS, expected_duration=240.0)
    assert left(safe) == []
    assert raw.exists()
    await finish(raw, safe, "x", tags=TAGS, expected_duration=3.0)


@pytest.mark.parametrize("kind", ["aac.m4s", "flac.m4s"])
async def test_a_chapter_is_cut_out(sound, safe, kind, tune, notes):
    done = await finish(sound(kind), safe, "x", tags=TAGS, cut=Cut(start=0.5, end=1.5))
    assert mutagen.File(done.path).info.length == pytest.approx(1.0, abs=0.15)
    heard = tune(done.path)
    assert heard[:3] == notes(2.0)[2:5]


async def test_junk_is_refused_and_nothing_stays(tmp_path, safe):
    raw = tmp_path / "x.m4s"
    raw.write_bytes(b"<html>")
    with pytest.raises(ConvertFailed):
        await finish(raw, safe, "x", tags=TAGS)
    with pytest.raises(ConvertFailed):
        await finish([], safe, "x", tags=TAGS)
    with pytest.raises(UnsafePath):
        await finish(raw, safe, "../x", tags=TAGS)
    assert left(safe) == []


async def test_a_full_disk_leaves_the_raw_file_and_nothing_else(sound, safe):
    import resource

    raw = sound("flac.m4s")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutOfSpace):
            await finish(raw, safe, "x", tags=TAGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left(safe) == []
    assert raw.exists()


async def test_loudness_is_measured_for_replay_gain(sound):
    loud = await measure_loudness(sound("song.flac"))
    quiet = await measure_loudness(sound("song.mp3"))
    assert loud.integrated == pytest.approx(quiet.integrated, abs=0.5)
    assert loud.peak == pytest.approx(0.3, abs=0.05)
    assert loud.replay_gain == ReplayGain(gain=pytest.approx(-18 - loud.integrated, abs=0.01), peak=loud.peak)
    assert (await probe(sound("song.flac"))).duration == 2.0


@pytest.mark.parametrize("kind", ["flac.m4s", "aac.m4s", "eac3.m4s"])
async def test_a_song_is_measured_on_its_way_when_asked(sound, safe, kind):
    told = Tags(title="x", replay_gain=ReplayGain(gain=-1.0))
    done = await finish(sound(kind), safe, "x", tags=told, measure=True)
    gain = (await read_tags(done.path)).tags.replay_gain
    assert gain.gain == pytest.approx((await measure_loudness(done.path)).replay_gain.gain, abs=0.1)
    done = await finish(sound(kind), safe, "cut", tags=told, measure=True, cut=Cut(start=0.5, end=1.5))
    assert (await read_tags(done.path)).tags.replay_gain.gain == pytest.approx(gain.gain, abs=1.0)


async def test_silence_keeps_the_gain_that_was_told(safe, tmp_path):
    silent = tmp_path / "silent.wav"
    with wave.open(str(silent), "wb") as file:
        file.setparams((1, 2, 44100, 0, "NONE", ""))
        file.writeframes(bytes(88200))
    told = Tags(title="x", replay_gain=ReplayGain(gain=-1.0))
    done = await finish(silent, safe, "x", tags=told, measure=True)
    assert (await read_tags(done.path)).tags.replay_gain.gain == -1.0
    with pytest.raises(ConvertFailed, match="silent"):
        await measure_loudness(done.path)


async def test_a_finished_song_is_measured_afterwards(sound):
    for kind, name in (("song.opus", "r128_track_gain"), ("song.flac", "replaygain_track_gain")):
        path = sound(kind)
        gain = await write_loudness(path)
        written = mutagen.File(path)[name][0]
        wanted = str(round((gain.gain - 5) * 256)) if kind == "song.opus" else f"{gain.gain:.2f} dB"
        assert written == wanted
    junk = path.with_name("junk.mp3")
    junk.write_bytes(b"junk")
    with pytest.raises(ConvertFailed):
        await write_loudness(junk)
