"""Converting every sound file below a folder, several at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import anyio

from musicq_async.errors import ConvertFailed, InvalidParams, SourceError, TagsRejected
from musicq_async.media.conversions import Conversion, Converted, NotConverted, Wish
from musicq_async.media.convert_file import FileConversion
from musicq_async.media.files import SafeFolder
from musicq_async.media.recipes import Format
from musicq_async.media.work import Progress, Stopper, Teller, first_error, in_thread, tell

_EXTENSIONS: Final = """
    aac ac3 aif aiff amr ape caf dsf eac3 flac flv m4a m4b mka mp2 mp3 mp4 oga ogg opus tak tta wav wave webm wma wv
"""
SOUND_FILES: Final = frozenset(_EXTENSIONS.split())
"""Extensions that count as sound when a folder is converted."""


class FolderConversion:
    """Every sound file below a folder."""

    def __init__(self, root: Path, goal: Path | None, wish: Wish, within: SafeFolder | None, stopper: Stopper) -> None:
        if goal is not None and goal.suffix and not goal.is_dir() and goal.suffix[1:].lower() in SOUND_FILES:
            raise InvalidParams("output: a folder is converted into a folder, not into one file")
        self._root = root
        self._goal = goal
        self._wish = wish
        self._within = within
        self._stopper = stopper
        self._converted: dict[Path, Converted] = {}
        self._failed: dict[Path, NotConverted] = {}

    async def convert(self, progress: Progress | None) -> Conversion:
        """Convert all, as many at once as there are processors; one that fails does not stop the others."""
        files = await in_thread(lambda: sorted(self._files()), stopper=self._stopper)
        await tell(progress, 0, len(files))
        waiting = iter(_groups(files, self._wish.made))

        async def work() -> None:
            for group in waiting:
                for source in group:
                    await self._one(source)
                    await tell(progress, len(self._converted) + len(self._failed), len(files))

        try:
            async with anyio.create_task_group() as workers:
                for _ in range(min(len(files), os.cpu_count() or 1)):
                    workers.start_soon(work)
        except ExceptionGroup as group:
            raise first_error(group) from group
        if self._failed and not self._converted:
            first = next(iter(self._failed.values()))
            raise ConvertFailed(
                f"none of the {len(files)} files could be converted; {first.source.name}: {first.error}"
            ) from first.error
        return Conversion(
            files=tuple(self._converted[path] for path in files if path in self._converted),
            failed=tuple(self._failed[path] for path in files if path in self._failed),
        )

    def _files(self) -> Iterator[Path]:
        """Find sound files; links are not followed, and hidden files and the goal itself not looked at."""
        if self._within is not None and self._root != self._within.root:
            self._within.open_folder(*self._within.parts(self._root), create=False).close()
        for folder, inner, names in os.walk(self._root):
            self._stopper.check()
            inner[:] = [name for name in inner if not name.startswith(".") and Path(folder, name) != self._goal]
            for name in names:
                path = Path(folder, name)
                if name[0] != "." and path.suffix[1:].lower() in SOUND_FILES and not path.is_symlink():
                    yield path

    async def _one(self, source: Path) -> None:
        target = source.with_name(f"{source.stem}.{self._wish.made.extension}")
        if self._goal is not None:
            target = self._goal / target.relative_to(self._root)
        job = FileConversion(source, target, self._wish, self._within, self._stopper)
        try:
            done = await in_thread(lambda: job.run(Teller(None), in_folder=True), stopper=self._stopper)
        except (ConvertFailed, TagsRejected, SourceError) as error:
            self._failed[source] = NotConverted(source=source, error=error)
        else:
            self._converted[source] = done


def _groups(files: Sequence[Path], made: Format) -> list[list[Path]]:
    """Put files that want the same name together, to be converted one after the other."""
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(str(path.with_suffix(f".{made.extension}")).casefold(), []).append(path)
    return list(groups.values())
