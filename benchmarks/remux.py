"""From a downloaded four-minute stream to a tagged song with a cover, in its place and synced.

    python benchmarks/remux.py [--rounds 15] [--minutes 4] [--json]

Times `finish`: copy into the song's own container, tags, cover, fsync, rename, all off the event loop, whose longest
stall is measured by a task that asks for a millisecond of sleep again and again.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
from array import array
from fractions import Fraction
from pathlib import Path

import anyio
import av
import mutagen

from musicq_async.media.covers import Cover, make_cover
from musicq_async.media.files import SafeFolder
from musicq_async.media.finish import finish
from musicq_async.media.tags import ReplayGain, Tags

GOAL_MS = 150
TAGS = Tags(
    title="夜に駆ける",
    artists=("YOASOBI",),
    album="THE BOOK",
    date="2019-12-15",
    url="https://www.bilibili.com/video/BV1xx411c7mD",
    lyrics="[00:01.00]la\n" * 60,
    replay_gain=ReplayGain(gain=-8.2, peak=0.98),
)


def stream(codec: str, minutes: float, rate: int) -> bytes:
    """A fragmented MP4 as a content network serves it: a chord with noise, so that FLAC has something to pack."""
    noise = random.Random(1)
    second = array("h")
    for at in range(rate):
        tone = sum(math.sin(2 * math.pi * pitch * at / rate) for pitch in (220, 277, 330))
        value = int(6000 * tone + noise.uniform(-2000, 2000))
        second.extend((value, -value // 2))
    made = io.BytesIO()
    options = {"movflags": "frag_keyframe+delay_moov+default_base_moof", "frag_duration": "5000000"}
    with av.open(made, "w", format="mp4", options=options) as output:
        sound = output.add_stream(codec, rate=rate)
        sound.codec_context.layout = "stereo"
        if codec != "flac":
            sound.codec_context.bit_rate = 192_000
        for number in range(int(minutes * 60)):
            frame = av.AudioFrame(format="s16", layout="stereo", samples=rate)
            frame.planes[0].update(second.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
            frame.sample_rate, frame.pts, frame.time_base = rate, number * rate, Fraction(1, rate)
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return made.getvalue()


def picture() -> Cover:
    """A cover of 800 by 800 with as much detail as a drawing has."""
    dots = random.Random(2).randbytes(100 * 100 * 3)
    frame = av.VideoFrame(100, 100, "rgb24")
    for row in range(100):
        at = row * frame.planes[0].line_size
        view = memoryview(frame.planes[0])
        view[at : at + 300] = dots[row * 300 : row * 300 + 300]
    frame = frame.reformat(800, 800, "yuvj420p")
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 800, 800, "yuvj420p", Fraction(1, 1)
    return make_cover(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))


async def timed(raw: Path, folder: SafeFolder, cover: Cover) -> tuple[float, float]:
    """Milliseconds of one `finish`, and of the loop's longest stall meanwhile."""
    stalls = [0.0]

    async def pulse() -> None:
        while True:
            before = time.perf_counter()
            await anyio.sleep(0.001)
            stalls.append(time.perf_counter() - before - 0.001)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pulse)
        await anyio.sleep(0.005)
        before = time.perf_counter()
        await finish(raw, folder, "Artist/song", tags=TAGS, cover=cover, existing="replace")
        spent = time.perf_counter() - before
        tasks.cancel_scope.cancel()
    return spent * 1000, max(stalls) * 1000


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--minutes", type=float, default=4.0)
    arguments.add_argument("--json", action="store_true", help="print the document only")
    given = arguments.parse_args()
    cover = picture()
    rows = {}
    with tempfile.TemporaryDirectory() as place:
        kept, raw, folder = Path(place) / "kept", Path(place) / "raw.m4s", SafeFolder(Path(place) / "music")
        for codec, rate in (("aac", 44100), ("flac", 44100), ("eac3", 48000)):
            kept.write_bytes(stream(codec, given.minutes, rate))
            results = []
            for number in range(given.rounds + 1):  # the first imports and does not count
                shutil.copyfile(kept, raw)
                os.sync()
                result = anyio.run(timed, raw, folder, cover)
                if number:
                    results.append(result)
            times, stalls = zip(*results, strict=True)
            rows[codec] = {
                "mib": round(kept.stat().st_size / 2**20, 1),
                "ms": round(statistics.median(times), 1),
                "spread": [round(min(times), 1), round(max(times), 1)],
                "longest_stall_ms": round(statistics.median(stalls), 1),
            }
    report = {
        "benchmark": "remux",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version(), "av": av.__version__, "mutagen": mutagen.version_string},
        "minutes": given.minutes,
        "rounds": given.rounds,
        "cover_kib": len(cover.content) // 1024,
        "results": rows,
        "goal": f"a four-minute song under {GOAL_MS} ms, the loop never blocked over 20 ms",
        "passed": all(row["ms"] < GOAL_MS and row["longest_stall_ms"] <= 20 for row in rows.values()),
    }
    if not given.json:
        print(f"finish a song of {given.minutes:g} minutes, median of {given.rounds}")
        print(f"{report['machine']}, load {report['load']}")
        print(f"{'':8}{'MiB':>8}{'ms':>8}{'spread':>16}{'stall ms':>10}")
        for name, row in rows.items():
            spread = f"{row['spread'][0]}-{row['spread'][1]}"
            print(f"{name:8}{row['mib']:>8}{row['ms']:>8}{spread:>16}{row['longest_stall_ms']:>10}")
        print(f"{'passed' if report['passed'] else 'FAILED'}: {report['goal']}")
    print(json.dumps(report))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
