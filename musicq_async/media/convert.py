"""Converting files and folders of sound: tags and cover come along, and nothing half made is ever seen."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

from musicq_async.errors import ConvertFailed, InvalidParams
from musicq_async.media.conversions import Action, Conversion, Converted, NotConverted, Wish
from musicq_async.media.convert_file import FileConversion
from musicq_async.media.convert_folder import SOUND_FILES, FolderConversion
from musicq_async.media.drafts import Existing
from musicq_async.media.ffmpeg import ffmpeg_for
from musicq_async.media.files import SafeFolder
from musicq_async.media.recipes import FORMATS, PRESETS, Format, format_named, is_recipe, read_bitrate, recipe_named
from musicq_async.media.tag_values import Id3Version
from musicq_async.media.work import Progress, Stopped, Stopper, Teller, in_thread, need_av

__all__ = ["FORMATS", "PRESETS", "SOUND_FILES", "Action", "Conversion", "Converted", "NotConverted", "convert"]


async def convert(
    source: str | os.PathLike[str],
    *,
    to: str | None = None,
    output: str | os.PathLike[str] | None = None,
    bitrate: str | int | None = None,
    keep: bool = True,
    existing: Existing = "replace",
    within: SafeFolder | None = None,
    id3_version: Id3Version = 3,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Conversion:
    """Convert a file, or every sound file below a folder, and say what became of each.

    ``to`` is one of ``FORMATS`` or ``PRESETS``; without it the extension of ``output`` decides. ``output`` is a file,
    or a folder to put the files in; without it they lie beside their sources. ``bitrate`` is ``"320k"``, ``320`` or
    ``320000``; FLAC, ALAC, WAV and AIFF ignore it. A file that is in the format already keeps its bits. A single file
    replaces what has its name, unless ``existing`` gives it a number; in a folder, a song that was converted before is
    skipped and another song gets a number.
    A source whose own name would be taken is kept, and its new file numbered, unless ``output`` names the source.
    ``keep=False`` deletes each source once its file stands. ``within`` refuses every path outside that folder.
    Progress is told in milliseconds of sound for a file, in files for a folder.

    Raises `InvalidParams` naming ``input``, ``output``, ``output_format`` or ``bitrate``; `ConvertFailed`,
    `EncryptedStream`, `OutOfSpace`, `UnsafePath`; for a folder only when every file failed. Cancelled, or when
    ``cancel`` is set, it stops at the next packet and leaves nothing half made; an event raises `ConvertFailed`.
    """
    need_av()
    if to is None and isinstance(output, str) and is_recipe(output):
        to, output = output, None
    made, bits = recipe_named(to, bitrate) if to is not None else _recipe_of(output, bitrate)
    wish = Wish(made=made, bit_rate=bits, keep=keep, id3_version=id3_version, existing=existing)
    place = within.root if within is not None else Path()
    start = place / _path(source, "input")
    goal = None if output is None else place / _path(output, "output")
    goal_is_folder = str(output).endswith(("/", "\\"))
    stopper = Stopper(cancel)
    try:
        job = await in_thread(lambda: _plan(start, goal, wish, within, stopper, goal_is_folder=goal_is_folder))
        if isinstance(job, FolderConversion):
            return await job.convert(progress)
        return Conversion(files=(await in_thread(lambda: job.run(Teller(progress)), stopper=stopper),))
    except Stopped as error:
        raise ConvertFailed("the conversion was stopped") from error


def _plan(
    start: Path, goal: Path | None, wish: Wish, within: SafeFolder | None, stopper: Stopper, *, goal_is_folder: bool
) -> FileConversion | FolderConversion:
    """Look at what there is, and decide what the conversion works on; blocks."""
    wish = replace(wish, ffmpeg=ffmpeg_for(wish.made))
    if start.is_dir():
        return FolderConversion(start, goal, wish, within, stopper)
    if not start.exists():
        raise InvalidParams(f"input: there is no file or folder {start}")
    goal_is_folder = goal is not None and (goal_is_folder or goal.is_dir())
    target = _target(start, goal, wish.made, goal_is_folder=goal_is_folder)
    return FileConversion(start, target, wish, within, stopper, onto_itself=goal is not None and not goal_is_folder)


def _path(value: str | os.PathLike[str], field: str) -> Path:
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if not text or "\0" in text:
        raise InvalidParams(f"{field}: give the path of a file or folder")
    return Path(text)


def _recipe_of(output: str | os.PathLike[str] | None, bitrate: str | int | None) -> tuple[Format, int | None]:
    extension = Path(output).suffix if output is not None else ""
    if not extension:
        raise InvalidParams(f"output_format: say what to convert to; one of {', '.join(FORMATS)}")
    made = format_named(extension, field="output")
    return made, read_bitrate(bitrate, made)


def _target(source: Path, goal: Path | None, made: Format, *, goal_is_folder: bool) -> Path:
    name = f"{source.stem}.{made.extension}"
    if goal is None:
        return source.with_name(name)
    if goal_is_folder or not goal.suffix:
        return goal / name
    if goal.suffix.lower() != f".{made.extension}":
        raise InvalidParams(f"output: a {made.name} file ends in .{made.extension}, not in {goal.suffix}")
    return goal
