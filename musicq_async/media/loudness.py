"""How loud a song is, measured after EBU R 128, for the volume that players set it to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from musicq_async.errors import ConvertFailed
from musicq_async.media.audio import open_sound, opened, sound_errors, sound_stream
from musicq_async.media.encode import frames_of
from musicq_async.media.remux import Cut
from musicq_async.media.tag_values import ReplayGain, Tags
from musicq_async.media.tags import write_tags
from musicq_async.media.work import Stop, Stopper, in_thread

REFERENCE: Final = -18.0
"""Loudness in LUFS that ReplayGain 2.0 brings every track to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loudness:
    """What EBU R 128 says of a whole song."""

    integrated: float
    """LUFS."""
    peak: float
    """Largest true peak, 1.0 being full scale."""

    @property
    def replay_gain(self) -> ReplayGain:
        """The same as players want it."""
        return ReplayGain(gain=REFERENCE - self.integrated, peak=self.peak)


def replay_gain_from(integrated: float, true_peak_db: float | None = None) -> ReplayGain:
    """ReplayGain from a loudness in LUFS and a true peak in dBTP that somebody else has measured."""
    peak = None if true_peak_db is None else 10 ** (true_peak_db / 20)
    return ReplayGain(gain=REFERENCE - integrated, peak=peak)


async def measure_loudness(path: str | os.PathLike[str]) -> Loudness:
    """Decode a song and measure it, in a thread: about a second for five minutes.

    Raises `ConvertFailed` when it cannot be decoded or is silent. Cancelled, it stops at the next frame.
    """
    stopper = Stopper()

    def work() -> Loudness:
        with opened(Path(path)) as file:
            return measure_files([file], stop=stopper)

    return await in_thread(work, stopper=stopper)


async def write_loudness(path: str | os.PathLike[str]) -> ReplayGain:
    """Measure a song and write its ReplayGain tags (``R128_TRACK_GAIN`` in Opus), in a thread; return what it wrote.

    Raises what `measure_loudness` and `write_tags` raise; then the file is as it was.
    """
    found = (await measure_loudness(path)).replay_gain
    await write_tags(path, Tags(replay_gain=found))
    return found


def measure_files(files: Sequence[BinaryIO], *, stop: Stop, cut: Cut | None = None) -> Loudness:
    """Measure open files, one after the other, as one song, or a stretch of them; blocks. Raises `ConvertFailed`."""
    import av.filter  # noqa: PLC0415 - an extra

    found: dict[str, str] = {}
    graph: Any = None
    for file in files:
        with open_sound(file) as container, sound_errors("the loudness cannot be measured"):
            stream = sound_stream(container, file)
            if graph is None:
                graph = av.filter.Graph()
                entry = graph.add_abuffer(template=stream)
                meter = graph.add("ebur128", "metadata=1:peak=true")
                entry.link_to(meter)
                meter.link_to(graph.add("abuffersink"))
                graph.configure()
            for frame in frames_of(container, stream, cut):
                stop.check()
                graph.push(frame)
                found = _pull(graph) or found
    return _read(found)


def _read(found: dict[str, str]) -> Loudness:
    try:
        integrated = float(found["lavfi.r128.I"])
        peaks = [float(value) for name, value in found.items() if name.startswith("lavfi.r128.true_peaks_ch")]
    except (KeyError, ValueError) as error:
        raise ConvertFailed("the loudness cannot be measured: the song is too short, or PyAV older than 18") from error
    if integrated <= -70 or not peaks:
        raise ConvertFailed("the loudness cannot be measured: the song is silent or too short")
    return Loudness(integrated=integrated, peak=max(peaks))


def _pull(graph: Any) -> dict[str, str]:
    """Take what the filter has ready; the last frame says the most."""
    import av  # noqa: PLC0415 - an extra

    last: dict[str, str] = {}
    while True:
        try:
            last = dict(getattr(graph.pull(), "metadata", {}))  # PyAV 18 has it
        except (av.error.BlockingIOError, EOFError):
            return last
