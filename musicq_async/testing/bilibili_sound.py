"""Sound and pictures that the stand-in serves, made on demand by PyAV: chords that a test can recognise."""

from __future__ import annotations

import array
import functools
import io
import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from musicq_async.errors import UsageError

StreamKind = Literal["low", "middle", "high", "flac", "dolby"]
"""The sound streams of a video: AAC at three rates, FLAC, E-AC-3."""

RATE: Final = 48_000
# Two sines need none of the encoder's finer tools, which take most of its time.
_QUICK_AAC: Final = {"aac_coder": "fast", "aac_tns": "0", "aac_is": "0", "aac_ms": "0", "aac_pns": "0"}
_DASH: Final = "default_base_moof+dash"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    encoder: str
    bit_rate: int | None
    flags: str = "empty_moov+" + _DASH
    sample_format: str = "s16"


_FORMS: Final[dict[StreamKind, _Form]] = {
    "low": _Form(encoder="aac", bit_rate=64_000),
    "middle": _Form(encoder="aac", bit_rate=128_000),
    "high": _Form(encoder="aac", bit_rate=192_000),
    "flac": _Form(encoder="flac", bit_rate=None),
    # Its header is only known once the first packet is there.
    "dolby": _Form(encoder="eac3", bit_rate=448_000, flags="delay_moov+" + _DASH),
}


@functools.lru_cache(maxsize=256)
def stream(kind: StreamKind, notes: tuple[int, ...], seconds: float) -> bytes:
    """Return a fragmented MP4 file with a chord of ``notes`` (multiples of 10 Hz) in one codec."""
    form = _FORMS[kind]
    return _encoded(form, notes, seconds, container="mp4", options={"movflags": form.flags, "frag_duration": "1000000"})


@functools.lru_cache(maxsize=64)
def song_file(notes: tuple[int, ...], seconds: float) -> bytes:
    """Return a plain .m4a file, as the audio zone serves them."""
    return _encoded(_FORMS["high"], notes, seconds, container="ipod", options={})


@functools.lru_cache(maxsize=64)
def muxed(notes: tuple[int, ...], seconds: float) -> bytes:
    """Return an MP4 file with a picture and the sound, as old videos have only that."""
    av = _pyav()
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        picture = container.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="stereo", options=_QUICK_AAC)
        sound.bit_rate = 128_000
        for number in range(round(seconds * 5)):
            frame = _picture(av, 64, 64, number)
            frame.pts, frame.time_base = number, Fraction(1, 5)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        container.mux(sound.encode(_chord(av, notes, seconds)))
        container.mux(sound.encode(None))
    return target.getvalue()


@functools.lru_cache(maxsize=64)
def cover(seed: int, size: int = 320) -> bytes:
    """Return a JPEG picture of ``size`` by ``size``."""
    av = _pyav()
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width = encoder.height = size
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    frame = _picture(av, size, size, seed, pixel_format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def index_ranges(data: bytes) -> tuple[str, str]:
    """Return where the initialization and the index of a fragmented file lie, as ``first-last`` bytes."""
    place, initialization, index = 0, "0-0", "0-0"
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"moov":
            initialization = f"0-{place + length - 1}"
        if kind == b"sidx":
            index = f"{place}-{place + length - 1}"
        if kind == b"moof" or length < 8:
            break
        place += length
    return initialization, index


def _encoded(form: _Form, notes: tuple[int, ...], seconds: float, *, container: str, options: dict[str, str]) -> bytes:
    av = _pyav()
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options) as output:
        coder = _QUICK_AAC if form.encoder == "aac" else {}
        track = output.add_stream(form.encoder, rate=RATE, layout="stereo", options=coder)
        if form.bit_rate:
            track.bit_rate = form.bit_rate
        output.mux(track.encode(_chord(av, notes, seconds)))
        output.mux(track.encode(None))
    return target.getvalue()


def _chord(av: Any, notes: tuple[int, ...], seconds: float) -> Any:
    """Return one frame of 16-bit stereo sound; a tenth of a second repeats exactly, so that it costs nothing."""
    steps = [2 * math.pi * note / RATE for note in notes]
    period = array.array("h")
    for place in range(RATE // 10):
        value = round(18_000 * sum(math.sin(step * place) for step in steps) / len(steps))
        period.extend((value, value))
    sound = period.tobytes() * round(seconds * 10)
    frame = av.AudioFrame(format="s16", layout="stereo", samples=len(sound) // 4)
    frame.planes[0].update(sound)
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    return frame


def _picture(av: Any, width: int, height: int, seed: int, *, pixel_format: str = "yuv420p") -> Any:
    frame = av.VideoFrame(width, height, pixel_format)
    for number, plane in enumerate(frame.planes):
        tint = (seed * 67 + number * 89) % 200
        plane.update(bytes((tint + line // 8) % 256 for line in range(plane.height) for _ in range(plane.line_size)))
    return frame


def _pyav() -> Any:
    try:
        import av  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise UsageError("making sound needs PyAV: pip install 'musicq_async[media]'") from error
    return av
