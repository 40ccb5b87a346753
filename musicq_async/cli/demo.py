"""``demo``: the whole path on this machine, with no network."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from musicq_async.cli.interrupts import run_async
from musicq_async.cli.opening import open_quietly, read_settings
from musicq_async.cli.output import print_table, styled

if TYPE_CHECKING:
    from musicq_async.app import MusicQ
    from musicq_async.model.event import Event
    from musicq_async.settings import Settings
    from musicq_async.testing import StandInBilibili

PATIENCE: Final = 60.0
"""Seconds after which a demo that does not end is given up."""


@click.command()
@click.option(
    "--to", "folder", type=click.Path(file_okay=False), metavar="DIR", help="A new temporary folder by default."
)
def demo(folder: str | None) -> int:
    """See all of it work, offline: a schedule fires, its tasks are queued, workers download, songs lie in a folder.

    Nothing outside the folder is touched, and no address outside this machine is asked.
    """
    if folder is None:
        return run_async(_in_a_new_folder)
    path = Path(folder).expanduser().absolute()
    path.mkdir(parents=True, exist_ok=True)
    return run_async(lambda: _shown(path))


async def _in_a_new_folder() -> int:
    """Show it in a temporary folder, which goes again if the demo is interrupted."""
    import shutil
    import tempfile

    import anyio

    place = Path(tempfile.mkdtemp(prefix="musicq-demo-"))
    try:
        return await _shown(place)
    except anyio.get_cancelled_exc_class():
        shutil.rmtree(place, ignore_errors=True)
        raise


async def _shown(place: Path) -> int:
    from musicq_async.errors import MusicqError
    from musicq_async.testing import StandInBilibili

    began = time.monotonic()
    async with StandInBilibili() as site:
        _say("site", f"a stand-in for Bilibili answers on {site.site.addresses['api']}")
        async with _opened(site, place) as app:
            _say("open", f"the application, on {place / 'musicq.db'}")
            async with _told(app):
                tasks = await _finished(app, site)
    songs = [song for task in tasks for song in _songs(task)]
    failed = [task for task in tasks if task["status"] != "completed"]
    _summary(songs, failed, place, seconds=time.monotonic() - began)
    if not songs:
        raise MusicqError("the demo brought no song; run 'musicq doctor'")
    return 1 if failed else 0


@asynccontextmanager
async def _opened(site: StandInBilibili, place: Path) -> AsyncIterator[MusicQ]:
    """Open the application on a SQLite file of its own; settings from outside do not reach it where it matters."""
    database = f"sqlite+aiosqlite:///{(place / 'musicq.db').as_posix()}"
    settings: Settings = read_settings(
        database_url=database,
        queue_url=database,
        music_dir=place / "music",
        concurrency=4,
        scheduler=True,
        **site.settings(cookie=site.cookie()),
    )
    async with open_quietly(settings) as app:
        yield app


def _schedule(site: StandInBilibili) -> dict[str, Any]:
    """Describe a schedule for the favourites folder that the stand-in shows."""
    folder = next(iter(site.catalogue.folders.values()))
    link = f"https://space.bilibili.com/{folder.owner.mid}/favlist?fid={folder.media_id}"
    return {
        "name": "demo: new favourites",
        "task_type": "download_bilibili_audio",
        "schedule_type": "once",
        "execute_at": int(time.time()),
        "params": {"url": link},
    }


@asynccontextmanager
async def _told(app: MusicQ) -> AsyncIterator[None]:
    """Say what happens while it happens."""
    leave = app.events.subscribe(_say_event)
    try:
        yield
    finally:
        leave()


def _say_event(event: Event) -> None:
    from musicq_async.model.event import Completed, Failed, Fired, Retried
    from musicq_async.observe.wording import duration

    match event:
        case Fired():
            _say("fire", f"{event.name!r} pushed {event.task_type} ({event.task_id})")
        case Completed() if isinstance(event.result, dict) and event.result.get("title"):
            artists = " / ".join(event.result["artists"] or ())
            _say("song", f"{event.result['title']} - {artists} in {duration(event.seconds)}")
        case Completed():
            _say("list", f"looked through in {duration(event.seconds)}")
        case Retried() | Failed():
            _say("fail", event.error)
        case _:
            pass


async def _finished(app: MusicQ, site: StandInBilibili) -> list[dict[str, Any]]:
    """Add the schedule, wait for its task and for all that it pushed; return the tasks."""
    import anyio

    from musicq_async.errors import TaskTimedOut
    from musicq_async.model.event import Fired

    with anyio.move_on_after(PATIENCE):
        async with app.events.stream(Fired) as fired:
            schedule = await app.scheduler.add_scheduler_task(**_schedule(site))
            _say("add", f"a schedule that fires once, now ({schedule})")
            await anext(fired)
        await app.run_until_idle()
        return await app.list_tasks(limit=1000)
    raise TaskTimedOut(f"the demo did not end within {PATIENCE:.0f} s")


def _songs(task: dict[str, Any]) -> list[dict[str, Any]]:
    result = task["result"] if isinstance(task["result"], dict) else {}
    return [result] if result.get("path") else []


def _summary(songs: list[dict[str, Any]], failed: list[dict[str, Any]], place: Path, *, seconds: float) -> None:
    click.echo()
    rows = [(*_measured(song), song["title"], " / ".join(song["artists"] or ())) for song in reversed(songs)]
    print_table(("CODEC", "SIZE", "LENGTH", "TITLE", "ARTIST"), rows)
    for task in failed:
        _say(task["status"], f"{task['params']}: {task['error_message']}")
    click.echo()
    click.echo(f"{len(songs)} songs in {seconds:.1f} s, in {styled(str(place / 'music'), bold=True)}")
    click.echo(
        f"Look at the tasks: MUSICQ_DATABASE_URL=sqlite+aiosqlite:///{place / 'musicq.db'} python -m musicq_async tasks"
    )


def _measured(song: dict[str, Any]) -> tuple[str, str, str]:
    """Codec, size and length of the file as it lies there."""
    path = Path(song["path"])
    return song["codec"] or path.suffix.lstrip("."), f"{path.stat().st_size / 1024:.0f} KiB", _length(path)


def _length(path: Path) -> str:
    try:
        import mutagen

        return f"{mutagen.File(path).info.length:.1f} s"
    except Exception:  # noqa: BLE001 - the summary is a courtesy
        return "-"


def _say(what: str, text: str) -> None:
    from musicq_async.observe.secrets import printable

    click.echo(f"{styled(f'{what:<5}', fg='cyan')} {printable(text)}")
