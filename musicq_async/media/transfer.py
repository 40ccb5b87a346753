"""Downloading one file: from several sources, resumed by exactly the missing bytes, never half there.

The bytes grow in a ``.part`` beside the target and get the target's name in one step when all of them are there and
belong to one version. A ``.part`` outlives cancellation and the process, and the next download goes on from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import msgspec

from musicq_async.clock import SystemClock
from musicq_async.errors import FileTooLarge, InvalidParams, MusicqError, TransferBroken
from musicq_async.media.answers import Changed, FromStart, Onward, Refused, Whole, judge, read_head, resumable
from musicq_async.media.files import SafeFolder
from musicq_async.media.pace import Pace, TransferRules
from musicq_async.media.partial import Held, PartFile, Validator
from musicq_async.media.sources import Failure, Source, SourcePool, verdict
from musicq_async.media.web import SourceFailed, Web
from musicq_async.media.work import Progress, tell
from musicq_async.media.writing import open_part, writing
from musicq_async.ports import Clock
from musicq_async.settings import HttpSettings

__all__ = ["Refresh", "TransferRules", "Transferred", "download"]

Refresh = Callable[[], Awaitable[Sequence[Source]]]
"""Gives fresh addresses of the same content when every source has expired or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """A file that has arrived."""

    path: Path
    size: int
    source: Source | None
    """Who gave the last bytes; ``None`` when an earlier run had all of them."""
    etag: str | None
    resumed_from: int
    """Bytes that were there when this download began and were kept."""
    received: int
    """Bytes that this download took from the network, those thrown away included."""


