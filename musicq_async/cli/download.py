"""``download``: links in, songs out, in this process and with progress bars."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from musicq_async.cli.interrupts import run_async
from musicq_async.cli.opening import json_option, quiet, read_settings
from musicq_async.cli.output import print_json

QUALITIES: Final = ("best", "hires", "dolby", "320k", "192k", "128k", "64k")
PARTLY_FAILED: Final = 4


@click.command()
@click.argument("links", nargs=-1, required=True, metavar="LINK...")
@click.option("--quality", type=click.Choice(QUALITIES), help="The best that there is up to this; best by default.")
@click.option("--to", "folder", type=click.Path(file_okay=False), metavar="DIR", help="The music folder by default.")
@click.option("--format", "audio_format", metavar="F", help="Convert on arrival: mp3, flac, m4a, opus, wav.")
@json_option
def download(
    links: tuple[str, ...], *, quality: str | None, folder: str | None, audio_format: str | None, as_json: bool
) -> int:
    """Download songs from Bilibili, by any link or id: videos, parts, favourites, collections, uploaders, audio.

    Prints the path of each file. Goes on past what cannot be had; exit code 4 if some failed, 1 if all did.
    """
    settings = read_settings(music_dir=None if folder is None else Path(folder).expanduser().absolute())
    if audio_format is not None:
        _check_format(audio_format)

    async def body() -> int:
        from musicq_async.handlers.library import fetch
        from musicq_async.observe.log import configure_logging
        from musicq_async.observe.progress import display

        with configure_logging(quiet(settings.log)), display(sys.stderr) as shown:
            items = await fetch(links, settings=settings, quality=quality, audio_format=audio_format, listen=shown)
        return told(items, as_json=as_json)

    return run_async(body)


def _check_format(name: str) -> None:
    from musicq_async.media.recipes import recipe_named

    recipe_named(name, field="--format")


def told(items: list[dict[str, Any]], *, as_json: bool) -> int:
    """Print the paths on stdout, and on stderr how many there are; failures were told as they happened.

    Return the exit code.
    """
    from musicq_async.observe.secrets import printable

    if as_json:
        print_json({"items": items})
    for item in items:
        if not as_json and item["path"]:
            click.echo(printable(item["path"]))
    counts = {status: sum(item["status"] == status for item in items) for status in ("ok", "skipped", "failed")}
    click.echo(", ".join(f"{count} {status}" for status, count in counts.items() if count) or "nothing found", err=True)
    if not counts["failed"]:
        return 0
    return 1 if counts["failed"] == len(items) else PARTLY_FAILED
