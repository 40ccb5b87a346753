"""Cookies: read as pasted, never shown."""

from __future__ import annotations

import pickle
import stat
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.bilibili.cookie_file import CookieFile
from musicq_async.bilibili.credentials import Credentials, from_set_cookie, parse_cookie
from musicq_async.errors import InvalidParams, SettingsError

ENCODED = "ca4a12%2C1780000000%2C9f3b%2A11"
DECODED = unquote(ENCODED)


@pytest.mark.parametrize(
    "text",
    [
        f"SESSDATA={ENCODED}; bili_jct=abc; DedeUserID=7",
        f"Cookie: SESSDATA={ENCODED}; bili_jct=abc; DedeUserID=7",
        f"bili_jct=abc;DedeUserID=7;SESSDATA={DECODED}",
        f"SESSDATA={ENCODED}\nbili_jct=abc\nDedeUserID=7\n",
        f"-H 'cookie: SESSDATA={ENCODED}; bili_jct=abc; DedeUserID=7'",
        f'"SESSDATA={ENCODED}; bili_jct=abc; DedeUserID=7"',
        f"SESSDATA={ENCODED}; Path=/; Secure; HttpOnly\nbili_jct=abc; DedeUserID=7",
    ],
)
def test_every_way_of_pasting_gives_the_same_cookies(text: str) -> None:
    found = parse_cookie(text)
    assert found.cookies == {"SESSDATA": ENCODED, "bili_jct": "abc", "DedeUserID": "7"}
    assert (found.csrf, found.account, found.logged_in) == ("abc", "7", True)


@pytest.mark.parametrize("text", [ENCODED, DECODED, f" {ENCODED} "])
def test_a_bare_value_is_the_session(text: str) -> None:
    assert parse_cookie(text).cookies == {"SESSDATA": ENCODED}


@pytest.mark.parametrize("text", ["", "  ", None])
def test_nothing_is_a_guest(text: str | None) -> None:
    found = parse_cookie(text)
    assert (found.logged_in, found.header, found.account) == (False, "", "guest")


@pytest.mark.parametrize("text", ["hello world", "SESSDATA=", "SESSDATA=a b", "SESSDATA=a%0d%0ab", "a\x00b", "%0a"])
def test_what_cannot_be_a_session_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        parse_cookie(text)
    assert "hello" not in str(caught.value)


@given(st.text(max_size=60))
def test_a_header_never_breaks_out_of_its_line(text: str) -> None:
    try:
        header = parse_cookie(f"SESSDATA=x; other={text}").header
    except InvalidParams:
        return
    assert header.isascii()
    assert header.isprintable()


def test_what_was_written_is_read_again_with_its_token() -> None:
    found = Credentials(cookies={"SESSDATA": ENCODED, "bili_jct": "abc"}, refresh_token="tok")
    assert parse_cookie(found.text) == found
    assert "tok" not in found.header


def test_nothing_shows_a_value() -> None:
    found = Credentials(cookies={"SESSDATA": ENCODED, "bili_jct": "canary"}, refresh_token="canary")
    for shown in (repr(found), str(found), f"{found}", f"{[found]}"):
        assert "canary" not in shown
        assert "ca4a12" not in shown
    assert {ENCODED, DECODED, "canary"} <= set(found.secrets())


def test_an_account_without_number_is_named_by_a_digest() -> None:
    one, other = parse_cookie("aaa"), parse_cookie("bbb")
    assert one.account != other.account
    assert "aaa" not in one.account


def test_cookies_that_an_answer_sets_are_read() -> None:
    lines = [f"SESSDATA={DECODED}; Path=/; HttpOnly", "bili_jct=abc; Path=/", "gone=; Max-Age=0", "no cookie", "=x"]
    assert from_set_cookie(lines) == {"SESSDATA": ENCODED, "bili_jct": "abc"}


@pytest.mark.anyio
async def test_the_session_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = CookieFile(tmp_path / "deep" / "session")
    assert await file.load() is None
    saved = Credentials(cookies={"SESSDATA": ENCODED}, refresh_token="tok")
    await file.save(saved)
    assert stat.S_IMODE((tmp_path / "deep" / "session").stat().st_mode) == 0o600
    assert await file.load() == saved
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["session"]
    assert await file.delete()
    assert not await file.delete()


@pytest.mark.anyio
async def test_a_session_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    with pytest.raises(SettingsError, match="session"):
        await CookieFile(tmp_path / "session").load()
    with pytest.raises(SettingsError):
        await CookieFile(tmp_path / "session").save(Credentials(cookies={"SESSDATA": "x"}))


def test_credentials_can_be_compared_and_copied() -> None:
    found = parse_cookie(ENCODED)
    assert pickle.loads(pickle.dumps(found)) == found
