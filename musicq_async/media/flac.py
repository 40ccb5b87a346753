"""The first block of a FLAC file: writing the totals that a copy from another container leaves out."""

from __future__ import annotations

from typing import BinaryIO, Final

STREAM_INFO_SIZE: Final = 34
_STREAM_INFO_AT: Final = 8  # after "fLaC" and the block's header
_MD5: Final = slice(18, 34)


class FrameCount:
    """Adds up the frames of a stream: samples in all, and the smallest and largest frame."""

    def __init__(self) -> None:
        self.samples = 0
        self.sizes: list[int] = []
        self.blocks: list[int] = []

    def add(self, frame: bytes) -> None:
        """Count one frame; raises ``ValueError`` for what is none."""
        block = block_size(frame)
        self.samples += block
        self.sizes.append(len(frame))
        self.blocks.append(block)


def block_size(frame: bytes) -> int:
    """Read the number of samples (a channel) that a frame holds from its header."""
    if len(frame) < 6 or frame[0] != 0xFF or frame[1] & 0xFC != 0xF8:
        raise ValueError("not a FLAC frame")
    code = frame[2] >> 4
    if code == 0:
        raise ValueError("a FLAC frame of reserved size")
    if code == 1:
        return 192
    if code <= 5:
        return 576 << (code - 2)
    if code >= 8:
        return 256 << (code - 8)
    after_number = 4 + _coded_number_length(frame[4])
    if code == 6:
        return frame[after_number] + 1
    return int.from_bytes(frame[after_number : after_number + 2], "big") + 1


def _coded_number_length(first: int) -> int:
    """Length in bytes of the frame's number, coded as UTF-8 codes characters."""
    ones = 0
    while ones < 8 and first & (0x80 >> ones):
        ones += 1
    return ones or 1


def write_totals(file: BinaryIO, count: FrameCount) -> None:
    """Put the counted totals into a FLAC file's first block.

    A checksum of the sound is kept if it was made for as many samples, and otherwise set to "not known".
    """
    file.seek(_STREAM_INFO_AT)
    info = bytearray(file.read(STREAM_INFO_SIZE))
    if len(info) < STREAM_INFO_SIZE or not count.samples:
        return
    usual = count.blocks[:-1] or count.blocks  # the last frame is short and does not count
    info[0:2] = max(min(usual), 16).to_bytes(2, "big")
    info[2:4] = max(usual).to_bytes(2, "big")
    info[4:7] = min(count.sizes).to_bytes(3, "big")
    info[7:10] = max(count.sizes).to_bytes(3, "big")
    packed = int.from_bytes(info[10:18], "big")
    if packed & 0xFFFFFFFFF != count.samples:
        info[_MD5] = bytes(16)
    info[10:18] = (packed >> 36 << 36 | count.samples & 0xFFFFFFFFF).to_bytes(8, "big")
    file.seek(_STREAM_INFO_AT)
    file.write(info)
