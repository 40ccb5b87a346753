"""What a sound file holds: opened without ever following an address or path that stands in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from musicq_async.errors import ConvertFailed, EncryptedStream, MusicqError
from musicq_async.media.files import disk_errors, raise_if_full
from musicq_async.media.work import Stopped, in_thread, need_av

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

CONTAINERS: Final = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,webm,mov,mp4,mp3,mpc,mpc8,mpegts,ogg,"
    "tak,truehd,tta,w64,wav,wv"
)  # none of these reads another file or address, unlike playlists
_BUFFER: Final = 1 << 18
_ENCRYPTED: Final = {b"enca", b"encv", b"pssh"}
_HEAD: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """What a file's first sound stream is."""

    container: str
    """First of the container's names: mov, flac, mp3, ogg, matroska, wav, flv, ..."""
    codec: str
    """aac, flac, eac3, mp3, opus, vorbis, alac, pcm_s16le, ..."""
    profile: str | None
    sample_rate: int
    channels: int
    bits: int | None
    """Bits of a sample, where the codec is lossless."""
    bit_rate: int | None
    """Bits a second; where the container does not say, size by duration."""
    duration: float | None
    """Seconds."""
    picture: bool
    """Whether a picture or video lies beside the sound."""
    size: int

    @property
    def lossless(self) -> bool:
        """Whether the codec keeps every bit of the sound."""
        return self.codec in {"flac", "alac", "ape", "tta", "wavpack", "tak", "truehd"} or self.codec.startswith("pcm_")


async def probe(path: str | os.PathLike[str]) -> Sound:
    """Look at a sound file, in a thread.

    Raises `ConvertFailed` when it holds no sound that can be read, and `EncryptedStream` when it is encrypted.
    """

    def work() -> Sound:
        with opened(Path(path)) as file:
            return probe_file(file)

    return await in_thread(work)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; a missing one, or one that is not a file, is a `ConvertFailed`."""
    with disk_errors(str(path)):
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
            file = os.fdopen(descriptor, "rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
            raise ConvertFailed(f"there is no file {path}") from error
    with file:
        yield file


def probe_file(file: BinaryIO) -> Sound:
    """Look at an open sound file; blocks, and leaves the position anywhere."""
    with open_sound(file) as container:
        stream = sound_stream(container, file)
        context = stream.codec_context
        size = file.seek(0, os.SEEK_END)
        duration = _duration(container, stream)
        return Sound(
            container=container.format.name.partition(",")[0],
            codec=codec_name(stream),
            profile=context.profile,
            sample_rate=context.sample_rate,
            channels=context.channels,
            bits=_bits(stream),
            bit_rate=context.bit_rate or container.bit_rate or (int(size * 8 / duration) if duration else None),
            duration=duration,
            picture=bool(container.streams.video),
            size=size,
        )


def looks_like_mp4(first: bytes) -> bool:
    """Whether a file begins as an MP4 does: its first box is ``ftyp`` (or ``styp`` of a bare segment)."""
    return first[4:8] in (b"ftyp", b"styp")


def is_cut_off(file: BinaryIO) -> bool:
    """Whether an MP4's last box runs past the end of the file; what is no MP4 is never called so.

    Boxes begin with their length in 4 bytes and their kind in 4 (ISO/IEC 14496-12); length 1 says that 8 bytes with
    the length follow, 0 that the box is the last.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    place = 0 if looks_like_mp4(file.read(8)) else size
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:
            break
        place += length
    file.seek(0)
    return place > size


def is_encrypted(file: BinaryIO) -> bool:
    """Whether an MP4 says in its first boxes that its sound is encrypted."""
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    return looks_like_mp4(head) and any(mark in head for mark in _ENCRYPTED)


@contextlib.contextmanager
def open_sound(file: BinaryIO) -> Iterator[InputContainer]:
    """Open a container; what FFmpeg raises inside becomes `ConvertFailed`."""
    need_av()
    import av  # noqa: PLC0415 - an extra

    file.seek(0)
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    with (
        sound_errors("the sound cannot be read"),
        av.open(
            file, "r", buffer_size=_BUFFER, metadata_errors="replace", container_options=options, io_open=_refuse
        ) as container,
    ):
        yield container


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    """Open nothing: a sound file has no business with other files or addresses."""
    del url, flags, options
    raise PermissionError("a sound file may not open other files")


class Sink:
    """The file that FFmpeg writes to. It remembers the first error, which FFmpeg itself forgets."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.name = ""
        self.read, self.tell, self.readable, self.writable = file.read, file.tell, file.readable, file.writable
        self.seekable = file.seekable

    def write(self, data: bytes) -> int:
        """Write; after the first error, only pretend to."""
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
                raise
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; writing out what is buffered may fail here as well."""
        if self.error is not None:
            return 0
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            self.error = error
            raise


@contextlib.contextmanager
def sound_errors(what: str, sink: Sink | None = None) -> Iterator[None]:
    """Rename what FFmpeg raises; a full disk keeps its own error."""
    need_av()
    import av  # noqa: PLC0415 - an extra

    try:
        yield
        if sink is not None and sink.error is not None:
            raise sink.error
    except (MusicqError, Stopped):
        raise
    except (av.error.FFmpegError, ValueError, EOFError, OSError, IndexError, OverflowError) as error:
        origin = sink.error if sink is not None and sink.error is not None else error
        if isinstance(origin, OSError):
            raise_if_full(origin, "the sound")
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConvertFailed(f"{what}: {reason[:200]}") from error


def sound_stream(container: InputContainer, file: BinaryIO) -> AudioStream:
    """Return the best sound stream; raises `EncryptedStream` or `ConvertFailed` when there is none to use."""
    here = file.tell()
    encrypted = is_encrypted(file)
    file.seek(here)
    if encrypted:
        raise EncryptedStream("the sound is encrypted, which is not supported")
    stream: Any = container.streams.best("audio")
    if stream is None or stream.codec_context is None:
        raise ConvertFailed("the file holds no sound")
    if not stream.codec_context.sample_rate:
        raise ConvertFailed("the sound has no sample rate; the file is broken or its codec is not known")
    found: AudioStream = stream
    return found


def codec_name(stream: AudioStream) -> str:
    """Name of the codec, not of the decoder that happens to read it (``mp3``, not ``mp3float``)."""
    return str(getattr(stream.codec_context.codec, "canonical_name", stream.codec_context.name))


def _duration(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None


def _bits(stream: AudioStream) -> int | None:
    name = codec_name(stream)
    extra = stream.codec_context.extradata or b""
    if name == "flac" and len(extra) >= 34:
        return (((extra[12] & 1) << 4) | (extra[13] >> 4)) + 1
    if name.startswith("pcm_"):
        digits = "".join(sign for sign in name if sign.isdigit())
        return int(digits) if digits else None
    if name in {"alac", "ape", "tta", "wavpack", "tak", "truehd"}:
        return 16 if stream.codec_context.format.bytes == 2 else 24
    return None
