"""Commands about tasks: push, list, show, cancel, retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from musicq_async.cli.opening import address_options, json_option, with_app
from musicq_async.cli.output import local_time, print_fields, print_json, print_table
from musicq_async.cli.values import Duration, JsonObject

if TYPE_CHECKING:
    from musicq_async.app import MusicQ

STATES: Final = ("pending", "scheduled", "running", "completed", "failed", "cancelled")


@click.command()
@click.argument("task_type", metavar="TYPE")
@click.option(
    "--params", type=JsonObject(), default="{}", metavar="JSON", help="What the handler gets; @FILE reads it."
)
@click.option("--id", "task_id", metavar="ID", help="The task's id, 1 to 36 characters; a new one by default.")
@click.option("--priority", type=int, default=0, metavar="N", help="Lower is sooner.")
@click.option("--delay", type=Duration(), metavar="S", help="Wait so long before it runs: 90, 15m, 1h30m.")
@click.option("--max-retries", type=click.IntRange(min=0), metavar="N", help="Attempts that may follow the first.")
@click.option("--timeout", type=Duration(), metavar="S", help="How long one attempt may take.")
@address_options
def push(task_type: str, database_url: str | None, queue_url: str | None, **given: Any) -> int:
    """Push a task and print its id."""
    task = {"type": task_type} | {name: value for name, value in given.items() if value is not None}

    async def body(app: MusicQ) -> None:
        _refuse_memory(app)
        click.echo(await app.queue.push_task(task))

    return with_app(body, {"database_url": database_url, "queue_url": queue_url})


@click.command()
@click.option("--state", type=click.Choice(STATES), help="Only tasks in this state.")
@click.option("--type", "task_type", metavar="T", help="Only tasks of this type.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N")
@click.option("--after", metavar="ID", help="Go on after this task: the last one of the page before.")
@json_option
@address_options
def tasks(
    *, state: str | None, task_type: str | None, limit: int, after: str | None, as_json: bool, **addresses: str | None
) -> int:
    """List tasks, newest first."""

    async def body(app: MusicQ) -> None:
        found = await app.list_tasks(state=state, type=task_type, limit=limit, after=after)
        if as_json:
            print_json(found)
        else:
            print_table(("ID", "TYPE", "STATE", "CREATED", "TRIES", "WHAT"), [_row(each) for each in found])

    return with_app(body, addresses)


@click.command()
@click.argument("task_id", metavar="ID")
@json_option
@address_options
def task(task_id: str, *, as_json: bool, **addresses: str | None) -> int:
    """Show one task."""

    async def body(app: MusicQ) -> None:
        found = await _existing(app, task_id)
        if as_json:
            print_json(found)
        else:
            _show(found)

    return with_app(body, addresses)


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--reason", metavar="TEXT", help="Kept with the task.")
@address_options
def cancel(task_id: str, reason: str | None, **addresses: str | None) -> int:
    """Cancel a task, also while it runs."""

    async def body(app: MusicQ) -> None:
        before = await _existing(app, task_id)
        if before["status"] in {"completed", "failed", "cancelled"}:
            click.echo(f"{task_id} is {before['status']} already")
            return
        await app.cancel_task(task_id, reason)
        state = (await _existing(app, task_id))["status"]
        click.echo(f"{task_id} {'is cancelled' if state == 'cancelled' else 'is being cancelled by its worker'}")

    return with_app(body, addresses)


@click.command()
@click.argument("task_id", metavar="[ID]", required=False)
@click.option("--all", "every", is_flag=True, help="Every failed task.")
@click.option("--type", "task_type", metavar="T", help="With --all: only failed tasks of this type.")
@address_options
def retry(task_id: str | None, task_type: str | None, *, every: bool, **addresses: str | None) -> int:
    """Run a failed or cancelled task again, or all failed ones."""
    if every == (task_id is not None):
        raise click.UsageError("give the ID of a task, or --all")
    if task_type is not None and not every:
        raise click.UsageError("--type goes with --all")

    async def body(app: MusicQ) -> int:
        if task_id is None:
            click.echo(f"{await app.retry_failed(task_type)} retried")
            return 0
        before = await _existing(app, task_id)
        if before["status"] not in {"failed", "cancelled"}:
            raise click.ClickException(f"{task_id} is {before['status']}; only failed and cancelled tasks are retried")
        await app.retry_task(task_id)
        click.echo(f"{task_id} is pending again")
        return 0

    return with_app(body, addresses)


async def _existing(app: MusicQ, task_id: str) -> dict[str, Any]:
    from musicq_async.errors import TaskNotFound

    found = await app.get_task(task_id)
    if found is None:
        raise TaskNotFound(f"no task has the id {task_id!r}; 'musicq tasks' lists them")
    return found


def _refuse_memory(app: MusicQ) -> None:
    from musicq_async.errors import UsageError

    if app.settings.queue_url.startswith("memory:"):
        raise UsageError("queue_url is memory://, so the task would be lost when this command ends; name a database")


def _row(task: dict[str, Any]) -> tuple[Any, ...]:
    return (
        task["task_id"],
        task["task_type"],
        task["status"],
        local_time(task["created_at"]),
        task["retry_count"] + (task["started_at"] is not None and task["status"] not in {"pending", "scheduled"}),
        task["error_message"] or _progress(task) or task["params"] or None,
    )


def _progress(task: dict[str, Any]) -> str | None:
    told = task.get("progress")
    if task["status"] != "running" or not told:
        return None
    return f"{told['done']:g} of {told['total']:g}" if told.get("total") else told.get("message")


def _show(task: dict[str, Any]) -> None:
    run_at = task.get("run_at_ms")
    print_fields(
        {
            "id": task["task_id"],
            "type": task["task_type"],
            "state": task["status"],
            "params": task["params"],
            "priority": task["priority"] or None,
            "created": local_time(task["created_at"]),
            "runs at": local_time(run_at / 1000) if run_at and task["status"] == "scheduled" else None,
            "started": local_time(task["started_at"]),
            "ended": local_time(task["completed_at"]),
            "retries": f"{task['retry_count']} of {task['max_retries']}",
            "schedule": task["scheduler_task_id"],
            "progress": _progress(task),
            "result": task.get("result"),
            "error": task["error_message"],
        }
    )
    for error in task.get("errors") or ():
        at = local_time(error["time"] / 1000)
        click.echo(f"  attempt {error['attempt']} at {at}: ", nl=False)
        print_fields({error["type"]: error["message"] or "-"})
