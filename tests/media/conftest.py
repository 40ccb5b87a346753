"""A web server that misbehaves as told, and real sound to work on."""

from __future__ import annotations

import asyncio
import io
import math
import random
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from musicq_async.media.sources import Source
from musicq_async.media.transfer import TransferRules
from musicq_async.settings import HttpSettings


@dataclass
class Request:
    path: str
    headers: dict[str, str]

    @property
    def start(self) -> int | None:
        found = self.headers.get("range")
        return int(found.removeprefix("bytes=").split("-")[0]) if found else None


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class File:
    """One file on the server and the ways in which it is served badly."""

    data: bytes
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each further answer is cut off."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the first answers."""
    extra: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """A lie about Content-Length."""
    total: int | None = None
    """A lie about the total of Content-Range."""
    shift: int = 0
    """Bytes by which a 206 starts elsewhere."""
    framing: str = "length"
    """length, chunked, or close."""
    after: Callable[[File], None] | None = None
    """Called after each answer."""
    chunk: int = 1 << 16
    pause: float = 0.0
    stall_at: int | None = None

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        start = request.start if self.ranges else None
        if request.headers.get("if-range") not in (None, self.etag):
            start = None
        if self.statuses:
            status = self.statuses.pop(0)
            await reply(writer, status, b"no", self.extra)
            return
        headers = dict(self.extra)
        if self.etag:
            headers["ETag"] = self.etag
        if self.modified:
            headers["Last-Modified"] = self.modified
            headers["Date"] = "Sun, 06 Nov 1994 08:49:37 GMT"
        total = len(self.data) if self.total is None else self.total
        if start is not None and start >= len(self.data):
            await reply(writer, 416, b"", headers | {"Content-Range": f"bytes */{total}"})
            return
        body = self.data[start or 0 :]
        if start is not None:
            first = start + self.shift
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{total}"
        cut = self.cuts.pop(0) if self.cuts else None
        await self._send(writer, 200 if start is None else 206, headers, body, cut)
        if self.after:
            self.after(self)

    async def _send(self, writer, status, headers, body, cut) -> None:
        if self.framing == "length":
            headers["Content-Length"] = str(len(body) if self.length is None else self.length)
        elif self.framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        writer.write(head(status, headers))
        sent = 0
        for at in range(0, len(body), self.chunk):
            piece = body[at : at + self.chunk]
            if cut is not None:
                piece = piece[: cut - sent]
            if self.stall_at is not None and sent + len(piece) > self.stall_at:
                await asyncio.sleep(3600)
            sent += len(piece)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.framing == "chunked" and piece else piece)
            await writer.drain()
            if cut is not None and sent >= cut:
                return
            if self.pause:
                await asyncio.sleep(self.pause)
        if self.framing == "chunked":
            writer.write(b"0\r\n\r\n")


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} X",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


async def reply(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    writer.write(head(status, {"Content-Length": str(len(body)), **(headers or {})}) + body)


class Site:
    """A loopback web server with one behaviour a path; remembers every request."""

    def __init__(self) -> None:
        self.routes: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    async def start(self, host: str = "127.0.0.1") -> None:
        self._server = await asyncio.start_server(self._serve, host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)
                }
                request = Request(lines[0].split(" ")[1], headers)
                self.requests.append(request)
                await self.routes[request.path.partition("?")[0]](request, writer)
                await writer.drain()
        finally:
            self._tasks.discard(asyncio.current_task())
            with suppress(Exception):
                writer.close()

    def put(self, path: str, data: bytes = b"", **how) -> File:
        """Serve a file; returns it, to be changed at will."""
        self.routes[path] = file = File(data, **how)
        return file

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def source(self, path: str, **how) -> Source:
        return Source(url=self.url(path), allowed_hosts=frozenset({"127.0.0.1"}), **how)


