"""Moving sound into a container of its own without touching a bit of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from musicq_async.errors import ConvertFailed
from musicq_async.media import flac
from musicq_async.media.audio import Sink, codec_name, open_sound, sound_errors, sound_stream
from musicq_async.media.covers import Cover
from musicq_async.media.matroska import write_matroska
from musicq_async.media.mp4 import move_index_to_front
from musicq_async.media.tag_values import Tags
from musicq_async.media.work import Stop

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer

_HOMES: Final = {
    "aac": ("m4a", "ipod"),
    "alac": ("m4a", "ipod"),
    "flac": ("flac", "flac"),
    "mp3": ("mp3", "mp3"),
    "opus": ("opus", "opus"),
    "vorbis": ("ogg", "ogg"),
}
_OTHERS: Final = ("mka", "matroska")
_BUFFER: Final = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The file type that a codec lives in."""

    extension: str
    muxer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A stretch of sound in seconds; packets that begin within it are taken."""

    start: float = 0.0
    end: float | None = None


def home_of(codec: str) -> Home:
    """File type for a codec: .m4a for AAC and ALAC, .flac, .mp3, .opus, .ogg, and .mka for all others."""
    extension, muxer = _HOMES.get(codec, ("wav", "wav") if codec in _WAVE else _OTHERS)
    return Home(extension=extension, muxer=muxer)


_WAVE: Final = {"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_u8", "pcm_f32le"}


def remux_file(
    sources: Sequence[BinaryIO],
    target: BinaryIO,
    *,
    stop: Stop,
    cut: Cut | None = None,
    tags: Tags | None = None,
    cover: Cover | None = None,
) -> Home:
    """Copy the sound of one file, or of segments one after the other, into the file type of its codec; blocks.

    ``target`` is open for reading and writing, and empty. ``tags`` and ``cover`` are for Matroska alone, which takes
    them only now; the other types are tagged afterwards. Returns the file type. Raises `ConvertFailed` when a source
    is no sound or the segments differ, `EncryptedStream`, `OutOfSpace`, and what ``stop`` raises.
    """
    sink = Sink(target)
    job = _Copy(target, sink, stop=stop, cut=cut, tags=tags or Tags(), cover=cover)
    with sound_errors("the sound cannot be copied", sink):
        try:
            for source in sources:
                with open_sound(source) as container:
                    job.append(container, sound_stream(container, source))
        finally:
            job.close()
        return job.finish()


class _Copy:
    """One file being filled from one source after the other, without a gap in its times."""

    def __init__(
        self, target: BinaryIO, sink: Sink, *, stop: Stop, cut: Cut | None, tags: Tags, cover: Cover | None
    ) -> None:
        self._target = target
        self._sink = sink
        self._stop = stop
        self._cut = cut
        self._tags = tags
        self._cover = cover
        self._output: OutputContainer | None = None
        self._stream: AudioStream | None = None
        self._kind = ("", 0)
        self._home = home_of("")
        self._count: flac.FrameCount | None = None
        self._written = 0
        self._end = 0  # of the sources so far, in samples

    def append(self, container: InputContainer, stream: AudioStream) -> None:
        """Copy one source's packets behind what is there."""
        output = self._output or self._open(stream)
        for number, packet in enumerate(self._moved(container.demux(stream), stream)):
            if number % 64 == 0:
                self._stop.check()
            if self._count is not None:
                self._count.add(bytes(packet))
            output.mux_one(packet)
            self._written += 1

    def _open(self, stream: AudioStream) -> OutputContainer:
        import av  # noqa: PLC0415 - an extra

        self._kind = (codec_name(stream), stream.codec_context.sample_rate)
        self._home = home_of(self._kind[0])
        self._count = flac.FrameCount() if self._home.muxer == "flac" else None
        self._output = av.open(self._sink, "w", format=self._home.muxer, buffer_size=_BUFFER)
        self._stream = self._output.add_stream_from_template(stream)
        if self._home.muxer == "matroska":
            write_matroska(self._output, self._tags, self._cover)
        return self._output

    def _moved(self, packets: Iterable[Any], stream: AudioStream) -> Iterator[Any]:
        if (codec_name(stream), stream.codec_context.sample_rate) != self._kind:
            raise ConvertFailed("the segments differ in codec or sample rate and cannot be joined")
        base, rate, cut = stream.time_base or Fraction(1, self._kind[1]), self._kind[1], self._cut
        offset = None if self._end or (cut is not None and cut.start > 0) else 0
        last = 0
        for packet in packets:
            if packet.dts is None or packet.size == 0:
                continue
            if cut is not None and cut.start > 0 and packet.dts * base < cut.start:
                continue
            if cut is not None and cut.end is not None and packet.dts * base >= cut.end:
                break
            if offset is None:
                offset = int(Fraction(self._end, rate) / base) - packet.dts
            if offset:
                packet.pts = packet.dts = packet.dts + offset
            last = packet.dts + (packet.duration or 0)
            packet.stream = self._stream
            yield packet
        self._end = int(last * base * rate)

    def close(self) -> None:
        """Write the index and the end of the file."""
        if self._output is not None:
            self._output.close()

    def finish(self) -> Home:
        """Put right what the muxer leaves out."""
        if not self._written:
            raise ConvertFailed("the file holds no sound")
        if self._count is not None:
            flac.write_totals(self._target, self._count)
        if self._home.extension == "m4a":
            move_index_to_front(self._target)
        return self._home
