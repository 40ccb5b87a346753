"""musicq_async: an asyncio-native task queue, scheduler and Bilibili music download service.

Every public name is here; each is imported when it is first used, so that ``import musicq_async`` costs little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicq_async.app import MusicQ, Scheduler, open_musicq
    from musicq_async.core import MemoryQueue
    from musicq_async.engine.context import TaskContext
    from musicq_async.engine.registry import Handlers
    from musicq_async.errors import (
        AnswerNotUnderstood,
        BackendError,
        BackendUnavailable,
        ConvertFailed,
        DuplicateTask,
        EncryptedStream,
        FileTooLarge,
        InvalidParams,
        InvalidSchedule,
        InvalidTask,
        LeaseLost,
        LoginRequired,
        MediaError,
        MusicqError,
        NoAudioStream,
        NotPermitted,
        NotRunning,
        OutOfSpace,
        RateLimited,
        RiskControl,
        ScheduleNotFound,
        SettingsError,
        SourceError,
        SourceUnavailable,
        TagsRejected,
        TaskCancelled,
        TaskError,
        TaskFailed,
        TaskNotFound,
        TaskTimedOut,
        TransferBroken,
        UnknownTaskType,
        UnsafePath,
        UsageError,
        WorkGone,
    )
    from musicq_async.memory.facade import AsyncQueue
    from musicq_async.settings import Settings
    from musicq_async.shared import (
        delete_public,
        get_public,
        get_queue,
        get_scheduler,
        pop_task,
        push_task,
        set_public,
    )

__version__ = "0.1.0"

__all__ = [
    "AnswerNotUnderstood",
    "AsyncQueue",
    "BackendError",
    "BackendUnavailable",
    "ConvertFailed",
    "DuplicateTask",
    "EncryptedStream",
    "FileTooLarge",
    "Handlers",
    "InvalidParams",
    "InvalidSchedule",
    "InvalidTask",
    "LeaseLost",
    "LoginRequired",
    "MediaError",
    "MemoryQueue",
    "MusicQ",
    "MusicqError",
    "NoAudioStream",
    "NotPermitted",
    "NotRunning",
    "OutOfSpace",
    "RateLimited",
    "RiskControl",
    "ScheduleNotFound",
    "Scheduler",
    "Settings",
    "SettingsError",
    "SourceError",
    "SourceUnavailable",
    "TagsRejected",
    "TaskCancelled",
    "TaskContext",
    "TaskError",
    "TaskFailed",
    "TaskNotFound",
    "TaskTimedOut",
    "TransferBroken",
    "UnknownTaskType",
    "UnsafePath",
    "UsageError",
    "WorkGone",
    "delete_public",
    "get_public",
    "get_queue",
    "get_scheduler",
    "open_musicq",
    "pop_task",
    "push_task",
    "set_public",
]

_ELSEWHERE = {
    "AsyncQueue": "memory.facade",
    "Handlers": "engine.registry",
    "MemoryQueue": "core",
    "MusicQ": "app",
    "Scheduler": "app",
    "Settings": "settings",
    "TaskContext": "engine.context",
    "open_musicq": "app",
} | dict.fromkeys(
    ("delete_public", "get_public", "get_queue", "get_scheduler", "pop_task", "push_task", "set_public"), "shared"
)
"""Module of each public name; the rest are errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
