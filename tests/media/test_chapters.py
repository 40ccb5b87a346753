"""A long recording becomes numbered tracks that sound as the stretches they were."""

from __future__ import annotations

import anyio
import mutagen
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.errors import ConvertFailed, InvalidParams
from musicq_async.media import chapters as module
from musicq_async.media.chapters import Chapter, split, tracks_of
from musicq_async.media.covers import make_cover
from musicq_async.media.files import SafeFolder
from musicq_async.media.tags import ReplayGain, Tags, read_tags, write_tags

CONCERT = Tags(
    title="周杰伦 演唱会", artists=("周杰伦",), date="2024-05-01", url="https://www.bilibili.com/video/BV1xx411c7mD",
    comment="c", lyrics="la", replay_gain=ReplayGain(gain=-5.0), track=4, others={"MUSICQ_ID": ("BV1:2",)},
)  # fmt: skip
MARKS = [
    Chapter(title="01 晴天", start=0.0, end=2.0),
    Chapter(title="02 《起风了》- 买辣椒也用券", start=2.0, end=4.0),
    Chapter(title="03 晴天", start=4.0),
]


@pytest.fixture
def safe(tmp_path):
    return SafeFolder(tmp_path / "music")


def left(safe):
    return sorted(path.relative_to(safe.root).as_posix() for path in safe.root.rglob("*") if path.is_file())


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["song.m4a", "song.flac", "song.mp3", "song.opus", "song.mka"])
async def test_each_chapter_is_a_track_that_sounds_like_its_stretch(sound, safe, picture, pcm, tune, notes, kind):
    recording = sound(kind, seconds=6.0)
    cover = make_cover(picture())
    await write_tags(recording, CONCERT, cover=cover)
    before = recording.read_bytes()
    tracks = await split(recording, MARKS, safe)
    ending = kind.partition(".")[2]
    assert left(safe) == [
        f"周杰伦 演唱会/01 晴天 - 周杰伦.{ending}",
        f"周杰伦 演唱会/02 起风了 - 买辣椒也用券.{ending}",
        f"周杰伦 演唱会/03 晴天 - 周杰伦.{ending}",
    ]
    assert [track.number for track in tracks] == [1, 2, 3]
    assert recording.read_bytes() == before
    rate = 48000 if kind in {"song.opus", "song.mka"} else 44100
    lengths = [len(pcm(track.finished.path)) / rate for track in tracks]
    assert lengths == [pytest.approx(2.0, abs=0.1)] * 3
    if kind == "song.flac":
        whole = pcm(recording)
        parts = [pcm(track.finished.path) for track in tracks]
        assert parts[0] + parts[1] + parts[2] == whole
    heard = [tune(track.finished.path)[1:7] for track in tracks]
    assert heard == [notes(6.0)[first + 1 : first + 7] for first in (0, 8, 16)]
    tags = (await read_tags(tracks[1].finished.path)).tags
    assert (tags.title, tags.artists, tags.album) == ("起风了", ("买辣椒也用券",), "周杰伦 演唱会")
    assert (tags.track, tags.tracks, tags.date, tags.url) == (2, 3, CONCERT.date, CONCERT.url)
    assert (tags.lyrics, tags.replay_gain, tags.others) == (None, None, {})
    assert (await read_tags(tracks[2].finished.path)).cover == cover


@pytest.mark.anyio
async def test_lossy_packets_are_copied_and_not_encoded_anew(sound, safe):
    recording = sound("song.m4a", seconds=6.0)
    (first, *_) = await split(recording, MARKS, safe)
    whole, part = mutagen.File(recording), mutagen.File(first.finished.path)
    assert part.info.bitrate == pytest.approx(whole.info.bitrate, rel=0.15)
    packets = [packet for packet in _packets(first.finished.path) if packet]
    assert packets == _packets(recording)[: len(packets)]


def _packets(path):
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.anyio
async def test_two_chapters_of_one_name_are_two_files(sound, safe):
    marks = [Chapter(title="x", start=0.0), Chapter(title="x", start=1.0)]
    await split(sound("song.m4a"), marks, safe, template="{title}")
    assert left(safe) == ["x (2).m4a", "x.m4a"]


@pytest.mark.anyio
@pytest.mark.parametrize("title", ["../../x", "/etc/x", "CON", "a\0b", "", "x" * 400, "\u202e\n"])
async def test_no_title_leads_out_of_the_folder(sound, safe, title):
    recording = sound("song.m4a")
    await write_tags(recording, Tags(title=title or None))
    await split(recording, [Chapter(title=title, start=0.0), Chapter(title=title, start=1.0)], safe)
    assert len(left(safe)) == 2
    assert sorted(path.name for path in safe.root.parent.iterdir()) == ["music", "song.m4a"]


@pytest.mark.anyio
@pytest.mark.parametrize("marks", [[], [Chapter(title="all", start=0.0)], [Chapter(title="late", start=60.0)] * 2])
async def test_a_recording_without_chapters_is_refused(sound, safe, marks):
    with pytest.raises(InvalidParams, match="chapters"):
        await split(sound("song.m4a"), marks, safe)
    assert left(safe) == []


@pytest.mark.anyio
async def test_a_failure_or_a_cancellation_in_the_middle_leaves_no_track(sound, safe, monkeypatch):
    recording, real, calls = sound("song.m4a", seconds=6.0), module.finish, 0

    async def failing(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ConvertFailed("no")
        if calls == 6:
            scope.cancel()
            await anyio.sleep(1)
        return await real(*arguments, **named)

    monkeypatch.setattr(module, "finish", failing)
    with pytest.raises(ConvertFailed):
        await split(recording, MARKS, safe)
    assert left(safe) == []
    with anyio.CancelScope() as scope:
        await split(recording, MARKS, safe)
    assert scope.cancelled_caught
    assert left(safe) == []


MOMENT = st.floats(-5, 100, allow_nan=False)


@given(
    st.lists(st.builds(Chapter, title=st.just("x"), start=MOMENT, end=st.none() | MOMENT), max_size=8),
    st.floats(0, 60, allow_nan=False),
)
def test_tracks_lie_inside_the_sound_in_order_and_never_overlap(marks, duration):
    tracks = tracks_of(marks, duration)
    ends = [track.end for track in tracks]
    assert all(track.end - track.start >= module.SHORTEST for track in tracks)
    assert all(0 <= track.start < track.end <= duration for track in tracks)
    assert all(end <= track.start for end, track in zip(ends, tracks[1:], strict=False))
