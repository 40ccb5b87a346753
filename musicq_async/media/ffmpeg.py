"""Encoding by the ``ffmpeg`` program where there is one: several times faster at MP3 than the encoder in PyAV."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Final

from musicq_async.media.audio import CONTAINERS, Sound
from musicq_async.media.recipes import Format, sample_rate_for
from musicq_async.media.work import Stop, Teller

_STEP: Final = 0.02  # seconds between two looks at the program
_DONE_AT: Final = re.compile(rb"out_time_us=(\d{1,15})\s")


def ffmpeg_for(made: Format) -> str | None:
    """Path of the program where it is installed and this format is one it encodes as well; PyAV does the rest.

    Lossless formats are PyAV's, which keeps the depth of each sample as it is.
    """
    return None if made.lossless else shutil.which("ffmpeg")


def encode_by_ffmpeg(
    program: str,
    source: Path,
    target: Path,
    made: Format,
    sound: Sound,
    *,
    bit_rate: int,
    stop: Stop,
    teller: Teller,
) -> bool:
    """Encode a file into an existing empty one; blocks. Says whether it worked: it may lack the encoder.

    The program gets no terminal and may open these two files alone. It is killed when ``stop`` ends the work.
    """
    command = [
        program, "-nostdin", "-hide_banner", "-loglevel", "error", "-y",
        "-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS,
        "-i", f"file:{source.absolute()}", "-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1",
        "-c:a", made.encoder, "-b:a", str(bit_rate), "-ar", str(sample_rate_for(made, sound.sample_rate)),
        "-ac", str(min(sound.channels, made.channels)),
        "-progress", "pipe:1", "-f", made.muxer, f"file:{target.absolute()}",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell; both paths are behind "file:"
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL
            )
        except OSError:
            return False
        try:
            while True:
                try:
                    return process.wait(_STEP) == 0 and target.stat().st_size > 0
                except subprocess.TimeoutExpired:
                    stop.check()
                    _tell(said, sound, teller)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _tell(said: IO[bytes], sound: Sound, teller: Teller) -> None:
    if not hasattr(os, "pread"):  # the program shares the position in the file, which must not move
        return
    end = os.fstat(said.fileno()).st_size
    found = _DONE_AT.findall(os.pread(said.fileno(), 1024, max(0, end - 1024)))
    if found:
        teller.tell(int(found[-1]) // 1000, None if sound.duration is None else int(sound.duration * 1000))
