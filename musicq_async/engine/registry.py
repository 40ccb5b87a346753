"""Which function runs which type of task: `Handlers`."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, overload

import msgspec

from musicq_async.errors import UsageError
from musicq_async.model.limit import Limit
from musicq_async.model.task import DEFAULT_MAX_RETRIES

HandlerFunction = Callable[..., Any]
Function = TypeVar("Function", bound=HandlerFunction)

LONGEST_TYPE: Final = 100
"""Characters that the column ``task_type`` holds."""
CONTEXT_NAMES: Final = frozenset({"context", "ctx"})
MISSING: Final = inspect.Parameter.empty


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """One registered function, and how its tasks are run."""

    task_type: str
    function: HandlerFunction
    is_async: bool
    """Whether calling it gives an awaitable at once; other functions are called in a thread."""
    takes_context: bool
    context_keyword: str | None = None
    """Name under which a keyword-only context is passed."""
    max_retries: int = DEFAULT_MAX_RETRIES
    timeout: float | None = None
    limit: Limit | None = None
    """What holds for its tasks on all nodes together."""
    builtin: bool = False
    is_plain: bool = False
    """Whether it is called with params alone, on the event loop, without a timeout: the fastest way."""


class Handlers:
    """The functions of an application, by type of task.

    A handler takes ``params`` (a dict of its own), or ``params`` and a `TaskContext`. ``async def`` functions run on
    the event loop; plain functions, partials and callable objects run in a thread. What it returns, if it is JSON, is
    kept as the task's result.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._replacing: set[str] = set()
        self.version = 0
        """Rises with every registration."""

    def __len__(self) -> int:
        return len(self._handlers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __contains__(self, task_type: object) -> bool:
        return task_type in self._handlers

    def __repr__(self) -> str:
        return f"Handlers({', '.join(self._handlers)})"

    @property
    def types(self) -> frozenset[str]:
        """Every type that has a handler."""
        return frozenset(self._handlers)

    @property
    def by_type(self) -> dict[str, Handler]:
        """The handlers themselves; workers read it, and see what is registered later."""
        return self._handlers

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits of the types that have any."""
        return tuple(handler.limit for handler in self._handlers.values() if handler.limit is not None)

    def get(self, task_type: str) -> Handler | None:
        """Return the handler of a type."""
        return self._handlers.get(task_type)

    @overload
    def register(self, name: Function) -> Function: ...

    @overload
    def register(
        self,
        name: str,
        *,
        max_retries: int = ...,
        timeout: float | None = ...,
        concurrency: int | None = ...,
        rate: float | None = ...,
        group_concurrency: int | None = ...,
        group_rate: float | None = ...,
        replace: bool = ...,
        builtin: bool = ...,
    ) -> Callable[[Function], Function]: ...

    @overload
    def register(
        self,
        name: str,
        handler: Function,
        *,
        max_retries: int = ...,
        timeout: float | None = ...,
        concurrency: int | None = ...,
        rate: float | None = ...,
        group_concurrency: int | None = ...,
        group_rate: float | None = ...,
        replace: bool = ...,
        builtin: bool = ...,
    ) -> Function: ...

    def register(
        self,
        name: str | HandlerFunction,
        handler: HandlerFunction | None = None,
        *,
        max_retries: int = DEFAULT_MAX_RETRIES,
        timeout: float | None = None,
        concurrency: int | None = None,
        rate: float | None = None,
        group_concurrency: int | None = None,
        group_rate: float | None = None,
        replace: bool = False,
        builtin: bool = False,
    ) -> Any:
        """Register a handler: ``@handlers.register("send_email", timeout=30)``, or give the function as well.

        ``max_retries`` is how many attempts may follow the first, where the task does not say. ``timeout`` is in
        seconds for each attempt. ``concurrency`` is how many tasks of this type run at once, ``rate`` how many begin
        in a second, on all nodes together; ``group_concurrency`` and ``group_rate`` are the same for the tasks of
        this type that share a ``group_key``. ``replace`` takes the place of a handler of the same type, of a built-in
        one too.
        Raises `UsageError` if the type has a handler already, the function cannot be one, or a value is out of range.
        """
        if not isinstance(name, str):
            return self.register(_own_name(name), name)
        _check_name(name)
        _check_numbers(max_retries=max_retries, timeout=timeout)
        limit = _limit(
            name, concurrency=concurrency, rate=rate, group_concurrency=group_concurrency, group_rate=group_rate
        )

        def registered(function: Function) -> Function:
            if name in self._handlers and not replace:
                raise UsageError(f"the type {name!r} has a handler already; pass replace=True to take its place")
            shape = _shape(function, name)
            is_plain = shape["is_async"] and not shape["takes_context"] and timeout is None
            self._handlers[name] = Handler(
                task_type=name, function=function, max_retries=max_retries, timeout=timeout, limit=limit,
                builtin=builtin, is_plain=is_plain, **shape,
            )  # fmt: skip
            self.version += 1
            if replace:
                self._replacing.add(name)
            return function

        return registered if handler is None else registered(handler)

    def merged(self, builtin: Handlers) -> Handlers:
        """Return the handlers of both. One of ours with the type of a built-in one needs ``replace=True``."""
        for name in self._handlers:
            if name in builtin and name not in self._replacing:
                raise UsageError(f"{name!r} is built in; register yours with replace=True to take its place")
        both = Handlers()
        both._handlers = {**builtin.by_type, **self._handlers}
        both._replacing = set(self._replacing)
        return both


def _own_name(function: HandlerFunction) -> str:
    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str):
        raise UsageError(f"register: name must be text, not {type(function).__name__}")
    return name


def _check_name(name: str) -> None:
    if not name or len(name) > LONGEST_TYPE or name != name.strip():
        raise UsageError(f"register: name must be 1 to {LONGEST_TYPE} characters without outer blanks, not {name!r}")


def _check_numbers(*, max_retries: int, timeout: float | None) -> None:
    _check("max_retries", max_retries, whole=True, least=0)
    if timeout is not None:
        _check("timeout", timeout, above=0)


def _limit(name: str, **given: Any) -> Limit | None:
    """Return the limits of a type, or ``None`` where there is none."""
    for field, value in given.items():
        if value is None:
            continue
        if field.endswith("concurrency"):
            _check(field, value, whole=True, least=1)
        else:
            _check(field, value, above=0)
    return None if all(value is None for value in given.values()) else Limit(task_type=name, **given)


def _check(
    field: str, value: Any, *, whole: bool = False, least: float | None = None, above: float | None = None
) -> None:
    kind = int if whole else int | float
    words = "a whole number" if whole else "a number"
    words += f" from {least} on" if least is not None else f" above {above}"
    right = isinstance(value, kind) and not isinstance(value, bool) and value < 1 << 31 and not math.isnan(value)
    if not right or (least is not None and value < least) or (above is not None and value <= above):
        raise UsageError(f"register: {field} must be {words}, not {value!r}")


def _shape(function: HandlerFunction, name: str) -> dict[str, Any]:
    """Find out how a function wants to be called."""
    if not callable(function):
        raise UsageError(f"the handler of {name!r} must be a function, not {type(function).__name__}")
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    call = inner if inspect.isroutine(inner) or inspect.isclass(inner) else type(inner).__call__
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in (inner, call)):
        raise UsageError(f"the handler of {name!r} yields; it must return, and may report with context.progress()")
    is_async = inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(call)
    takes_context, keyword = _context_place(function, name)
    return {"is_async": is_async, "takes_context": takes_context, "context_keyword": keyword}


def _context_place(function: HandlerFunction, name: str) -> tuple[bool, str | None]:
    """Return whether the context is passed, and under which keyword if it is not the second positional argument."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin: it has no signature to read
        return False, None
    positional = [each for each in parameters if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    spread = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    if not positional and not spread:
        raise UsageError(f"the handler of {name!r} must take the task's params as its first argument")
    keyword = next((e.name for e in parameters if e.kind is e.KEYWORD_ONLY and _is_context(e)), None)
    second = positional[1] if len(positional) > 1 else None
    takes = spread or keyword is not None or (second is not None and (second.default is MISSING or _is_context(second)))
    demanded = [each.name for each in positional[2:] if each.default is MISSING]
    demanded += [e.name for e in parameters if e.kind is e.KEYWORD_ONLY and e.default is MISSING and e.name != keyword]
    if demanded:
        raise UsageError(f"the handler of {name!r} needs more than params and context: {', '.join(demanded)}")
    return takes, keyword


def _is_context(parameter: inspect.Parameter) -> bool:
    """Tell by the name, or the annotation, which may be a class, a text, or a union of them."""
    return parameter.name in CONTEXT_NAMES or "TaskContext" in str(parameter.annotation)
