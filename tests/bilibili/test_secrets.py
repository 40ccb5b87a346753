"""A canary cookie: it reaches the site's own hosts, and nothing and nobody else."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest

from musicq_async import errors
from musicq_async.bilibili.client import BilibiliClient
from musicq_async.bilibili.credentials import parse_cookie
from musicq_async.testing.bilibili import StandInBilibili
from musicq_async.testing.bilibili_catalogue import FAN, Person
from musicq_async.testing.bilibili_http import Fault

pytestmark = pytest.mark.anyio

SESSION = "CANARY1,1999999999,CANARY2*41"
CSRF = "CANARY3"


@pytest.fixture
def cookie(server: StandInBilibili) -> str:
    server.site.sessions[SESSION] = Person(mid=FAN.mid, name=FAN.name, level="member")
    server.site.csrf[SESSION] = CSRF
    return server.site.cookie(FAN, SESSION)


def spoken(caplog: Any, *raised: BaseException) -> str:
    told = [*caplog.messages, *("".join(traceback.format_exception(error)) for error in raised)]
    return "\n".join([*told, *(repr(error) + repr(vars(error)) for error in raised)])


async def test_the_cookie_goes_to_the_sites_own_hosts_only(connect: Any, server: StandInBilibili, cookie: str) -> None:
    async with connect(cookie) as client:
        for link in ("https://b23.tv/aBcD123", "ml1234507", "au400100", "https://space.bilibili.com/20200"):
            for item in await client.resolve(link):
                await client.audio(item)
                if item.lyric_url:
                    await client.text(item.lyric_url)
    told = {request.host for request in server.requests if "canary" in str(dict(request.headers)).lower()}
    assert told == {"api", "www"}
    assert {request.host for request in server.requests} >= {"api", "www", "short", "image"}
    assert not any("CANARY" in request.query for request in server.requests)


async def test_no_error_log_or_repr_shows_the_cookie(
    connect: Any, server: StandInBilibili, cookie: str, caplog: Any
) -> None:
    echo = ("SESSDATA=" + SESSION).encode()
    faults = [
        Fault(status=412), Fault(status=500, body=echo), Fault(body=echo), Fault(code=-403), Fault(cut_after=5),
        Fault(body=b'{"code":77,"message":"' + echo + b'"}'),
    ]  # fmt: skip
    raised: list[BaseException] = []
    caplog.set_level(logging.DEBUG)
    async with connect(cookie) as client:
        shown = repr(client) + repr(vars(client)) + repr(await client.credentials())
        for fault in faults:
            server.fail("*", with_=fault, times=None)
            with pytest.raises(errors.MusicqError) as caught:
                await client.resolve("av5")
            raised.append(caught.value)
            server.heal()
            client.api._store.values.clear()
    assert len(raised) == len(faults)
    assert "CANARY" not in spoken(caplog, *raised) + shown


async def test_no_cookie_is_sent_over_plain_http_to_another_machine() -> None:
    from musicq_async.bilibili.api import may_see_cookies

    assert may_see_cookies("https://api.bilibili.com")
    assert may_see_cookies("http://127.0.0.1:8000")
    assert may_see_cookies("http://localhost:8000")
    assert not may_see_cookies("http://api.bilibili.com")
    assert not may_see_cookies("http://127.0.0.1.evil.example")


async def test_cookies_that_answers_set_are_not_kept(guest: BilibiliClient, server: StandInBilibili) -> None:
    server.fail("/x/web-interface/view", with_=Fault(code=-404, headers=(("Set-Cookie", "evil=1; Path=/"),)))
    for _ in range(2):
        with pytest.raises(errors.WorkGone):
            await guest.resolve("av5")
    assert all(not request.cookies for request in server.requests)


async def test_a_cookie_that_cannot_be_read_is_refused_without_repeating_it(connect: Any) -> None:
    async with connect("CANARY with blanks") as client:
        with pytest.raises(errors.InvalidParams) as caught:
            await client.resolve("av5")
    assert "CANARY" not in str(caught.value)


async def test_a_new_cookie_is_seen_at_the_next_call(
    server: StandInBilibili, clock: Any, store: Any, cookie: str
) -> None:
    from musicq_async.settings import Settings

    settings = Settings(**server.settings())
    kept = {"text": ""}

    async def current() -> str:
        return kept["text"]

    async with BilibiliClient(settings.bilibili, settings.http, clock=clock, cookie=current, store=store) as client:
        assert not (await client.whoami()).logged_in
        kept["text"] = cookie
        assert (await client.whoami()).logged_in


async def test_the_cookie_of_the_settings_serves_where_the_store_has_none(connect: Any, cookie: str) -> None:
    async with connect("", cookie=cookie) as client:
        assert (await client.whoami()).logged_in


async def test_every_spelling_of_the_secret_can_be_redacted(cookie: str) -> None:
    secrets = parse_cookie(cookie).secrets()
    assert {SESSION, "CANARY1%2C1999999999%2CCANARY2%2A41", CSRF} <= set(secrets)