@pytest.fixture
async def site(anyio_backend) -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
async def mirror(anyio_backend) -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
async def site_v6(anyio_backend) -> AsyncIterator[Site]:
    site = Site()
    try:
        await site.start("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    yield site
    await site.stop()


@pytest.fixture
def http() -> HttpSettings:
    return HttpSettings(connect_timeout=2.0, stall_timeout=2.0, deadline=20.0)


@pytest.fixture
def rules() -> TransferRules:
    return TransferRules(cool_down=0.002, slow_window=0.2, report_interval=0.0, spare=0)


@pytest.fixture
def noise() -> Callable[[int], bytes]:
    """Bytes in which every place is different."""
    return lambda size, seed=1: random.Random(seed).randbytes(size)


# --- sound ---

NOTES = [440, 660, 550, 880, 330, 770, 495, 990]
NOTE = 0.25  # seconds


def melody(seconds: float, rate: int, channels: int = 2):
    """PCM of a tune whose every quarter of a second can be told from its neighbours."""
    samples = array("h")
    for at in range(int(seconds * rate)):
        value = int(9000 * math.sin(2 * math.pi * NOTES[int(at / rate / NOTE) % len(NOTES)] * at / rate))
        samples.extend([value] + [-value // 2] * (channels - 1))
    return samples


def make_sound(
    file: io.BufferedIOBase,
    codec: str,
    muxer: str,
    *,
    seconds: float = 2.0,
    rate: int = 44100,
    channels: int = 2,
    bit_rate: int | None = None,
    fragmented: bool = False,
    picture: bool = False,
    sample_format: str | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write real sound, as FFmpeg encodes it."""
    import av

    options = (
        {"movflags": "frag_keyframe+delay_moov+default_base_moof", "frag_duration": "1000000"} if fragmented else {}
    )
    with av.open(file, "w", format=muxer, options=options) as output:
        output.metadata.update(metadata or {})
        video = None
        if picture:
            video = output.add_stream("mpeg4" if muxer == "mp4" else "flv1", rate=5)
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        stream = output.add_stream(codec, rate=rate)
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        stream.codec_context.layout = layout
        if sample_format:
            stream.codec_context.format = sample_format
        if bit_rate:
            stream.codec_context.bit_rate = bit_rate
        samples, step = melody(seconds, rate, channels), 1024
        if video:
            for number in range(int(seconds * 5)):
                frame = av.VideoFrame(64, 64, "yuv420p")
                for plane in frame.planes:
                    plane.update(bytes([number % 250]) * plane.buffer_size)
                frame.pts, frame.time_base = number, Fraction(1, 5)
                output.mux(video.encode(frame))
            output.mux(video.encode(None))
        for at in range(0, len(samples) // channels, step):
            part = samples[at * channels : (at + step) * channels].tobytes()
            frame = av.AudioFrame(format="s16", layout=layout, samples=len(part) // 2 // channels)
            frame.planes[0].update(part.ljust(frame.planes[0].buffer_size, b"\0"))
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


_KINDS = {
    "aac.m4s": {"codec": "aac", "muxer": "mp4", "fragmented": True, "bit_rate": 128_000},
    "flac.m4s": {"codec": "flac", "muxer": "mp4", "fragmented": True},
    "eac3.m4s": {"codec": "eac3", "muxer": "mp4", "fragmented": True, "rate": 48000},
    "video.mp4": {"codec": "aac", "muxer": "mp4", "picture": True},
    "video.flv": {"codec": "aac", "muxer": "flv", "picture": True},
    "song.mp3": {"codec": "libmp3lame", "muxer": "mp3", "bit_rate": 192_000},
    "song.flac": {"codec": "flac", "muxer": "flac"},
    "deep.flac": {"codec": "flac", "muxer": "flac", "rate": 96000, "sample_format": "s32"},
    "song.m4a": {"codec": "aac", "muxer": "ipod", "bit_rate": 128_000},
    "song.opus": {"codec": "libopus", "muxer": "opus", "rate": 48000, "bit_rate": 96_000},
    "song.wav": {"codec": "pcm_s16le", "muxer": "wav"},
    "mono.wav": {"codec": "pcm_s16le", "muxer": "wav", "channels": 1, "rate": 22050},
    "surround.flac": {"codec": "flac", "muxer": "flac", "channels": 6, "rate": 48000},
    "song.mka": {"codec": "eac3", "muxer": "matroska", "rate": 48000},
}


@pytest.fixture(scope="session")
def _made() -> dict[str, bytes]:
    return {}


@pytest.fixture
def sound(_made, tmp_path) -> Callable[..., Path]:
    """Write one of the known sound files into the test's folder, or anywhere, and return its path."""

    def write(kind: str, path: Path | None = None, **how) -> Path:
        key = f"{kind} {sorted(how.items())}"
        if key not in _made:
            made = io.BytesIO()
            make_sound(made, **(_KINDS[kind] | how))
            _made[key] = made.getvalue()
        path = path or tmp_path / kind
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_made[key])
        return path

    return write


def decoded(path: Path, rate: int | None = None) -> array:
    """Left channel of a file as 16-bit samples."""
    import av

    samples = array("h")
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16p", layout="stereo", rate=rate)
        for frame in container.decode(audio=0):
            frame.pts = None
            for part in resampler.resample(frame):
                samples.frombytes(bytes(part.planes[0])[: part.samples * 2])
        for part in resampler.resample(None):
            samples.frombytes(bytes(part.planes[0])[: part.samples * 2])
    return samples


@pytest.fixture
def pcm() -> Callable[..., array]:
    return decoded


@pytest.fixture
def tune() -> Callable[[Path], list[int]]:
    """Which note is heard in the middle of each quarter of a second."""

    def listen(path: Path) -> list[int]:
        samples = decoded(path, 22050)
        heard = []
        width = int(22050 * NOTE)
        for at in range(0, len(samples) - width + 1, width):
            middle = samples[at + width // 4 : at + 3 * width // 4]
            turns = sum(1 for one, two in pairwise(middle) if one < 0 <= two)
            pitch = turns / (len(middle) / 22050)
            heard.append(min(NOTES, key=lambda note: abs(note - pitch)))
        return heard

    return listen


@pytest.fixture
def notes() -> Callable[[float], list[int]]:
    return lambda seconds: [NOTES[number % len(NOTES)] for number in range(int(seconds / NOTE))]


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """A real picture of the wanted size."""

    def draw(width: int = 64, height: int = 48, codec: str = "mjpeg") -> bytes:
        import av

        pixels = {"mjpeg": "yuvj420p", "png": "rgb24", "libwebp": "yuv420p", "gif": "rgb8", "bmp": "bgr24"}[codec]
        frame = av.VideoFrame(width, height, "rgb24")
        frame.planes[0].update(random.Random(width).randbytes(frame.planes[0].buffer_size))
        frame = frame.reformat(format=pixels)
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, pixels, Fraction(1, 1)
        if codec == "gif":
            made = io.BytesIO()
            with av.open(made, "w", format="gif") as output:
                stream = output.add_stream("gif", rate=1)
                stream.width, stream.height, stream.pix_fmt = width, height, pixels
                output.mux(stream.encode(frame))
                output.mux(stream.encode(None))
            return made.getvalue()
        return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])

    return draw
