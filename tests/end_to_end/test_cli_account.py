"""Logging in, out, and asking who one is, against the stand-in's passport."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading

import pytest
from anyio.from_thread import start_blocking_portal

from musicq_async.testing import StandInBilibili
from musicq_async.testing.bilibili_catalogue import FAN

COMMAND = [sys.executable, "-m", "musicq_async"]


@pytest.fixture(scope="module")
def portal():
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def site(portal, monkeypatch):
    """The stand-in, on an event loop of its own, and the settings that lead there."""
    with portal.wrap_async_context_manager(StandInBilibili()) as site:
        for name, value in site.environment().items():
            monkeypatch.setenv(name, value)
        yield site


@pytest.fixture
def kept(home, monkeypatch):
    """Where the session is kept."""
    monkeypatch.setenv("MUSICQ_BILIBILI__COOKIE_FILE", str(home / "session"))
    return home / "session"


@pytest.fixture
def pasting(musicq, monkeypatch):
    """Call a command with something on stdin."""

    def call(text, *arguments, code=0):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return musicq(*arguments, code=code)

    return call


def phone(site, process, *states):
    """Be the phone: give each new code the next state once the command has shown the last one."""
    printed = ""
    waiting = list(states)
    for line in process.stdout:
        printed += line
        if waiting and ("Scan the code" in line or "Scanned" in line):
            state = waiting.pop(0)
            for code in site.site.qr_codes.values():
                code.state = state
    return printed


def by_phone(site, *states):
    process = subprocess.Popen(
        [*COMMAND, "login"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
    )
    with process:
        errors = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        told = phone(site, process, *states)
        reader.join()
    return process.returncode, told, errors[0]


def test_a_login_by_phone_is_kept_in_a_file_for_its_owner_alone_and_used(site, kept, musicq):
    code, told, errors = by_phone(site, 86090, 0)
    assert (code, errors) == (0, "")
    assert "█" in told
    assert "Confirm the login" in told
    assert f"logged in as {FAN.name}" in told
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "ac_time_value=" in kept.read_text()
    (session,) = site.site.sessions
    assert session not in told
    account = musicq("whoami", "--json").json
    assert account == {"logged_in": True, "uid": FAN.mid, "name": FAN.name, "member": FAN.level == "member"}
    assert "logged out" in musicq("logout").out
    assert not kept.exists()
    assert "there was no session" in musicq("logout").out
    assert "guest" in musicq("whoami", code=1).out


def test_a_code_that_has_expired_is_given_up_in_one_line(site, kept):
    code, _, errors = by_phone(site, 86038)
    assert code == 1
    assert errors.count("\n") == 1
    assert "expired" in errors
    assert not kept.exists()


@pytest.mark.parametrize("spelled", ["{header}", "Cookie: {header}", "{value}"])
def test_a_pasted_cookie_is_checked_kept_and_shown_to_nobody(site, kept, pasting, musicq, spelled):
    header = site.cookie("member")
    value = header.partition(";")[0].partition("=")[2]
    done = pasting(spelled.format(header=header, value=value) + "\n", "login", "--cookie")
    assert f"logged in as {FAN.name} (member" in done.out
    assert value in kept.read_text()
    assert value not in done.out + done.err
    assert musicq("whoami", "--json").json["member"] is True


def test_a_session_in_the_database_serves_every_command_on_it(site, kept, pasting, musicq):
    pasting(site.cookie("member"), "login", "--cookie", "-", "--store")
    assert not kept.exists()
    assert f"name:   {FAN.name}" in musicq("whoami").out
    assert "logged out" in musicq("logout").out
    assert "guest" in musicq("whoami", code=1).out


def test_a_cookie_on_the_command_line_works_with_a_warning_that_does_not_repeat_it(site, kept, musicq):
    value = site.cookie("free")
    done = musicq("login", "--cookie", value)
    assert "can be read by everybody" in done.err
    assert value.partition(";")[0].partition("=")[2] not in done.out + done.err


@pytest.mark.parametrize("pasted", ["", "bili_jct=abc", "SESSDATA=dead-canary-55", "a b c"])
def test_what_is_no_living_session_is_refused_and_not_kept(site, kept, pasting, pasted):
    done = pasting(pasted, "login", "--cookie", "-", code=1 if "dead" in pasted else 2)
    assert done.err.count("\n") == 1
    assert "canary" not in done.err
    assert not kept.exists()


def test_a_session_that_has_died_is_told_from_none(site, kept, pasting, musicq):
    pasting(site.cookie("member"), "login", "--cookie")
    site.site.sessions.clear()
    assert "expired" in musicq("whoami", code=1).out


def test_a_setting_wins_over_the_file_and_login_says_so(site, kept, pasting, musicq, monkeypatch):
    monkeypatch.setenv("MUSICQ_BILIBILI__COOKIE", site.cookie("member"))
    assert "MUSICQ_BILIBILI__COOKIE" in pasting(site.cookie("free"), "login", "--cookie").err
    assert musicq("whoami", "--json").json["member"] is True


def test_a_cookie_file_that_is_no_session_is_named_without_its_text(site, kept, musicq):
    kept.write_text("a text with file-canary-66")
    answer = musicq("whoami", code=2)
    assert "canary" not in answer.err
    assert answer.err.count("\n") == 1
