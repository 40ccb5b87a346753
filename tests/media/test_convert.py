"""Conversion keeps the tune, the tags and the cover, and leaves nothing half made."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
import threading
from pathlib import Path

import anyio
import imageio_ffmpeg
import mutagen
import pytest

from musicq_async.errors import ConvertFailed, InvalidParams, OutOfSpace, UnsafePath
from musicq_async.media.audio import probe
from musicq_async.media.convert import convert
from musicq_async.media.covers import make_cover
from musicq_async.media.files import SafeFolder
from musicq_async.media.recipes import FORMATS, format_named, read_bitrate, recipe_named, sample_rate_for
from musicq_async.media.tags import Tags, read_tags, write_tags

pytestmark = pytest.mark.anyio

TAGS = Tags(
    title="夜",
    artists=("A", "B/C"),
    album="盤",
    date="2024",
    track=3,
    lyrics="la",
    comment="c",
    others={"ISRC": ("X",)},
)


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def _no_ffmpeg(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest.mark.parametrize(
    ("kind", "to"),
    [
        *(
            (kind, "mp3")
            for kind in ("song.flac", "song.m4a", "song.opus", "song.wav", "aac.m4s", "eac3.m4s", "video.flv")
        ),
        *(("song.mp3", to) for to in ("flac", "m4a", "opus", "wav")),
        *((kind, "opus") for kind in ("mono.wav", "surround.flac", "deep.flac")),
        ("song.mka", "flac"),
        ("song.opus", "m4a"),
    ],
)
async def test_every_type_becomes_every_other_and_sounds_the_same(sound, tune, notes, kind, to):
    source = sound(kind)
    done = (await convert(source, to=to, output=source.with_name(f"out.{to}"))).files[0]
    assert done.path.name == f"out.{to}"
    assert tune(done.path)[:7] == notes(2.0)[:7]
    assert mutagen.File(done.path).info.length == pytest.approx(2.0, abs=0.1)
    assert source.exists()


@pytest.mark.parametrize("to", list(FORMATS))
async def test_every_format_carries_tags_and_cover_over(sound, picture, to):
    source = sound("song.flac")
    cover = make_cover(picture())
    await write_tags(source, TAGS, cover=cover)
    done = (await convert(source, output=source.with_name("out." + FORMATS[to].extension), to=to)).files[0]
    found = await read_tags(done.path)
    if FORMATS[to].tagged:
        assert found.tags == TAGS
        assert found.cover == cover
    assert left(source.parent) == sorted([source.name, done.path.name])


@pytest.mark.parametrize("to", ["flac", "wav", "alac", "aiff"])
@pytest.mark.parametrize("kind", ["song.flac", "song.wav", "mono.wav", "deep.flac"])
async def test_lossless_to_lossless_keeps_every_bit(sound, pcm, kind, to):
    source = sound(kind)
    done = (await convert(source, to=to, output=source.with_name("out." + FORMATS[to].extension))).files[0]
    assert pcm(done.path) == pcm(source)
    before, after = await probe(source), await probe(done.path)
    assert (after.sample_rate, after.channels, after.bits) == (before.sample_rate, before.channels, before.bits)


async def test_high_resolution_is_brought_down_to_what_the_format_holds(sound, tune, notes):
    done = (await convert(sound("deep.flac"), to="mp3")).files[0]
    assert (await probe(done.path)).sample_rate == 48000
    assert tune(done.path)[:7] == notes(2.0)[:7]


async def test_surround_is_mixed_down_where_the_format_is_stereo(sound):
    assert (await probe((await convert(sound("surround.flac"), to="mp3")).files[0].path)).channels == 2
    assert (await probe((await convert(sound("surround.flac"), to="m4a")).files[0].path)).channels == 6


async def test_the_bit_rate_is_the_one_asked_for(sound):
    for to, bitrate in (("mp3", "128k"), ("mp3", 320), ("m4a", "96K"), ("mp3", 192000)):
        done = (await convert(sound("song.wav"), to=to, bitrate=bitrate)).files[0]
        assert done.bit_rate == read_bitrate(bitrate, FORMATS[to])
        if to == "mp3":
            assert (await probe(done.path)).bit_rate == pytest.approx(done.bit_rate, rel=0.05)


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        ("320k", 320_000),
        ("320K", 320_000),
        (320, 320_000),
        (320_000, 320_000),
        ("320000", 320_000),
        (" 128 kbps ", 128_000),
        (None, None),
        ("192kb", 192_000),
        (128.0, 128_000),
    ],
)
def test_a_bit_rate_is_read_in_every_spelling(value, bits):
    assert read_bitrate(value, FORMATS["mp3"]) == bits


@pytest.mark.parametrize(
    "value", ["", "fast", "-128k", 0, -1, True, [320], "320m", "1e5", "999k", 9_000_000, "5k", float("nan"), "３２０k"]
)
def test_a_bad_bit_rate_names_its_field(value):
    with pytest.raises(InvalidParams, match="bitrate"):
        read_bitrate(value, FORMATS["mp3"])


@pytest.mark.parametrize(
    ("name", "bitrate", "wanted"),
    [
        ("high", None, ("mp3", 320_000)),
        (" Small ", None, ("opus", 96_000)),
        ("high", "128k", ("mp3", 128_000)),
        ("lossless", None, ("flac", None)),
        ("ogg", "64k", ("ogg", 64_000)),
    ],
)
def test_a_preset_is_a_format_with_a_bit_rate(name, bitrate, wanted):
    made, bits = recipe_named(name, bitrate)
    assert (made.name, bits) == wanted


async def test_a_preset_converts(sound):
    (done,) = (await convert(sound("song.wav"), to="small")).files
    assert (done.path.name, done.bit_rate) == ("song.opus", 96_000)
    (done,) = (await convert(sound("song.wav"), output="standard")).files
    assert (done.path.name, done.bit_rate) == ("song.mp3", 192_000)


def test_a_lossless_format_ignores_a_bit_rate_that_is_well_formed():
    assert read_bitrate("320k", FORMATS["flac"]) is None
    with pytest.raises(InvalidParams):
        read_bitrate("banana", FORMATS["flac"])


@pytest.mark.parametrize(
    ("given", "name"),
    [("mp3", "mp3"), (".MP3", "mp3"), (" flac", "flac"), ("m4a", "m4a"), ("aif", "aiff"), ("alac", "alac")],
)
def test_a_format_is_read_in_every_spelling(given, name):
    assert format_named(given).name == name


@pytest.mark.parametrize("name", ["", "xyz", None, 3, "mp3/../x", "exe"])
async def test_an_unknown_format_names_its_field(sound, name):
    with pytest.raises(InvalidParams, match="output_format"):
        await convert(sound("song.wav"), to=name if name is not None else "None")


@pytest.mark.parametrize(
    ("rate", "wanted"), [(44100, 44100), (96000, 48000), (88200, 44100), (192000, 48000), (50000, 48000), (7000, 8000)]
)
def test_sample_rates_go_down_by_a_whole_factor(rate, wanted):
    assert sample_rate_for(FORMATS["mp3"], rate) == wanted


async def test_the_extension_of_the_output_decides_the_format(sound):
    source = sound("song.mp3")
    done = (await convert(source, output=source.with_name("new.flac"))).files[0]
    assert (done.path.name, done.format) == ("new.flac", "flac")
    with pytest.raises(InvalidParams, match="output"):
        await convert(source, output=source.with_name("new.flac"), to="mp3")
    with pytest.raises(InvalidParams, match="output"):
        await convert(source, output=source.with_name("new.xyz"))
    with pytest.raises(InvalidParams, match="output_format"):
        await convert(source)


async def test_an_output_that_is_only_a_format_is_one(sound):
    assert (await convert(sound("song.mp3"), output="flac")).files[0].path.name == "song.flac"


async def test_an_output_folder_takes_the_file(sound, tmp_path):
    (tmp_path / "out").mkdir()
    assert (await convert(sound("song.mp3"), to="wav", output=tmp_path / "out")).files[
        0
    ].path == tmp_path / "out" / "song.wav"
    assert (await convert(sound("song.mp3"), to="wav", output=f"{tmp_path}/new/")).files[
        0
    ].path == tmp_path / "new" / "song.wav"


async def test_a_file_that_fits_already_is_left_alone(sound):
    source = sound("song.mp3")
    before = source.stat()
    done = (await convert(source, to="mp3")).files[0]
    assert (done.action, done.path) == ("unchanged", source)
    assert source.stat().st_mtime_ns == before.st_mtime_ns
    assert (await convert(source, to="mp3", bitrate="192k", keep=False)).files[0].action == "unchanged"
    assert source.exists()


async def test_a_lossy_copy_keeps_the_bits(sound, pcm, tmp_path):
    done = (await convert(sound("song.m4a"), output=tmp_path / "copy.m4a")).files[0]
    assert (done.action, pcm(done.path)) == ("copied", pcm(tmp_path / "song.m4a"))
    done = (await convert(sound("aac.m4s"), to="m4a")).files[0]
    assert (done.action, pcm(done.path)) == ("copied", pcm(tmp_path / "aac.m4s"))
    done = (await convert(sound("flac.m4s"), to="flac")).files[0]
    assert (done.action, pcm(done.path)) == ("copied", pcm(tmp_path / "flac.m4s"))


async def test_a_source_of_the_same_name_is_kept_and_the_new_file_numbered(sound):
    source = sound("song.mp3")
    before = source.read_bytes()
    done = (await convert(source, to="mp3", bitrate="64k")).files[0]
    assert done.path.name == "song (2).mp3"
    assert source.read_bytes() == before


@pytest.mark.parametrize("explicit", [True, False])
async def test_a_file_may_be_converted_onto_itself(sound, tune, notes, explicit):
    source = sound("song.mp3")
    how = {"output": source} if explicit else {"keep": False}
    done = (await convert(source, to="mp3", bitrate="64k", **how)).files[0]
    assert done.path == source
    assert (await probe(source)).bit_rate == pytest.approx(64_000, rel=0.1)
    assert tune(source)[:7] == notes(2.0)[:7]
    assert left(source.parent) == ["song.mp3"]


async def test_a_replaced_source_is_gone_only_once_the_new_file_stands(sound):
    source = sound("song.wav")
    done = (await convert(source, to="flac", keep=False)).files[0]
    assert done.removed
    assert left(source.parent) == ["song.flac"]


@pytest.mark.parametrize("junk", [b"", b"no sound at all" * 100, b"ID3\x03" + bytes(100), b"fLaC" + bytes(200)])
async def test_what_cannot_be_decoded_fails_and_leaves_everything_as_it_was(tmp_path, junk):
    source = tmp_path / "broken.mp3"
    source.write_bytes(junk)
    (tmp_path / "broken.flac").write_bytes(b"precious")
    with pytest.raises(ConvertFailed):
        await convert(source, to="flac", keep=False)
    assert left(tmp_path) == ["broken.flac", "broken.mp3"]
    assert (tmp_path / "broken.flac").read_bytes() == b"precious"


async def test_a_file_that_is_cut_off_is_converted_as_far_as_it_goes(sound):
    source = sound("song.mp3")
    source.write_bytes(source.read_bytes()[:20_000])
    done = (await convert(source, to="wav")).files[0]
    assert 0.5 < (await probe(done.path)).duration < 2.0


@pytest.mark.parametrize("given", ["", "missing.mp3", "a\0b", None, 3])
async def test_a_missing_input_names_its_field(given):
    with pytest.raises(InvalidParams, match="input"):
        await convert(given, to="mp3")


async def test_progress_is_told_in_milliseconds(sound):
    told = []

    async def progress(done, total):
        told.append((done, total))

    await convert(sound("song.wav", seconds=20.0), to="flac", progress=progress)
    assert told
    assert all(total == 20_000 and 0 <= done <= total for done, total in told)


async def test_cancelling_stops_at_once_and_leaves_nothing(sound, tmp_path):
    source = sound("song.wav", seconds=20.0)
    with anyio.move_on_after(0.1) as scope:
        await convert(source, to="m4a")
    assert scope.cancelled_caught
    assert left(tmp_path) == ["song.wav"]


async def test_native_cancellation_leaves_nothing_either(sound, tmp_path):
    source = sound("song.wav", seconds=20.0)
    task = asyncio.get_running_loop().create_task(convert(source, to="m4a"))
    await anyio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if left(tmp_path) == ["song.wav"]:
            break
        await anyio.sleep(0.01)
    assert left(tmp_path) == ["song.wav"]


async def test_an_event_stops_it(sound, tmp_path):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(ConvertFailed, match="stopped"):
        await convert(sound("song.wav"), to="m4a", cancel=cancel)
    assert left(tmp_path) == ["song.wav"]


async def test_an_error_of_progress_ends_it_cleanly(sound, tmp_path):
    def progress(done, total):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await convert(sound("song.wav"), to="mp3", progress=progress)
    assert left(tmp_path) == ["song.wav"]


async def test_a_full_disk_is_told_and_leaves_nothing(sound, tmp_path):
    import resource

    source = sound("song.wav", seconds=20.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OutOfSpace):
            await convert(source, to="wav", output=tmp_path / "copy.wav")
        with pytest.raises(OutOfSpace):
            await convert(source, to="aiff")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left(tmp_path) == ["song.wav"]


# --- folders ---


async def test_a_folder_is_converted_with_all_below_and_only_its_sound(sound, tmp_path):
    root = tmp_path / "library"
    sound("song.wav", root / "a.wav")
    sound("song.mp3", root / "deep" / "b.mp3")
    sound("song.flac", root / "c.flac")
    (root / "cover.jpg").write_bytes(b"x")
    (root / ".hidden.wav").write_bytes(b"x")
    told = []
    result = await convert(root, to="flac", progress=lambda done, total: told.append((done, total)))
    assert [(done.source.name, done.action) for done in result.files] == [
        ("a.wav", "encoded"),
        ("c.flac", "unchanged"),
        ("b.mp3", "encoded"),
    ]
    assert left(root) == [".hidden.wav", "a.flac", "a.wav", "c.flac", "cover.jpg", "deep/b.flac", "deep/b.mp3"]
    assert told[0] == (0, 3)
    assert told[-1] == (3, 3)


async def test_a_folder_goes_into_another_with_the_same_shape(sound, tmp_path):
    root = tmp_path / "library"
    sound("song.wav", root / "x" / "a.wav")
    result = await convert(root, to="mp3", output=tmp_path / "out")
    assert result.files[0].path == tmp_path / "out" / "x" / "a.mp3"
    again = await convert(root, to="mp3", output=tmp_path / "out")
    assert again.files[0].action == "skipped"
    assert left(tmp_path / "out") == ["x/a.mp3"]


async def test_an_output_folder_below_the_source_is_not_converted_itself(sound, tmp_path):
    sound("song.wav", tmp_path / "a.wav")
    for _ in range(2):
        await convert(tmp_path, to="flac", output=tmp_path / "out")
    assert left(tmp_path) == ["a.wav", "out/a.flac"]


async def test_two_songs_that_want_one_name_both_get_one_and_a_second_run_adds_nothing(sound, tmp_path):
    sound("song.wav", tmp_path / "a.wav", seconds=2.0)
    sound("song.mp3", tmp_path / "a.mp3", seconds=4.0)
    for _ in range(2):
        result = await convert(tmp_path, to="flac")
        assert left(tmp_path) == ["a (2).flac", "a.flac", "a.mp3", "a.wav"]
    assert {done.action for done in result.files} == {"skipped", "unchanged"}


async def test_one_broken_file_does_not_stop_the_folder(sound, tmp_path):
    sound("song.wav", tmp_path / "a.wav")
    (tmp_path / "b.mp3").write_bytes(b"junk")
    result = await convert(tmp_path, to="flac", keep=False)
    assert [done.path.name for done in result.files] == ["a.flac"]
    assert [(failed.source.name, type(failed.error)) for failed in result.failed] == [("b.mp3", ConvertFailed)]
    assert left(tmp_path) == ["a.flac", "b.mp3"]


async def test_a_folder_of_nothing_but_broken_files_fails(tmp_path):
    (tmp_path / "b.mp3").write_bytes(b"junk")
    with pytest.raises(ConvertFailed, match=r"b\.mp3"):
        await convert(tmp_path, to="flac")


async def test_an_empty_folder_is_nothing_to_do(tmp_path):
    assert (await convert(tmp_path, to="flac")).files == ()


async def test_a_folder_does_not_fit_into_a_file(sound, tmp_path):
    sound("song.wav", tmp_path / "in" / "a.wav")
    with pytest.raises(InvalidParams, match="output"):
        await convert(tmp_path / "in", output=tmp_path / "all.mp3")


async def test_a_folder_stops_when_it_is_cancelled(sound, tmp_path):
    for number in range(6):
        sound("song.wav", tmp_path / f"{number}.wav", seconds=20.0)
    with anyio.move_on_after(0.15) as scope:
        await convert(tmp_path, to="m4a")
    assert scope.cancelled_caught
    assert not [name for name in left(tmp_path) if name.endswith(".part")]


# --- within one folder ---


@pytest.mark.parametrize("path", ["../song.mp3", "/etc/passwd", "x/../../song.mp3"])
async def test_within_a_folder_no_path_leads_outside(sound, tmp_path, path):
    sound("song.mp3", tmp_path / "song.mp3")
    root = tmp_path / "music"
    sound("song.wav", root / "in.wav")
    with pytest.raises((UnsafePath, InvalidParams)):
        await convert(path, to="flac", within=SafeFolder(root))
    with pytest.raises(UnsafePath):
        await convert("in.wav", output=path.replace("passwd", "passwd.mp3"), to="mp3", within=SafeFolder(root))
    assert left(root) == ["in.wav"]


async def test_within_a_folder_links_are_not_followed(sound, tmp_path):
    outside = sound("song.mp3", tmp_path / "outside" / "song.mp3")
    root = tmp_path / "music"
    sound("song.wav", root / "in.wav")
    (root / "link.mp3").symlink_to(outside)
    (root / "out").symlink_to(outside.parent)
    safe = SafeFolder(root)
    with pytest.raises(UnsafePath):
        await convert("link.mp3", to="flac", within=safe)
    with pytest.raises(UnsafePath):
        await convert("in.wav", output="out/x.flac", within=safe)
    result = await convert("in.wav", to="flac", within=safe)
    assert result.files[0].path == root / "in.flac"
    assert left(tmp_path / "outside") == ["song.mp3"]


# --- the ffmpeg program ---


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A stand-in for ffmpeg that encodes with PyAV, or does as it is told."""

    def install(body: str | None = None) -> Path:
        body = body or (
            "import av\n"
            "source, target = (name.removeprefix('file:') for name in (args[args.index('-i') + 1], args[-1]))\n"
            "with av.open(source) as i, av.open(target, 'w', format=args[args.index('-f') + 1]) as o:\n"
            "    s = o.add_stream(args[args.index('-c:a') + 1], rate=int(args[args.index('-ar') + 1]))\n"
            "    s.bit_rate = int(args[args.index('-b:a') + 1])\n"
            "    for f in i.decode(audio=0):\n"
            "        f.pts = None\n"
            "        o.mux(s.encode(f))\n"
            "    o.mux(s.encode(None))\n"
            "print('out_time_us=1000000', flush=True)\n"
        )
        folder = tmp_path / "bin"
        folder.mkdir()
        log = tmp_path / "bin" / "log"
        script = folder / "ffmpeg"
        script.write_text(
            f"#!{sys.executable}\nimport sys\nargs = sys.argv[1:]\nopen({str(log)!r}, 'a').write(' '.join(args))\n{body}"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))
        return log

    return install


