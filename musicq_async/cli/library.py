"""Commands about the music folder and the archive of what is in it: library scan, review, set, split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicq_async.cli.opening import address_options, json_option, with_app
from musicq_async.cli.output import print_json, print_table
from musicq_async.cli.values import JsonObject, clock_time

if TYPE_CHECKING:
    from musicq_async.app import MusicQ
    from musicq_async.handlers.scan import Scanned
    from musicq_async.media.chapters import Chapter


@click.group(no_args_is_help=False)
def library() -> None:
    """Know what songs there are, so that none is fetched twice."""


@library.command()
@click.argument("folder", required=False, type=click.Path(exists=True), metavar="[DIR]")
@click.option("--ask", is_flag=True, help="Ask the site which part of a video each song is: one call a video.")
@json_option
@address_options
def scan(folder: str | None, *, ask: bool, as_json: bool, **addresses: str | None) -> int:
    """Read a folder of songs into the archive, the music folder by default. No file is changed.

    A song is known by the link in its tags, or by the BV id in its name. Every other is understood by its name and
    kept as a guess: 'library review' lists those. Exit code 4 if some files could not be read, 1 if none could.
    """

    async def body(app: MusicQ) -> int:
        from musicq_async.handlers.scan import Scan

        place = Path(folder) if folder else app.library.folder(None)
        client = await app.library.client() if ask else None
        work = Scan(app.library.archive, ask=None if client is None else client.video)
        songs = await work.run(place, told=_ignore if as_json else _tell)
        return _told(songs, as_json=as_json)

    return with_app(body, addresses)


@library.command()
@json_option
@address_options
def review(*, as_json: bool, **addresses: str | None) -> int:
    """List the songs that are known by a guess, with what was understood; 'library set' settles one."""

    async def body(app: MusicQ) -> None:
        from musicq_async.handlers.scan import guesses, understood
        from musicq_async.media.scan import found_songs

        rows: list[dict[str, Any]] = []
        for record in await guesses(app.library.archive):
            async for song in found_songs(Path(record.path)):
                name = understood(song)
                rows.append({"path": record.path, "title": name.full, "artists": list(name.artists), "key": record.key})
        if as_json:
            print_json(rows)
        else:
            print_table(("TITLE", "ARTISTS", "PATH"), [_row(row) for row in rows])

    return with_app(body, addresses)


@library.command("set")
@click.argument("path", type=click.Path(exists=True, dir_okay=False))
@click.argument("link")
@address_options
def settle(path: str, link: str, **addresses: str | None) -> int:
    """Say which video or song a file is, by its LINK."""

    async def body(app: MusicQ) -> None:
        from musicq_async.errors import InvalidParams
        from musicq_async.handlers import scan

        items = [item async for item in app.library.items(link)]
        if len(items) != 1:
            raise InvalidParams(f"the link stands for {len(items)} songs; name one, with ?p= for a part")
        record = await scan.settle(app.library.archive, Path(path), items[0])
        click.echo(f"{record.path} is {record.url}")

    return with_app(body, addresses)


@library.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False))
@click.option("--chapters", "marks", type=JsonObject(), metavar="JSON", help='{"0:00": "title", "3:41": ...}; @FILE.')
@json_option
@address_options
def split(path: str, marks: dict[str, Any] | None, *, as_json: bool, **addresses: str | None) -> int:
    """Split a long recording into tracks at its chapters: those that its page has, or the given ones.

    The tracks go into a folder beside the recording, which stays. No bit of the sound is lost.
    """

    async def body(app: MusicQ) -> None:
        from musicq_async.media.chapters import Chapter, split
        from musicq_async.media.files import SafeFolder

        song = Path(path)
        if marks is None:
            chapters = await _chapters_of(app, song)
        else:
            chapters = [Chapter(title=str(title), start=clock_time(moment)) for moment, title in marks.items()]
        measure = app.settings.loudness == "measured"
        tracks = await split(song, chapters, SafeFolder(song.parent), style=app.settings.name_style, measure=measure)
        rows: list[dict[str, Any]] = [
            {"number": each.number, "title": each.song.full, "artists": list(each.song.artists),
             "path": str(each.finished.path)}
            for each in tracks
        ]  # fmt: skip
        if as_json:
            print_json({"items": rows})
        else:
            for row in rows:
                click.echo(printable(row["path"]))

    from musicq_async.observe.secrets import printable

    return with_app(body, addresses)


async def _chapters_of(app: MusicQ, path: Path) -> list[Chapter]:
    """Ask the site for the chapters of the video that a file says it comes from."""
    from musicq_async.errors import InvalidParams
    from musicq_async.handlers.scan import source_of
    from musicq_async.media.chapters import Chapter
    from musicq_async.media.scan import found_songs

    found = [source_of(song) async for song in found_songs(path)]
    link = found[0].link if found and found[0] is not None else None
    if link is None:
        raise InvalidParams("the file does not say which video it comes from; give --chapters")
    client = await app.library.client()
    items = [item async for item in app.library.items(link)]
    if len(items) != 1:
        raise InvalidParams(f"{link} has {len(items)} parts and the file does not say which it is; give --chapters")
    player = await client.player(items[0])
    return [Chapter(title=each.title, start=each.start, end=each.end) for each in player.chapters]


def _row(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["title"], " / ".join(row["artists"]), row["path"]


def _ignore(song: Scanned) -> None:
    """Say nothing now: a document follows."""
    del song


def _tell(song: Scanned) -> None:
    from musicq_async.observe.secrets import printable

    what = song.message or song.link or " - ".join(filter(None, (song.title, " / ".join(song.artists))))
    click.echo(printable(f"{song.status}\t{song.path}\t{what}"), err=song.status == "failed")


def _told(songs: list[Scanned], *, as_json: bool) -> int:
    """Print how many there are of each kind; return the exit code."""
    from musicq_async.cli.download import PARTLY_FAILED

    if as_json:
        print_json({"items": [song.row() for song in songs]})
    counts = {kind: sum(song.status == kind for song in songs) for kind in ("added", "known", "guessed", "failed")}
    click.echo(", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no songs found", err=True)
    if not counts["failed"]:
        return 0
    return 1 if counts["failed"] == len(songs) else PARTLY_FAILED
