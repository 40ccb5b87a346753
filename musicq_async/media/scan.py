"""Looking through a folder for songs: what each file says of itself. Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from musicq_async.errors import MediaError, SourceError
from musicq_async.media.audio import opened, probe_file
from musicq_async.media.convert_folder import SOUND_FILES
from musicq_async.media.tags import Tags, read_tags_from
from musicq_async.media.work import Stopper, in_thread

_AT_ONCE: Final = 16
"""Files that are read in one turn of a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSong:
    """One sound file."""

    path: Path
    """Absolute, links resolved."""
    size: int = 0
    codec: str | None = None
    tags: Tags = field(default_factory=Tags)
    error: MediaError | SourceError | None = None
    """Why it could not be read; then the rest is empty."""


async def found_songs(place: Path) -> AsyncIterator[FoundSong]:
    """Yield every sound file below a folder (or the one file), in order; hidden ones and links are passed over.

    Files are read in a thread. One that cannot be read is yielded with its error.
    """
    stopper = Stopper()
    files = iter(await in_thread(lambda: sorted(_sound_files(place, stopper)), stopper=stopper))
    while some := list(islice(files, _AT_ONCE)):

        def work(some: list[Path] = some) -> list[FoundSong]:
            return [song for path in some if (song := _looked_at(path, stopper))]

        for song in await in_thread(work, stopper=stopper):
            yield song


def _sound_files(place: Path, stopper: Stopper) -> Iterator[Path]:
    place = place.resolve()
    if place.is_file():
        yield place
    for folder, inner, names in os.walk(place):
        stopper.check()
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if name[0] != "." and path.suffix[1:].lower() in SOUND_FILES and not path.is_symlink():
                yield path


def _looked_at(path: Path, stopper: Stopper) -> FoundSong | None:
    stopper.check()
    try:
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            return FoundSong(path=path, size=size, codec=probe_file(file).codec, tags=read_tags_from(file).tags)
    except (MediaError, SourceError) as error:
        return FoundSong(path=path, error=error)
    except OSError as error:
        return FoundSong(path=path, error=MediaError(f"{path} cannot be read: {error.strerror}"))
