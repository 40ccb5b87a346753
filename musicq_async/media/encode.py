"""Decoding sound and encoding it anew, by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from musicq_async.errors import ConvertFailed
from musicq_async.media.audio import Sink, Sound, open_sound, sound_errors, sound_stream
from musicq_async.media.mp4 import move_index_to_front
from musicq_async.media.recipes import Format, sample_rate_for, usual_bitrate
from musicq_async.media.remux import Cut
from musicq_async.media.work import Stop, Teller

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_BUFFER: Final = 1 << 18
_SURROUND: Final = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_BROKEN_PACKETS: Final = 50  # in a row, after which a file counts as undecodable


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What `encode_file` made."""

    bit_rate: int | None
    """Bits a second that were asked of the encoder; ``None`` for a lossless format."""
    seconds: float


def encode_file(
    source: BinaryIO,
    target: BinaryIO,
    made: Format,
    sound: Sound,
    *,
    bit_rate: int | None,
    stop: Stop,
    teller: Teller,
    cut: Cut | None = None,
) -> Encoding:
    """Encode an open sound file into another open and empty one; blocks.

    Progress is told in milliseconds of sound. Raises `ConvertFailed` when nothing can be decoded or the file is broken
    for good, `EncryptedStream`, `OutOfSpace`, and what ``stop`` and the progress callback raise.
    """
    import av  # noqa: PLC0415 - an extra

    wanted = None if made.lossless else bit_rate or usual_bitrate(made, sound)
    total = None if sound.duration is None else int(sound.duration * 1000)
    sink = Sink(target)
    with open_sound(source) as container, sound_errors("the sound cannot be converted", sink):
        stream = sound_stream(container, source)
        with av.open(sink, "w", format=made.muxer, buffer_size=_BUFFER) as output:
            encoder = _encoder(output, made, sound, wanted)
            samples = 0
            for frame in frames_of(container, stream, cut):
                stop.check()
                samples += frame.samples
                for packet in encoder.encode(frame):
                    output.mux_one(packet)
                teller.tell(samples * 1000 // sound.sample_rate, total)
            for packet in encoder.encode(None) if samples else ():
                output.mux_one(packet)
        if not samples:
            raise ConvertFailed("nothing in the file can be decoded")
        if made.muxer == "ipod":
            move_index_to_front(target)
    return Encoding(bit_rate=wanted, seconds=samples / sound.sample_rate)


def _encoder(output: Any, made: Format, sound: Sound, bit_rate: int | None) -> Any:
    deep = sound.lossless and (sound.bits or 16) > 16
    name, sample_format = _encoder_and_format(made, deep=deep)
    stream = output.add_stream(name, rate=sample_rate_for(made, sound.sample_rate))
    stream.codec_context.layout = _SURROUND[min(max(sound.channels, 1), made.channels)]
    if sample_format:
        stream.codec_context.format = sample_format
    if bit_rate is not None:
        stream.codec_context.bit_rate = bit_rate
    return stream


def _encoder_and_format(made: Format, *, deep: bool) -> tuple[str, str | None]:
    """Choose the encoder and sample format that keep as many bits as the source has."""
    match made.encoder:
        case "pcm_s16le" | "pcm_s16be":
            return (made.encoder.replace("16", "24"), "s32") if deep else (made.encoder, "s16")
        case "flac":
            return "flac", "s32" if deep else "s16"
        case "alac":
            return "alac", "s32p" if deep else "s16p"
        case "libopus":
            return "libopus", "flt"
        case _:
            return made.encoder, "fltp"


def frames_of(container: InputContainer, stream: AudioStream, cut: Cut | None) -> Iterator[Any]:
    """Decode; a broken packet is left out as players do, but not one after the other for ever."""
    import av  # noqa: PLC0415 - an extra

    broken = 0
    rate = stream.codec_context.sample_rate
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            broken += 1
            if broken >= _BROKEN_PACKETS:
                raise ConvertFailed("the file is broken: its sound cannot be decoded") from error
            continue
        for frame in frames:
            broken = 0
            if cut is not None and frame.time is not None:
                first = max(0, round((cut.start - frame.time) * rate))
                last = frame.samples if cut.end is None else min(frame.samples, round((cut.end - frame.time) * rate))
                if last <= 0:
                    return
                if first >= last:
                    continue
                frame = frame if last - first == frame.samples else _stretch(frame, first, last)  # noqa: PLW2901
            frame.pts = None  # counted anew from the samples, so that gaps and cuts leave no hole
            yield frame


def _stretch(frame: Any, first: int, last: int) -> Any:
    """Copy some samples of a frame into one of their own."""
    import av  # noqa: PLC0415 - an extra

    part: Any = av.AudioFrame(format=frame.format.name, layout=frame.layout.name, samples=last - first)
    width = frame.format.bytes * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for whole, plane in zip(frame.planes, part.planes, strict=True):
        plane.update(bytes(whole)[first * width : last * width].ljust(plane.buffer_size, b"\0"))
    part.sample_rate, part.time_base = frame.sample_rate, frame.time_base
    return part