@pytest.mark.parametrize("to", ["mp3", "m4a", "opus"])
async def test_the_program_is_used_with_a_closed_door(sound, program, tune, notes, tmp_path, picture, to):
    log = program()
    source = sound("song.flac", tmp_path / "in" / "-i.flac")
    await write_tags(source, TAGS, cover=make_cover(picture()))
    done = (await convert(source, to=to, bitrate="128k")).files[0]
    said = log.read_text()
    assert "-nostdin" in said
    assert "-protocol_whitelist file,pipe" in said
    assert f"-i file:{source}" in said
    assert tune(done.path)[:7] == notes(2.0)[:7]
    assert (await read_tags(done.path)).tags == TAGS
    assert left(tmp_path / "in") == sorted(["-i.flac", f"-i.{to}"])


@pytest.fixture
def real_program(tmp_path, monkeypatch):
    """Let ``ffmpeg`` be all that PATH has."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize("to", [made.name for made in FORMATS.values() if not made.lossless])
async def test_the_real_program_makes_the_same(sound, real_program, tune, notes, to):
    for kind in ("deep.flac", "surround.flac", "mono.wav"):
        done = (await convert(sound(kind), to=to)).files[0]
        assert tune(done.path)[:7] == notes(2.0)[:7]
        assert (await probe(done.path)).codec == FORMATS[to].codec


async def test_a_lossless_format_is_never_the_programs(sound, program, pcm):
    log = program()
    source = sound("deep.flac")
    assert pcm((await convert(source, to="alac")).files[0].path) == pcm(source)
    assert not log.exists()


async def test_a_program_that_fails_is_made_up_for(sound, program, tune, notes):
    program("print('no such encoder', file=sys.stderr)\nsys.exit(1)\n")
    assert tune((await convert(sound("song.flac"), to="mp3")).files[0].path)[:7] == notes(2.0)[:7]


async def test_a_program_that_hangs_is_killed_with_the_task(sound, program, tmp_path):
    program(
        "import time, os\nopen(os.path.join(os.path.dirname(sys.argv[0]), 'pid'), 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    source = sound("song.flac", tmp_path / "in" / "song.flac")
    pid = tmp_path / "bin" / "pid"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: convert(source, to="mp3"))
        with anyio.fail_after(10):
            while not pid.exists() or not pid.read_text():
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert left(tmp_path / "in") == ["song.flac"]


@pytest.mark.parametrize("kind", ["song.mp3", "song.m4a", "song.flac"])
async def test_a_file_with_broken_places_is_converted_around_them(sound, kind):
    source = sound(kind)
    data = bytearray(source.read_bytes())
    for at in range(5000, len(data) - 2000, 3000):
        data[at] ^= 0xFF
    source.write_bytes(data)
    done = (await convert(source, to="wav")).files[0]
    assert (await probe(done.path)).duration > 1.0
