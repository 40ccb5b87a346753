"""The task types that every application has, as handlers over a `Library`."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from musicq_async.engine.context import TaskContext
from musicq_async.engine.registry import Handlers
from musicq_async.errors import InvalidParams
from musicq_async.handlers.bilibili import register_bilibili
from musicq_async.handlers.library import Library
from musicq_async.handlers.params import ConvertFormat, DownloadAudio, TestTask, read
from musicq_async.handlers.sync import register_sync
from musicq_async.media.names import safe_name


def builtin_handlers(library: Library) -> Handlers:
    """Return the built-in task types, bound to a library."""
    handlers = Handlers()

    @handlers.register("test_task")
    async def test_task(params: dict[str, Any]) -> Any:
        return read(TestTask, params).message

    @handlers.register("download_audio")
    async def download_audio(params: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        return await _download(library, read(DownloadAudio, params), context)

    @handlers.register("convert_format")
    async def convert_format(params: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        return await _convert(library, read(ConvertFormat, params), context)

    register_bilibili(handlers, library)
    register_sync(handlers, library)
    return handlers


async def _download(library: Library, wish: DownloadAudio, context: TaskContext) -> dict[str, Any]:
    from musicq_async.media.sources import Source  # noqa: PLC0415 - httpx, on first use
    from musicq_async.media.transfer import download  # noqa: PLC0415

    target = library.folder(wish.save_path)
    if wish.save_path is None or wish.save_path.endswith(("/", os.sep)) or target.is_dir():
        target /= _name_in(wish.url)

    async def progress(done: int, total: int | None) -> None:
        await context.progress(done, total, "downloading")

    source = Source(url=wish.url)
    done = await download(
        [source], target, http=library.settings.http, web=await library.web(), if_range=True, progress=progress,
        within=library.within(wish.save_path),
    )  # fmt: skip
    return {"path": str(done.path), "size": done.size}


def _name_in(url: str) -> str:
    """Return the file name that an address ends in, made safe."""
    last = PurePosixPath(unquote(urlsplit(url).path)).name
    stem, dot, ending = last.rpartition(".")
    if dot and re.fullmatch(r"[0-9A-Za-z]{1,5}", ending):
        return f"{safe_name(stem, style='plain')}.{ending}"
    return safe_name(last, style="plain") if last else "download"


async def _convert(library: Library, wish: ConvertFormat, context: TaskContext) -> dict[str, Any]:
    from musicq_async.media.convert import convert  # noqa: PLC0415 - PyAV, on first use

    given = [text for text in (wish.input_file, wish.input) if text]
    if len(given) != 1:
        raise InvalidParams("input_file or input: give exactly one of them")
    if not wish.output_format and not wish.output:
        raise InvalidParams("output_format or output: say which format to convert to")

    async def progress(done: int, total: int | None) -> None:
        await context.progress(done, total, "converting")

    done = await convert(
        library.folder(given[0]), to=wish.output_format, output=_output(library, wish.output), bitrate=wish.bitrate,
        keep=wish.keep, within=library.within(given[0], _path_in(wish.output)), progress=progress,
    )  # fmt: skip
    return {"files": [str(each.path) for each in done.files], "failed": len(done.failed)}


def _output(library: Library, output: str | None) -> str | None:
    """Return an output path below the music folder; a bare format stays as it is."""
    path = _path_in(output)
    return output if path is None else str(library.folder(path)) + ("/" if path.endswith(("/", os.sep)) else "")


def _path_in(output: str | None) -> str | None:
    """Return an output that is a path, and ``None`` for a bare format."""
    from musicq_async.media.recipes import is_recipe  # noqa: PLC0415

    return None if output is None or is_recipe(output) or re.fullmatch(r"[0-9A-Za-z]{2,5}", output) else output
