"""Where a file can be had: the sources of one download, which of them to ask next, and which to give up."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from musicq_async.errors import (
    InvalidParams,
    MusicqError,
    NotPermitted,
    RateLimited,
    SourceUnavailable,
    TransferBroken,
    UnsafePath,
    WorkGone,
)
from musicq_async.media.addresses import host_of, web_url

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One address of a file. Its repr shows neither address nor headers: both may carry secrets."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent to this address and, on a redirect, to the same origin; elsewhere without Cookie and Authorization."""
    allowed_hosts: frozenset[str] = frozenset()
    """``name`` or ``name:port`` that may be reached although it is private."""
    may_lead_to: Callable[[str], bool] | None = None
    """Says of an address whether a redirect may lead there; ``None``: anywhere that downloads may go."""
    expires_at: float | None = None
    """Epoch seconds after which the address answers no more."""

    def check(self) -> None:
        """Raise `InvalidParams` or `UnsafePath` for an address or header that cannot be sent; shows neither."""
        web_url(self.url)
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name) or not value.isascii() or not value.isprintable():
                raise InvalidParams(f"headers: {name[:40]!r} holds characters that no header may hold")

    @property
    def host(self) -> str:
        """``host:port``, the only part of the address that is fit for a message."""
        return host_of(web_url(self.url))


FailureKind = Literal["broken", "unreachable", "unsafe", "status", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a source gave nothing, or stopped."""

    host: str
    reason: str
    kind: FailureKind = "broken"
    status: int | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.host} {self.reason}"


@dataclass(slots=True)
class _State:
    source: Source
    failures: int = 0
    ready_at: float = 0.0
    retired: bool = False
    eager: bool = False
    """Whether its last answer brought something: then nobody needs to wait for it when it is the only one."""


class SourcePool:
    """Sources in order of preference. Times are monotonic seconds.

    A source that fails in a passing way rests ``cool_down`` times its failures in a row and is given up after
    ``tries`` of them; one that fails for good is given up at once. Whatever it brings makes up for its failures.
    """

    def __init__(self, sources: Sequence[Source], *, cool_down: float, tries: int) -> None:
        self._cool_down = cool_down
        self._tries = tries
        self._states: list[_State] = []
        self.last_failures: dict[str, Failure] = {}
        self.offer(sources)

    def offer(self, sources: Sequence[Source]) -> None:
        """Start over with these; the same address given twice is one source."""
        unique = {source.url: source for source in sources}
        self._states = [_State(source) for source in unique.values()]

    def next(self, now: float) -> tuple[Source | None, float]:
        """Return the source to ask and the seconds to wait before; no source when all are given up."""
        waiting = [state for state in self._states if not state.retired]
        if not waiting:
            return None, 0.0
        state = min(waiting, key=lambda state: max(state.ready_at - now, 0.0))
        return state.source, 0.0 if state.eager else max(state.ready_at - now, 0.0)

    def others(self, source: Source, now: float) -> bool:
        """Whether another source could be asked now."""
        return any(not state.retired and state.ready_at <= now and state.source is not source for state in self._states)

    def gained(self, source: Source) -> None:
        """Note that the source brought something."""
        state = self._state(source)
        state.failures, state.eager = 0, True

    def rest(self, source: Source, failure: Failure, now: float) -> None:
        """Note a failure that may pass."""
        state = self._state(source)
        state.eager = state.eager and state.failures == 0 and not failure.retry_after
        state.failures += 1
        state.ready_at = now + max(self._cool_down * state.failures, failure.retry_after or 0.0)
        state.retired = state.failures >= self._tries
        self.last_failures[failure.host] = failure

    def retire(self, source: Source, failure: Failure) -> None:
        """Give a source up."""
        self._state(source).retired = True
        self.last_failures[failure.host] = failure

    def retire_expired(self, at: float) -> None:
        """Give up every source whose address has expired by then (epoch seconds)."""
        for state in self._states:
            expires_at = state.source.expires_at
            if expires_at is not None and expires_at <= at and not state.retired:
                state.retired = True
                host = state.source.host
                self.last_failures[host] = Failure(host=host, reason="gave an address that has expired", kind="expired")

    def _state(self, source: Source) -> _State:
        return next(state for state in self._states if state.source is source)


def verdict(failures: Sequence[Failure], *, refreshed: bool) -> MusicqError:
    """Choose the error that tells best why every source failed.

    When fresh addresses were tried in between, statuses say nothing of the work: they are a broken transfer.
    """
    said = "; ".join(str(failure) for failure in failures) or "no source is left"
    message = f"the file could not be downloaded: {said}"
    statuses = {failure.status for failure in failures}
    kinds = {failure.kind for failure in failures}
    if kinds == {"unsafe"}:
        return UnsafePath(message)
    if kinds == {"unreachable"}:
        return SourceUnavailable(message)
    pause = max((failure.retry_after for failure in failures if failure.retry_after), default=None)
    if statuses == {429}:
        return RateLimited(message, retry_after=pause)
    if not refreshed and kinds == {"status"} and statuses <= {404, 410}:
        return WorkGone(message)
    if not refreshed and kinds == {"status"} and statuses <= {401, 403, 407, 451}:
        return NotPermitted(message)
    return TransferBroken(message, retry_after=pause)
