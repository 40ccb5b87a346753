"""The session of the account: where it is found, how it is renewed, and that nobody sees it."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import pytest

from musicq_async.bilibili.cookie_file import CookieFile
from musicq_async.bilibili.credentials import parse_cookie
from musicq_async.handlers.library import COOKIE_KEY, fetch
from musicq_async.observe.secrets import MASK, redact
from musicq_async.testing import Fault

pytest.importorskip("cryptography")
pytestmark = pytest.mark.anyio


@pytest.fixture
def cookie_file(tmp_path):
    return tmp_path / "session"


@pytest.fixture
def opened(opened, cookie_file):
    return lambda **wishes: opened(**{"bilibili": {"cookie_file": str(cookie_file)}, **wishes})


async def test_a_guest_has_nothing_to_renew(opened, run):
    async with opened() as app:
        assert (await run(app, "refresh_login"))["result"] == {"session": "guest"}


@pytest.mark.parametrize("place", ["store", "file"])
async def test_a_session_is_renewed_when_the_site_asks_and_saved_where_it_was(site, opened, run, cookie_file, place):
    session = site.login()
    async with opened() as app:
        if place == "store":
            await app.queue.set_public(COOKIE_KEY, session)
        else:
            await CookieFile(cookie_file).save(parse_cookie(session))
        assert (await run(app, "refresh_login"))["result"] == {"session": "fresh"}
        site.site.refresh_due = True
        assert (await run(app, "refresh_login"))["result"] == {"session": "renewed"}
        if place == "store":
            kept = await app.queue.get_public(COOKIE_KEY)
        else:
            kept = cookie_file.read_text()
            assert await app.queue.get_public(COOKIE_KEY) is None
            assert cookie_file.stat().st_mode & 0o777 == 0o600
        assert parse_cookie(kept).refresh_token in site.site.refresh_tokens
        assert parse_cookie(kept) != parse_cookie(session)
        assert (await (await app.library.client()).whoami()).logged_in


@pytest.mark.parametrize("place", ["the session in", "bilibili.cookie: ", "the public store's bilibili_cookie: "])
async def test_a_cookie_that_is_none_is_refused_with_the_place_where_it_stands(opened, run, cookie_file, place):
    wishes = {"cookie_file": str(cookie_file)}
    if "session" in place:
        cookie_file.write_text("hello canary\n")
        place = f"the session in {cookie_file}"
    elif "bilibili.cookie:" in place:
        wishes["cookie"] = "hello canary"
    async with opened(bilibili=wishes) as app:
        if "store" in place:
            await app.queue.set_public(COOKIE_KEY, "hello canary")
        told = (await run(app, "refresh_login"))["error_message"]
    assert told.startswith(f"SettingsError: {place}")
    assert "canary" not in told


async def test_a_renewed_session_is_saved_before_the_old_one_ends(site, opened, run):
    session = site.login()
    site.site.refresh_due = True
    site.fail("/x/passport-login/web/confirm/refresh", with_=Fault(code=-111))
    async with opened() as app:
        await app.queue.set_public(COOKIE_KEY, session)
        assert (await run(app, "refresh_login"))["status"] == "failed"
        kept = parse_cookie(await app.queue.get_public(COOKIE_KEY))
        assert kept != parse_cookie(session)
        assert (await (await app.library.client()).whoami()).logged_in


async def test_a_pasted_cookie_is_only_looked_at(site, opened, run):
    async with opened(bilibili={"cookie": site.cookie()}) as app:
        assert (await run(app, "refresh_login"))["result"] == {"session": "not renewable"}
    async with opened(bilibili={"cookie": "SESSDATA=dead%2C1%2Cx"}) as app:
        assert (await run(app, "refresh_login"))["error_message"].startswith("LoginRequired")


async def test_a_dead_session_is_renewed_by_the_task_that_meets_it(site, opened, run):
    session = site.login()
    async with opened() as app:
        await app.queue.set_public(COOKIE_KEY, session)
        site.site.expired.add(unquote(parse_cookie(session).cookies["SESSDATA"]))
        task = await run(app, "sync_watch_later")
        assert (task["status"], task["result"]["pushed"]) == ("completed", 2)
        assert not await app.list_tasks(state="failed")


async def test_a_session_that_cannot_be_renewed_is_asked_about_once(site, opened, run):
    async with opened() as app:
        await app.queue.set_public(COOKIE_KEY, "SESSDATA=dead%2C1%2Cx; bili_jct=abcdefgh; ac_time_value=gone-for-good")
        for _ in range(3):
            assert (await run(app, "sync_watch_later"))["error_message"].startswith("LoginRequired")
        assert len(site.asked("passport")) <= 1
        assert len(site.asked(path="/x/web-interface/nav")) == 1


async def test_the_cookie_of_the_store_is_masked_wherever_it_is_read(site, opened, settings, run):
    first, second = site.login(), site.login()
    async with opened() as app:
        await app.queue.set_public(COOKIE_KEY, first)
        await run(app, "refresh_login")
        secret = parse_cookie(first).cookies["SESSDATA"]
        assert redact(f"x {secret} y {unquote(secret)}") == f"x {MASK} y {MASK}"
        # One that comes later, as a dict, is seen at once.
        await app.queue.set_public(COOKIE_KEY, dict(parse_cookie(second).cookies))
    await fetch([f"av{next(iter(site.catalogue.videos))}"], settings=settings())
    later = parse_cookie(second).cookies["SESSDATA"]
    assert redact(later) == MASK
    assert any(request.cookies.get("SESSDATA") == later for request in site.asked("api"))


async def test_cookies_go_to_the_site_alone_and_into_no_row_or_file(site, opened, run, tmp_path, capfd):
    session = site.login()
    aids = list(site.catalogue.videos)
    async with opened() as app:
        await app.queue.set_public(COOKIE_KEY, session)
        await run(app, "download_bilibili_audio", bv_id=f"av{aids[0]}")
        site.fail("/x/player/playurl", with_=Fault(code=-10403), times=None)
        await run(app, "download_bilibili_audio", bv_id=f"av{aids[1]}")
        site.site.refresh_due = True
        await run(app, "refresh_login")
        tasks = json.dumps(await app.list_tasks())
    assert site.asked("cdn")
    assert all("cookie" not in request.headers for request in site.asked("cdn", "backup", "image", "short"))
    values = [value for value in parse_cookie(session).secrets() if len(value) > 8]
    secrets = {spelling for value in values for spelling in (value, quote(value), unquote(value))}
    shown = capfd.readouterr()
    files = [path.read_bytes().decode("latin-1") for path in (tmp_path / "music").iterdir()]
    assert not [secret for secret in secrets for text in (tasks, shown.out, shown.err, *files) if secret in text]
