"""Commands about files in this process: convert, name."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicq_async.cli.download import told
from musicq_async.cli.interrupts import run_async
from musicq_async.cli.opening import json_option, quiet, read_settings
from musicq_async.cli.output import print_fields, print_json

if TYPE_CHECKING:
    from musicq_async.media.convert import Conversion
    from musicq_async.observe.progress import Display


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--to",
    "audio_format",
    required=True,
    metavar="FORMAT",
    help="mp3, flac, m4a, opus, wav, ...; or high, standard, small, apple, lossless.",
)
@click.option("--bitrate", metavar="B", help="320k; has no meaning for flac and wav.")
@click.option("--output", metavar="PATH", help="A folder, or for one file the new one; beside the old by default.")
@click.option("--replace", is_flag=True, help="Delete each old file once its new one stands.")
@json_option
def convert(files: tuple[str, ...], *, as_json: bool, output: str | None, **wish: Any) -> int:
    """Convert files, or every audio file below a folder, with tags and cover. The old ones stay."""
    settings = read_settings()
    wish = {"to": wish["audio_format"], "bitrate": wish["bitrate"], "keep": not wish["replace"]}
    if output is not None:
        folder = len(files) > 1 or output.endswith(("/", os.sep))
        wish["output"] = f"{Path(output).absolute()}{os.sep if folder else ''}"

    async def body() -> int:
        from musicq_async.observe.log import configure_logging
        from musicq_async.observe.progress import display

        with configure_logging(quiet(settings.log)), display(sys.stderr, unit="percent") as shown:
            names: set[str] = set()
            items = []
            for file in files:
                name = Path(file).stem.casefold()
                wish["existing"] = "number" if output is not None and name in names else "replace"
                names.add(name)
                items += await _converted(file, wish, shown)
        return told(items, as_json=as_json)

    return run_async(body)


async def _converted(file: str, wish: dict[str, Any], shown: Display) -> list[dict[str, Any]]:
    """Convert one argument; errors about it become an item, errors about the options are raised."""
    import anyio

    from musicq_async.errors import ConvertFailed, MediaError, SourceError
    from musicq_async.media.convert import convert as convert_file
    from musicq_async.model.event import Completed, Failed, Progressed

    task = {"task_id": file, "task_type": "convert_format"}
    began = time.monotonic()

    def progressed(done: int, total: int | None) -> None:
        shown(Progressed(**task, done=done, total=total, message=file))

    try:
        if not await anyio.Path(file).exists():
            raise ConvertFailed("there is no such file")
        made = await convert_file(await anyio.Path(file).absolute(), **wish, progress=progressed)
    except (MediaError, SourceError) as error:
        shown(Failed(**task, error=f"{type(error).__name__}: {error}", attempt=1))
        return [_failed(file, error)]
    shown(Completed(**task, seconds=time.monotonic() - began))
    for each in made.failed:
        task["task_id"] = str(each.source)
        shown(Failed(**task, error=f"{type(each.error).__name__}: {each.error}", attempt=1))
    return _items(made)


def _items(made: Conversion) -> list[dict[str, Any]]:
    done = [
        {
            "source": str(each.source),
            "status": "skipped" if each.action in {"skipped", "unchanged"} else "ok",
            "path": str(each.path),
            "format": each.format,
            "error": None,
            "message": None,
        }
        for each in made.files
    ]
    return done + [_failed(str(each.source), each.error) for each in made.failed]


def _failed(source: str, error: Exception) -> dict[str, Any]:
    kind = type(error).__name__
    return {"source": source, "status": "failed", "path": None, "format": None, "error": kind, "message": str(error)}


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--video", is_flag=True, help="The texts are titles of videos, not file names.")
@json_option
def name(texts: tuple[str, ...], *, video: bool, as_json: bool) -> int:
    """Show how a song's file name is understood, or with --video a video's title."""
    understood = [_understood_title(text) if video else _understood_name(text) for text in texts]
    if as_json:
        print_json(understood)
        return 0
    for place, each in enumerate(understood):
        if place:
            click.echo()
        print_fields(_name_fields(each))
    return 0


def _understood_name(text: str) -> dict[str, Any]:
    from musicq_async.media.names import format_name, parse_name

    song = parse_name(text)
    return {
        "raw": text,
        "title": song.title,
        "artists": list(song.artists),
        "tags": [asdict(tag) for tag in song.tags],
        "lossy": song.lossy,
        "file_name": format_name(song),
    }


def _understood_title(text: str) -> dict[str, Any]:
    from musicq_async.media.names import parse_video_title

    song = parse_video_title(text)
    return {
        "raw": text,
        "title": song.title,
        "artists": list(song.artists),
        "original_artists": list(song.original_artists),
        "tags": [asdict(tag) for tag in song.tags],
        "confidence": song.confidence,
    }


def _name_fields(understood: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": understood["title"],
        "artists": " / ".join(understood["artists"]),
        "originally by": " / ".join(understood.get("original_artists", ())),
        "tags": ", ".join(f"{tag['text']} ({tag['kind']})" for tag in understood["tags"]),
        "confidence": understood.get("confidence"),
        "guessed": understood.get("lossy") or None,
        "file name": understood.get("file_name"),
    }
