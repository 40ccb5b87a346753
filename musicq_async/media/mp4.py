"""The boxes of an MP4: putting the index in front of the sound, so that it plays before it is read whole."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

_BLOCK: Final = 1 << 22
_PARENTS: Final = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_LARGEST_OFFSET: Final = 0xFFFFFFFF
_LARGEST_INDEX: Final = 64 << 20


def boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and size of every top-level box; stops at the first that is broken."""
    end = file.seek(0, os.SEEK_END)
    start = 0
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        size, kind = struct.unpack_from(">I4s", header)
        if size == 1 and len(header) == 16:
            size = struct.unpack_from(">Q", header, 8)[0]
        elif size == 0:
            size = end - start
        if size < 8 or start + size > end:
            return
        yield kind, start, size
        start += size


def move_index_to_front(file: BinaryIO) -> bool:
    """Move a ``moov`` box that follows the sound to before it, in place; say whether that was done.

    Leaves alone what has its index in front, is fragmented, or would not keep 32-bit offsets.
    """
    found = list(boxes(file))
    kinds = [kind for kind, _, _ in found]
    if kinds.count(b"moov") != 1 or b"mdat" not in kinds or kinds[-1] != b"moov":
        return False
    first = next(start for kind, start, _ in found if kind not in (b"ftyp", b"styp"))
    _, start, size = found[-1]
    if size > _LARGEST_INDEX:
        return False
    file.seek(start)
    index = bytearray(file.read(size))
    if not _shift_offsets(index, 0, len(index), size):
        return False
    _shift_bytes(file, first, start, size)
    file.seek(first)
    file.write(index)
    return True


def _shift_offsets(index: bytearray, start: int, end: int, by: int) -> bool:
    """Add to every chunk offset below; False when one no longer fits."""
    at = start + 8
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", index, at)
        if size < 8 or at + size > end:
            return False
        if kind in _PARENTS and not _shift_offsets(index, at, at + size, by):
            return False
        if kind in (b"stco", b"co64") and not _shift_table(index, at, wide=kind == b"co64", by=by):
            return False
        at += size
    return True


def _shift_table(index: bytearray, at: int, *, wide: bool, by: int) -> bool:
    count = struct.unpack_from(">I", index, at + 12)[0]
    form = f">{count}{'Q' if wide else 'I'}"
    if at + 16 + struct.calcsize(form) > len(index):
        return False
    offsets = [offset + by for offset in struct.unpack_from(form, index, at + 16)]
    if not wide and offsets and max(offsets) > _LARGEST_OFFSET:
        return False
    struct.pack_into(form, index, at + 16, *offsets)
    return True


def _shift_bytes(file: BinaryIO, start: int, end: int, by: int) -> None:
    """Move a stretch of the file towards its end, last block first."""
    while end > start:
        block = max(start, end - _BLOCK)
        file.seek(block)
        data = file.read(end - block)
        file.seek(block + by)
        file.write(data)
        end = block