async def download(
    sources: Sequence[Source],
    target: Path,
    *,
    http: HttpSettings,
    web: Web | None = None,
    within: SafeFolder | None = None,
    progress: Progress | None = None,
    expected_size: int | None = None,
    identity: str | None = None,
    if_range: bool = False,
    refresh: Refresh | None = None,
    sanity: Callable[[bytes], bool] | None = None,
    max_bytes: int | None = None,
    deadline: float | None = None,
    rules: TransferRules | None = None,
    clock: Clock | None = None,
) -> Transferred:
    """Download one file to ``target`` and return what arrived; the target is whole or untouched.

    ``within`` refuses a target that is not below that folder, or leads there through a link. ``sources`` are asked in
    their order.
    ``identity`` names content that is the same on all of them, so that a mirror may go on where another stopped;
    without it only a strong ETag or Last-Modified proves that, and a file without either starts again after a cut.
    ``if_range`` sends If-Range (right for web servers, wrong for some content networks). ``sanity`` sees the first 64
    bytes of the finished file and says whether it is what was wanted. ``refresh`` is asked for new addresses at most
    three times. ``max_bytes``, ``deadline`` (seconds) and the pace come from ``http`` when not given.

    Raises `TransferBroken` or `SourceUnavailable` (worth a retry), `RateLimited`, `WorkGone` or `NotPermitted` (what
    the only answer was), `UnsafePath`, `OutOfSpace`, `FileTooLarge` (over ``max_bytes``), `InvalidParams`, and what
    ``refresh`` or ``progress`` raise. On cancellation, on deadline and after these errors the ``.part`` stays, so that
    a later call goes on from it.
    """
    if not sources:
        raise InvalidParams("sources: at least one address is needed")
    for source in sources:
        source.check()
    wanted = _Wanted(
        http=http,
        progress=progress,
        expected_size=expected_size,
        identity=identity,
        if_range=if_range,
        refresh=refresh,
        sanity=sanity,
        max_bytes=http.max_bytes if max_bytes is None else max_bytes,
        rules=rules or TransferRules(),
        clock=clock or SystemClock(),
    )
    seconds = http.deadline if deadline is None else deadline
    part = await open_part(target, within)
    try:
        if web is not None:
            return await _Transfer(wanted, part, sources, web).run(seconds)
        async with Web(http) as own:
            return await _Transfer(wanted, part, sources, own).run(seconds)
    finally:
        if not part.finished:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(part.close)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the caller of `download` asked for."""

    http: HttpSettings
    progress: Progress | None
    expected_size: int | None
    identity: str | None
    if_range: bool
    refresh: Refresh | None
    sanity: Callable[[bytes], bool] | None
    max_bytes: int
    rules: TransferRules
    clock: Clock


class _TooLarge(Exception):
    """The file is over the cap."""


class _Transfer:
    """One download on its way: the part, what it belongs to, and who is asked next."""

    def __init__(self, wanted: _Wanted, part: PartFile, sources: Sequence[Source], web: Web) -> None:
        self._wanted = wanted
        self._rules = wanted.rules
        self._clock = wanted.clock
        self._part = part
        self._web = web
        self._pool = SourcePool(sources, cool_down=self._rules.cool_down, tries=self._rules.tries)
        self._refreshes = 0
        self._received = 0
        self._furthest = 0
        self._last: Source | None = None
        self._cause: SourceFailed | None = None
        origin = None if wanted.identity else hashlib.blake2b(sources[0].url.encode(), digest_size=16).hexdigest()
        self._nothing_held = Held(identity=wanted.identity, origin=origin)

    async def run(self, deadline: float) -> Transferred:
        finished = False
        await self._adopt()
        resumed_from = self._furthest = self._part.size
        with self._clock.move_on_after(deadline):
            await self._fill()
            finished = True
        if not finished:
            raise TransferBroken(
                f"the download took longer than {deadline:g} s; {self._part.size} bytes are kept for the next attempt"
            )
        return await self._finish(min(resumed_from, self._part.size))

    async def _adopt(self) -> None:
        """Keep what an earlier run left only if this run could prove that it is the same file."""
        held, wanted = self._part.held, self._wanted
        known = (held.identity, held.origin) == (self._nothing_held.identity, self._nothing_held.origin)
        other = not known or not resumable(held)
        longer = held.total is not None and self._part.size > held.total
        sizes = {held.total, wanted.expected_size} - {None}
        if self._part.size and (other or longer or len(sizes) > 1):
            await self._begin()

    async def _fill(self) -> None:
        """Ask one source after another until every byte is there."""
        await self._report()
        while not (self._complete() and await self._sane()):
            source = await self._next_source()
            try:
                await self._ask(source)
            except SourceFailed as error:
                self._note_failure(source, error)
                self._cause = error
            except _TooLarge as error:
                await anyio.to_thread.run_sync(self._part.discard)
                raise FileTooLarge(
                    f"{source.host} offers more than {self._wanted.max_bytes} bytes; raise http.max_bytes to allow it"
                ) from error
        await self._report()

    def _complete(self) -> bool:
        total = self._part.held.total
        return total is not None and total > 0 and self._part.size == total

    async def _sane(self) -> bool:
        """Look at the first bytes; junk is dropped and its giver not asked again."""
        if self._wanted.sanity is None:
            return True
        if self._wanted.sanity(self._part.head):
            return True
        await self._begin()
        if self._last is not None:
            self._pool.retire(self._last, Failure(host=self._last.host, reason="sent something else than the file"))
        return False

    async def _next_source(self) -> Source:
        while True:
            self._pool.retire_expired(self._clock.time() + self._rules.expiry_margin)
            source, wait = self._pool.next(self._clock.monotonic())
            if source is None:
                await self._refresh()
            elif wait > self._rules.patience:
                raise self._verdict()
            elif wait > 0:
                await self._clock.sleep(wait)
            else:
                return source

    async def _refresh(self) -> None:
        if self._wanted.refresh is None or self._refreshes >= self._rules.refreshes:
            raise self._verdict()
        self._refreshes += 1
        sources = await self._wanted.refresh()
        for source in sources:
            source.check()
        self._pool.offer(sources)

    def _verdict(self) -> MusicqError:
        error = verdict(list(self._pool.last_failures.values()), refreshed=self._refreshes > 0)
        error.__cause__ = self._cause
        return error

    def _note_failure(self, source: Source, error: SourceFailed) -> None:
        least = min(64 << 10, max(1, (self._part.held.total or 0) // 50))
        if self._part.size >= self._furthest + least:  # less would let a drip go on for ever without a pause
            self._furthest = self._part.size
            self._pool.gained(source)
        if error.final:
            self._pool.retire(source, error.failure)
        else:
            self._pool.rest(source, error.failure, self._clock.monotonic())

    async def _ask(self, source: Source) -> None:
        """Make one request and take all it gives."""
        self._last = source
        if self._part.size and self._part.held.total is not None and not resumable(self._part.held):
            await self._begin()
        offset = self._part.size
        async with self._web.answer(source, self._range_headers(source, offset)) as response:
            head = read_head(response.status_code, response.headers, now=self._clock.time())
            verdict_ = judge(head, offset=offset, held=self._part.held, host=source.host)
            match verdict_:
                case Refused():
                    failure = Failure(
                        host=source.host,
                        reason=verdict_.reason,
                        kind="status",
                        status=verdict_.status,
                        retry_after=verdict_.retry_after,
                    )
                    raise SourceFailed(failure, final=verdict_.kind == "final")
                case Whole():
                    self._check_size(source, offset)
                    await self._note(source, offset, head.validator)
                case Changed():
                    await self._begin()  # the next request starts at the first byte
                case FromStart():
                    self._check_size(source, verdict_.total)
                    await self._note(source, verdict_.total, head.validator, anew=True)
                    await self._take(source, response, until=verdict_.total)
                    await self._settle_length(source, head.chunked)
                case Onward():
                    self._check_size(source, verdict_.total)
                    await self._note(source, verdict_.total or self._part.held.total, head.validator)
                    await self._take(source, response, until=verdict_.until)

    def _range_headers(self, source: Source, offset: int) -> dict[str, str]:
        if offset == 0:
            return {}
        headers = {"range": f"bytes={offset}-"}
        validator = self._part.held.validators.get(source.host)
        if self._wanted.if_range and validator and validator.etag:
            headers["if-range"] = validator.etag
        return headers

    def _check_size(self, source: Source, total: int | None) -> None:
        expected = self._wanted.expected_size
        if total is None:
            return
        if total > self._wanted.max_bytes:
            raise _TooLarge
        if total == 0:
            raise _broken(source, "has an empty file", final=True)
        if expected is not None and total != expected:
            raise _broken(source, f"has {total} bytes in place of {expected}", final=True)

    async def _begin(self) -> None:
        await anyio.to_thread.run_sync(self._part.begin, self._nothing_held)

    async def _note(self, source: Source, total: int | None, validator: Validator, *, anew: bool = False) -> None:
        """Keep what the bytes belong to, and make sure that the rest fits; ``anew`` drops those that are there."""
        older = self._nothing_held if anew else self._part.held
        validators = {**older.validators, source.host: validator}
        held = msgspec.structs.replace(self._nothing_held, total=total, validators=validators)

        def work() -> None:
            if anew:
                self._part.begin(self._nothing_held)
            self._part.note(held)
            if total is not None:
                self._part.make_room(total, self._rules.spare)

        await anyio.to_thread.run_sync(work)

    async def _take(self, source: Source, response: httpx.Response, *, until: int | None) -> None:
        """Write the body to the part, up to ``until``; what came before an error or a cancellation is written too."""
        pace = Pace(self._clock, self._wanted.http.rate_limit, self._rules)
        cap = self._wanted.max_bytes if until is None else until
        async with writing(self._part) as writer:
            reported_at = self._clock.monotonic()
            async for chunk in response.aiter_raw():
                self._received += len(chunk)
                excess = writer.reached + len(chunk) - cap
                if excess > 0:
                    if until is None:
                        raise _TooLarge
                    writer.put(chunk[: len(chunk) - excess])
                    raise _broken(source, "sent more bytes than it announced", final=True)
                writer.put(chunk)
                await writer.room()
                now = self._clock.monotonic()
                if now - reported_at >= self._rules.report_interval:
                    reported_at = now
                    await tell(self._wanted.progress, writer.reached, self._part.held.total)
                pause = pace.pause(len(chunk), now)
                if pause > 0:
                    await self._clock.sleep(pause)
                if pace.slow and self._pool.others(source, now):
                    raise _broken(source, "is too slow")
        if until is not None and self._part.size < until:
            raise _broken(source, "closed before the end")

    async def _settle_length(self, source: Source, delimited: bool) -> None:
        """Decide whether a body of unannounced length is whole: only its own end mark or a known size proves it."""
        size = self._part.size
        if self._part.held.total is not None:
            return
        expected = self._wanted.expected_size
        if size and (delimited if expected is None else size == expected):
            await self._note(source, size, self._part.held.validators.get(source.host, Validator()))
            return
        if expected is not None:
            raise _broken(source, f"sent {size} bytes in place of {expected}")
        raise _broken(source, "did not say how long the file is")

    async def _report(self) -> None:
        await tell(self._wanted.progress, self._part.size, self._part.held.total)

    async def _finish(self, resumed_from: int) -> Transferred:
        size, host = self._part.size, self._last.host if self._last else ""
        etag = self._part.held.validators.get(host, Validator()).etag
        path = await anyio.to_thread.run_sync(self._part.finish)
        return Transferred(
            path=path,
            size=size,
            source=self._last,
            etag=etag,
            resumed_from=resumed_from,
            received=self._received,
        )


def _broken(source: Source, reason: str, *, final: bool = False) -> SourceFailed:
    return SourceFailed(Failure(host=source.host, reason=reason), final=final)
