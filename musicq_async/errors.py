"""Every error that musicq_async raises, in one tree.

::

    MusicqError
    ├── UsageError                       the caller's input is wrong; nothing was stored
    │   ├── SettingsError
    │   ├── InvalidTask (ValueError)
    │   ├── InvalidSchedule (ValueError)
    │   ├── UnknownTaskType
    │   ├── InvalidParams
    │   └── NotRunning
    ├── BackendError                     the queue or the database
    │   ├── BackendUnavailable *
    │   ├── DuplicateTask
    │   ├── TaskNotFound (LookupError)
    │   ├── ScheduleNotFound (LookupError)
    │   └── LeaseLost
    ├── TaskError                        how a task ended
    │   ├── TaskFailed
    │   ├── TaskTimedOut *
    │   └── TaskCancelled
    ├── SourceError                      the site that the music comes from
    │   ├── SourceUnavailable *
    │   ├── RateLimited *
    │   ├── RiskControl *
    │   ├── LoginRequired
    │   ├── NotPermitted
    │   ├── WorkGone
    │   ├── NoAudioStream
    │   ├── EncryptedStream
    │   └── AnswerNotUnderstood
    └── MediaError                       bytes and files
        ├── TransferBroken *
        ├── OutOfSpace
        ├── FileTooLarge
        ├── UnsafePath
        ├── ConvertFailed
        └── TagsRejected

``*`` is retryable. The retry decision reads the two attributes ``retryable`` and
``retry_after`` and nothing else; an exception from outside this tree counts as retryable.
"""

from __future__ import annotations

from typing import ClassVar


class MusicqError(Exception):
    """The root of the tree: ``except MusicqError`` catches whatever this package raises on purpose."""

    retryable: ClassVar[bool] = False
    retry_after: float | None = None
    """Seconds to wait before the next attempt, where the error knows better than the back-off."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after


class UsageError(MusicqError):
    """The caller's input is wrong. The message names the field and the cure; nothing was stored."""


class SettingsError(UsageError):
    """A setting is unknown, of the wrong type or out of range."""


class InvalidTask(UsageError, ValueError):
    """A task cannot be queued as it is. The message names the field."""


class InvalidSchedule(UsageError, ValueError):
    """A schedule cannot be stored as it is. The message names the field."""


class UnknownTaskType(UsageError):
    """No handler is registered for the type of a task."""


class InvalidParams(UsageError):
    """A handler cannot work with the params of its task. Not retried: they will not change."""


class NotRunning(UsageError):
    """The queue, scheduler or application was closed, or not yet opened."""


class BackendError(MusicqError):
    """The queue or the database."""


class BackendUnavailable(BackendError):
    """The database or Redis cannot be reached, or refuses to write for now."""

    retryable = True


class DuplicateTask(BackendError):
    """A task with this ``task_id`` exists already."""


class TaskNotFound(BackendError, LookupError):
    """No task has this id."""


class ScheduleNotFound(BackendError, LookupError):
    """No schedule has this id."""


class LeaseLost(BackendError):
    """The task was given to another worker meanwhile; this worker's answer is refused."""


class TaskError(MusicqError):
    """How a task ended."""


class TaskFailed(TaskError):
    """The handler says that the task has failed and that trying again is of no use."""


class TaskTimedOut(TaskError):
    """The handler ran longer than its ``timeout``."""

    retryable = True


class TaskCancelled(TaskError):
    """The task was cancelled on request."""


class SourceError(MusicqError):
    """The site that the music comes from."""


class SourceUnavailable(SourceError):
    """No connection, no answer in time, or a server error: likely to pass."""

    retryable = True


class RateLimited(SourceError):
    """The site asks for fewer requests."""

    retryable = True
    retry_after = 30.0


class RiskControl(SourceError):
    """The site suspects a robot and refuses the account or address for a while."""

    retryable = True
    retry_after = 300.0


class LoginRequired(SourceError):
    """Only a logged-in account may see this, or the login has expired."""


class NotPermitted(SourceError):
    """The account may not play this: membership, region, or another person's private list."""


class WorkGone(SourceError):
    """The work was removed, is hidden, or never existed."""


class NoAudioStream(SourceError):
    """The work exists and has no sound that could be kept."""


class EncryptedStream(SourceError):
    """Only encrypted streams are offered; they are not supported."""


class AnswerNotUnderstood(SourceError):
    """The site answered in a form that this version does not know."""


class MediaError(MusicqError):
    """Bytes and files."""


class TransferBroken(MediaError):
    """A download stopped, shrank or changed on the way."""

    retryable = True


class OutOfSpace(MediaError):
    """The disk has no room for the file."""


class FileTooLarge(MediaError):
    """A file is larger than the caller allows (``http.max_bytes``)."""


class UnsafePath(MediaError):
    """A path leads outside the folder it must stay in, or an address outside the public network."""


class ConvertFailed(MediaError):
    """A file cannot be decoded, or not be written in the wanted format."""


class TagsRejected(MediaError):
    """A file's tags cannot be read or written."""
