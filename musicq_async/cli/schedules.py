"""Commands about schedules."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from musicq_async.cli.opening import address_options, json_option, with_app
from musicq_async.cli.output import local_time, print_fields, print_json, print_table
from musicq_async.cli.values import Duration, JsonObject, moment

if TYPE_CHECKING:
    from musicq_async.app import MusicQ

Function = TypeVar("Function", bound=Callable[..., Any])


@click.group(no_args_is_help=False)
def schedule() -> None:
    """Add, list and change schedules.

    A schedule pushes a task again and again: every so often, at cron times, or once. Where a command takes a schedule,
    its id or its name will do.
    """


def _options_of_a_schedule(function: Function) -> Function:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = (
    click.option("--params", type=JsonObject(), metavar="JSON", help="What the handler gets; @FILE reads it."),
    click.option("--every", "interval_seconds", type=Duration(whole=True), metavar="D", help="90s, 15m, 1h, 1d."),
    click.option("--cron", "cron_expression", metavar="EXPR", help="Five fields: '0 2 * * *' is two at night."),
    click.option("--at", "execute_at", metavar="TIME", help="Once: 2026-12-31T20:00, epoch seconds, or +10m."),
    click.option("--max-runs", type=click.IntRange(min=0), metavar="N", help="Disable it after so many; 0: never."),
    click.option("--paused", is_flag=True, help="Add it without starting it."),
    click.option("--description", metavar="TEXT"),
    click.option("--timezone", metavar="ZONE", help="Like Asia/Shanghai; this machine's by default."),
    click.option("--priority", type=int, metavar="N", help="Of its tasks; lower is sooner."),
    click.option("--max-retries", type=click.IntRange(min=0), metavar="N", help="Of its tasks."),
    click.option("--timeout", type=Duration(), metavar="D", help="How long one attempt of its tasks may take."),
    click.option("--misfire-window", type=Duration(whole=True), metavar="D", help="Older missed runs are not made up."),
    click.option("--coalesce", type=click.Choice(("latest", "earliest", "all")), help="What missed runs become."),
    click.option(
        "--overlap",
        type=click.Choice(("allow", "skip", "buffer_one", "cancel_running")),
        help="What happens while the last run is not finished.",
    ),
    click.option("--jitter", type=Duration(whole=True), metavar="D", help="Run up to so much later, at random."),
    click.option("--start-at", metavar="TIME", help="Nothing runs before."),
    click.option("--end-at", metavar="TIME", help="Nothing runs after."),
)


@schedule.command()
@click.argument("name")
@click.option("--type", "task_type", required=True, metavar="TYPE", help="The type of its tasks.")
@_options_of_a_schedule
@address_options
def add(*, paused: bool, database_url: str | None, queue_url: str | None, **given: Any) -> int:
    """Add a schedule and print its id. Give one of --every, --cron, --at."""
    kinds = {"interval_seconds": "interval", "cron_expression": "cron", "execute_at": "once"}
    chosen = [kind for name, kind in kinds.items() if given[name] is not None]
    if len(chosen) != 1:
        raise click.UsageError("give exactly one of --every, --cron, --at")
    wanted = {name: value for name, value in given.items() if value is not None} | {"schedule_type": chosen[0]}
    wanted |= _moments(wanted)

    async def body(app: MusicQ) -> None:
        click.echo(await app.scheduler.add_scheduler_task(**wanted, enabled=not paused))

    return with_app(body, {"database_url": database_url, "queue_url": queue_url})


@schedule.command("list")
@click.option("--enabled", is_flag=True, help="Only those that run.")
@json_option
@address_options
def list_(*, enabled: bool, as_json: bool, **addresses: str | None) -> int:
    """List the schedules, oldest first."""

    async def body(app: MusicQ) -> None:
        found = await app.scheduler.list_tasks(enabled_only=enabled)
        if as_json:
            print_json(found)
        else:
            print_table(("ID", "NAME", "TYPE", "STATE", "NEXT", "RUNS", "WHEN"), [_row(each) for each in found])

    return with_app(body, addresses)


@schedule.command()
@click.argument("reference", metavar="SCHEDULE")
@json_option
@address_options
def show(reference: str, *, as_json: bool, **addresses: str | None) -> int:
    """Show one schedule."""

    async def body(app: MusicQ) -> None:
        found = await _existing(app, reference)
        if as_json:
            print_json(found)
        else:
            print_fields(_fields(found))

    return with_app(body, addresses)


@schedule.command("next")
@click.argument("reference", metavar="SCHEDULE")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="N")
@json_option
@address_options
def next_(reference: str, *, count: int, as_json: bool, **addresses: str | None) -> int:
    """Print when a schedule runs next."""

    async def body(app: MusicQ) -> None:
        found = await _existing(app, reference)
        runs = await app.scheduler.next_runs(found["task_id"], count=count)
        if as_json:
            print_json(runs)
        else:
            for run in runs:
                click.echo(local_time(run))

    return with_app(body, addresses)


def _command(name: str, method: str, done: str, text: str) -> None:
    """Make a command that calls one method of the scheduler with a schedule's id."""

    @schedule.command(name, help=text)
    @click.argument("reference", metavar="SCHEDULE")
    @address_options
    def command(reference: str, **addresses: str | None) -> int:
        async def body(app: MusicQ) -> None:
            found = await _existing(app, reference)
            answer = await getattr(app.scheduler, method)(found["task_id"])
            click.echo(answer if isinstance(answer, str) else f"{found['task_id']} {done}")

        return with_app(body, addresses)


