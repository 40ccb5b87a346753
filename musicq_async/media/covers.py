"""Pictures for the front of a song: known by their first bytes, not by what a server calls them, and kept small."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from musicq_async.errors import TagsRejected
from musicq_async.media.work import in_thread, need_av

LARGEST_SIDE: Final = 1200
"""Pixels of the longer side over which a picture is scaled down."""
LARGEST_KEPT: Final = 1 << 20
"""Bytes over which a picture is encoded again."""
LARGEST_TAKEN: Final = 32 << 20
_LARGEST_PIXELS: Final = 64_000_000  # more is an attack, not a cover
_QUICK: Final = 1 << 16  # bytes that may be looked at without a thread
_DECODED: Final = "jpeg_pipe,png_pipe,webp_pipe,gif,bmp_pipe"


Measured = tuple[str, int, int]
"""Media type, width and height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """A JPEG or PNG picture."""

    content: bytes = field(repr=False)
    media_type: str
    width: int
    height: int


async def cover_from(content: bytes) -> Cover:
    """Check a picture and, when it is large or no JPEG or PNG, make a JPEG of it in a thread.

    Raises `TagsRejected` for what is no picture, or too large to be one.
    """
    found = measure(content[:_QUICK])
    if found is not None and _is_small(found, content):
        return _as_it_is(found, content)
    return await in_thread(lambda: make_cover(content))


def make_cover(content: bytes) -> Cover:
    """Check a picture as `cover_from` does; blocks."""
    if len(content) > LARGEST_TAKEN:
        raise TagsRejected(f"the cover is {len(content)} bytes long; the limit is {LARGEST_TAKEN}")
    found = measure(content)
    if found is None:
        raise TagsRejected("the cover is not a JPEG, PNG, WebP, GIF or BMP picture")
    _, width, height = found
    if not 0 < width * height <= _LARGEST_PIXELS:
        raise TagsRejected(f"the cover has {width} x {height} pixels")
    return _as_it_is(found, content) if _is_small(found, content) else _encoded(content, width, height)


def _is_small(found: Measured, content: bytes) -> bool:
    """Whether a picture may stay as it is."""
    media_type, width, height = found
    small = 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE and len(content) <= LARGEST_KEPT
    return small and media_type in ("image/jpeg", "image/png")


def _as_it_is(found: Measured, content: bytes) -> Cover:
    media_type, width, height = found
    return Cover(content=content, media_type=media_type, width=width, height=height)


def measure(content: bytes) -> Measured | None:
    """Media type, width and height of a picture by its own first bytes; ``None`` for anything else."""
    if content[:3] == b"\xff\xd8\xff":
        size = _jpeg_size(content)
        return ("image/jpeg", *size) if size else None
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        return ("image/png", *struct.unpack_from(">II", content, 16))
    if content[:6] in (b"GIF87a", b"GIF89a") and len(content) >= 10:
        return ("image/gif", *struct.unpack_from("<HH", content, 6))
    if content[:2] == b"BM" and len(content) >= 26:
        width, height = struct.unpack_from("<ii", content, 18)
        return ("image/bmp", abs(width), abs(height))
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP" and len(content) >= 30:
        return ("image/webp", *_webp_size(content))
    return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Walk the segments to the one that starts a frame."""
    at = 2
    while at + 9 <= len(content):
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        at += 2 if alone else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _webp_size(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(content[24:27], "little") + 1
        return width, int.from_bytes(content[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


def _encoded(content: bytes, width: int, height: int) -> Cover:
    """Decode, scale to fit, and encode as JPEG."""
    need_av()
    import av  # noqa: PLC0415 - an extra

    scale = min(1.0, LARGEST_SIDE / max(width, height))
    width, height = max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)
    try:
        options = {"format_whitelist": _DECODED, "protocol_whitelist": "file"}
        with av.open(io.BytesIO(content), "r", container_options=options) as container:
            picture: Any = next(container.decode(video=0)).reformat(width, height, "yuvj420p")
        picture.pts, picture.time_base = 0, Fraction(1, 1)
        encoder: Any = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
        encoder.time_base = Fraction(1, 1)
        encoder.options = {"qmin": "3", "qmax": "3"}
        packets = [*encoder.encode(picture), *encoder.encode(None)]
    except (av.error.FFmpegError, StopIteration, ValueError, OSError) as error:
        raise TagsRejected("the cover cannot be decoded") from error
    return Cover(content=b"".join(map(bytes, packets)), media_type="image/jpeg", width=width, height=height)
