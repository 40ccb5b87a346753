"""Commands about the processes that share a queue: who is there, and which types rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from musicq_async.cli.opening import address_options, json_option, with_app
from musicq_async.cli.output import local_time, print_json, print_table

if TYPE_CHECKING:
    from musicq_async.app import MusicQ


@click.command()
@json_option
@address_options
def nodes(*, as_json: bool, **addresses: str | None) -> int:
    """List the processes on this database, and whether they live."""

    async def body(app: MusicQ) -> None:
        ours = app.node
        found = [each for each in await app.nodes() if each["node"] != ours]
        if as_json:
            print_json(found)
        else:
            head = ("NODE", "ALIVE", "BEAT", "SINCE", "RUNS", "OF", "SCHEDULES", "VERSION")
            print_table(head, [_row(each) for each in found])

    return with_app(body, addresses)


def _row(node: dict[str, Any]) -> tuple[Any, ...]:
    age = max(0, round(time.time() - node["heartbeat_ms"] / 1000))
    since = local_time(node["started_ms"] / 1000)
    return (
        node["node"], node["alive"], f"{age} s ago", since, node["running"], node["concurrency"], node["scheduler"],
        node["version"],
    )  # fmt: skip


@click.command()
@click.argument("task_type", metavar="TYPE")
@address_options
def pause(task_type: str, **addresses: str | None) -> int:
    """Let no task of TYPE begin any more, on any node; running ones go on."""
    return with_app(lambda app: app.pause_type(task_type), addresses)


@click.command()
@click.argument("task_type", metavar="TYPE")
@address_options
def resume(task_type: str, **addresses: str | None) -> int:
    """Let tasks of TYPE begin again."""
    return with_app(lambda app: app.resume_type(task_type), addresses)