_command("pause", "pause_task", "is paused", "Stop a schedule until it is resumed.")
_command("resume", "resume_task", "runs again", "Let a paused schedule run again.")
_command("delete", "delete_task", "is deleted", "Delete a schedule. Tasks that it pushed stay.")
_command("run-now", "run_now", "", "Push a schedule's task now and print the task's id.")


async def _existing(app: MusicQ, reference: str) -> dict[str, Any]:
    """Find a schedule by id, or by a name that only one has."""
    from musicq_async.errors import ScheduleNotFound, UsageError

    found = await app.scheduler.get_task(reference)
    if found is not None:
        return found
    named = [each for each in await app.scheduler.list_tasks() if each["name"] == reference]
    if len(named) > 1:
        raise UsageError(f"{len(named)} schedules have the name {reference!r}; use an id from 'musicq schedule list'")
    if not named:
        raise ScheduleNotFound(f"no schedule has the id or name {reference!r}; 'musicq schedule list' lists them")
    return named[0]


def _moments(wanted: dict[str, Any]) -> dict[str, int]:
    """Read the options that hold a time, in the schedule's own zone."""
    read: dict[str, int] = {}
    for name in ("execute_at", "start_at", "end_at"):
        if name in wanted:
            try:
                read[name] = moment(wanted[name], now=time.time(), zone=_zone(wanted.get("timezone")))
            except (ValueError, OverflowError) as error:
                option = "--at" if name == "execute_at" else f"--{name.replace('_', '-')}"
                raise click.UsageError(f"{option}: {error}") from error
    return read


def _zone(name: str | None) -> Any:
    from zoneinfo import ZoneInfo

    try:
        return None if name is None else ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise click.UsageError(f"--timezone: {name!r} is no time zone; write one like Asia/Shanghai") from None


def _row(schedule: dict[str, Any]) -> tuple[Any, ...]:
    return (
        schedule["task_id"],
        schedule["name"],
        schedule["task_type"],
        _state(schedule),
        local_time(schedule["next_run_at"]) if schedule["enabled"] else None,
        schedule["run_count"],
        _when(schedule),
    )


def _state(schedule: dict[str, Any]) -> str:
    if schedule["enabled"]:
        return "enabled"
    ended = schedule["max_runs"] and schedule["run_count"] >= schedule["max_runs"]
    return "ended" if ended or (schedule["schedule_type"] == "once" and schedule["run_count"]) else "paused"


def _when(schedule: dict[str, Any]) -> str:
    zone = f" {schedule['timezone']}" if schedule["timezone"] else ""
    match schedule["schedule_type"]:
        case "interval":
            from musicq_async.observe.wording import duration

            return f"every {duration(schedule['interval_seconds'])}"
        case "cron":
            return f"cron {schedule['cron_expression']}{zone}"
        case _:
            return f"once at {local_time(schedule['execute_at'])}"


def _fields(schedule: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": schedule["task_id"],
        "name": schedule["name"],
        "description": schedule["description"],
        "type": schedule["task_type"],
        "params": schedule["params"],
        "when": _when(schedule),
        "state": _state(schedule),
        "next run": local_time(schedule["next_run_at"]) if schedule["enabled"] else None,
        "last run": local_time(schedule["last_run_at"]),
        "runs": f"{schedule['run_count']} of {schedule['max_runs']}" if schedule["max_runs"] else schedule["run_count"],
        "missed": schedule["missed_count"] or None,
        "skipped": schedule["skipped_count"] or None,
        "starts": local_time(schedule["start_at"]),
        "ends": local_time(schedule["end_at"]),
        "overlap": schedule["overlap"],
        "coalesce": schedule["coalesce"],
        "misfire window": schedule["misfire_window"],
        "jitter": schedule["jitter"] or None,
    }
