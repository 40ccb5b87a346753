"""Login by QR code, and renewal."""

from __future__ import annotations

from typing import Any

import pytest

from musicq_async import errors
from musicq_async.bilibili.client import BilibiliClient
from musicq_async.bilibili.credentials import Credentials, parse_cookie
from musicq_async.testing.bilibili import StandInBilibili
from musicq_async.testing.bilibili_http import Fault

pytestmark = pytest.mark.anyio


async def log_in(client: BilibiliClient, server: StandInBilibili) -> Credentials:
    code = await client.login.begin()
    server.site.qr_codes[code.key].state = 0
    return await client.login.wait(code)


async def test_a_login_goes_through_its_states(guest: BilibiliClient, server: StandInBilibili, connect: Any) -> None:
    code = await guest.login.begin()
    assert code.key in code.url
    assert code.key not in repr(code)
    states = []

    def told(state: str) -> None:
        states.append(state)
        if state != "done":
            server.site.qr_codes[code.key].state = {"waiting": 86090, "scanned": 0}[state]

    found = await guest.login.wait(code, told=told)
    assert states == ["waiting", "scanned", "done"]
    assert found.refresh_token
    assert set(found.cookies) >= {"SESSDATA", "bili_jct", "DedeUserID"}
    async with connect(found.text) as client:
        assert (await client.whoami()).mid == 70707


async def test_an_expired_code_is_told(guest: BilibiliClient, server: StandInBilibili) -> None:
    code = await guest.login.begin()
    server.site.qr_codes[code.key].state = 86038
    with pytest.raises(errors.LoginRequired):
        await guest.login.wait(code)


async def test_a_code_that_nobody_scans_ends_after_three_minutes(guest: BilibiliClient, clock: Any) -> None:
    code = await guest.login.begin()
    with pytest.raises(errors.LoginRequired):
        await guest.login.wait(code)
    assert 175 < clock.passed < 190


async def test_a_login_is_possible_during_a_pause(guest: BilibiliClient, server: StandInBilibili) -> None:
    server.fail("/x/web-interface/view", with_=Fault(status=412))
    with pytest.raises(errors.RiskControl):
        await guest.resolve("av1")
    assert (await log_in(guest, server)).logged_in


async def test_a_session_that_need_not_be_renewed_is_left(guest: BilibiliClient, server: StandInBilibili) -> None:
    found = await log_in(guest, server)

    async def save(_: Credentials) -> None:
        pytest.fail("nothing to save")

    assert await guest.login.refresh(found, save=save) == found


async def test_a_renewed_session_is_saved_before_the_old_one_dies(
    guest: BilibiliClient, server: StandInBilibili
) -> None:
    old = await log_in(guest, server)
    server.site.refresh_due = True
    saved = []

    async def save(fresh: Credentials) -> None:
        assert server.asked("passport", path="/x/passport-login/web/confirm") == []
        assert len(server.site.sessions) == 2
        saved.append(fresh)

    fresh = await guest.login.refresh(old, save=save)
    assert saved == [fresh]
    assert fresh.cookies["SESSDATA"] != old.cookies["SESSDATA"]
    assert fresh.refresh_token != old.refresh_token
    assert len(server.site.sessions) == 1


async def test_a_crash_before_the_confirmation_leaves_both_sessions(
    guest: BilibiliClient, server: StandInBilibili
) -> None:
    old = await log_in(guest, server)
    server.site.refresh_due = True
    server.fail("/x/passport-login/web/confirm/refresh", with_=Fault(code=-404))
    saved = []

    async def save(fresh: Credentials) -> None:
        saved.append(fresh)

    with pytest.raises(errors.WorkGone):
        await guest.login.refresh(old, save=save)
    assert len(saved) == 1
    assert len(server.site.sessions) == 2


async def test_what_cannot_be_renewed_needs_a_login(guest: BilibiliClient) -> None:
    async def save(_: Credentials) -> None: ...

    for text in ("", "SESSDATA=x", "SESSDATA=dead; bili_jct=x; ac_time_value=y"):
        with pytest.raises(errors.LoginRequired):
            await guest.login.refresh(parse_cookie(text), save=save)
