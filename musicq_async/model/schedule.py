"""A schedule as it is stored, and one firing of it. The rules that make them are in `musicq_async.model.calendar`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from musicq_async.model.task import NewTask

ScheduleType = Literal["interval", "cron", "once"]
Coalesce = Literal["latest", "earliest", "all"]
Overlap = Literal["allow", "skip", "buffer_one", "cancel_running"]


class Schedule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of ``scheduler_task``; its fields are the columns. Times are epoch seconds unless they end in ``_ms``."""

    task_id: str
    name: str
    task_type: str
    schedule_type: ScheduleType
    params: dict[str, Any] = {}
    interval_seconds: int | None = None
    cron_expression: str | None = None
    execute_at: int | None = None
    last_run_at: int | None = None
    """Nominal time of the newest slot that was enqueued."""
    next_run_at: int | None = None
    """Nominal time of the next slot; ``None`` where there is none."""
    due_at_ms: int | None = None
    """When the next slot is acted on: ``next_run_at`` plus its jitter; ``None`` where paused or ended."""
    run_count: int = 0
    max_runs: int = 0
    enabled: bool = True
    created_at: int
    updated_at: int
    description: str | None = None
    timezone: str | None = None
    misfire_window: int | None = None
    coalesce: Coalesce = "latest"
    overlap: Overlap = "allow"
    jitter: int = 0
    start_at: int | None = None
    end_at: int | None = None
    priority: int = 0
    max_retries: int | None = None
    timeout_seconds: float | None = None
    missed_count: int = 0
    skipped_count: int = 0
    version: int = 1
    """Rises with every write; a write made from an older version is refused."""

    def row(self) -> dict[str, Any]:
        """Return a fresh dict whose keys are the columns of ``scheduler_task``."""
        row: dict[str, Any] = msgspec.to_builtins(self)
        return row


class SlotOutcome(StrEnum):
    """What became of one nominal time."""

    ENQUEUED = "enqueued"
    SKIPPED_OVERLAP = "skipped_overlap"
    MISSED = "missed"
    COALESCED = "coalesced"


class Slot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the ledger ``schedule_fire``; (schedule, nominal time) is unique there."""

    nominal: int
    """Epoch seconds."""
    outcome: SlotOutcome
    task_id: str | None = None


class Firing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one look at a due schedule decided. A store writes all of it in one transaction, or nothing."""

    schedule: Schedule
    """As it was read; its ``version`` fences the write."""
    advanced: Schedule
    """The row to write: next times, counters, ``version + 1``."""
    slots: tuple[Slot, ...] = ()
    tasks: tuple[NewTask, ...] = ()
    """Their ids follow from (schedule, nominal time), so that enqueueing one twice is seen."""
    cancel: tuple[str, ...] = ()
    """Ids of earlier tasks to cancel (``overlap="cancel_running"``)."""
