"""What the command line understands and prints, without a database: values, help, complaints, exit codes."""

from __future__ import annotations

import json
import sys
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import musicq_async
from musicq_async import errors
from musicq_async.cli import exit_code
from musicq_async.cli.output import print_json, print_table, shortened, width
from musicq_async.cli.service import load_handlers
from musicq_async.cli.values import duration, moment
from musicq_async.observe.wording import duration as spoken


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("500ms", 0.5),
        ("15m", 900),
        ("15min", 900),
        ("1h", 3600),
        ("1h30m", 5400),
        (" 1H 30M ", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
    ],
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1x", "1h30", "-1h", "1 hour", "1e3", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="duration"):
        duration(text)


@given(st.integers(0, 10**6))
def test_what_is_said_about_a_duration_has_a_unit(seconds):
    assert spoken(seconds).split()[1] in {"ms", "s", "min", "h"}


@pytest.mark.parametrize(
    ("text", "zone", "epoch"),
    [
        ("1790000000", None, 1_790_000_000),
        ("2026-12-31T20:00", "Asia/Shanghai", 1_798_718_400),
        ("2026-12-31 20:00:30", "Asia/Shanghai", 1_798_718_430),
        ("2026-12-31T20:00Z", "Asia/Shanghai", 1_798_747_200),
        ("2026-12-31T20:00+02:00", None, 1_798_740_000),
        ("+10m", None, 1600),
    ],
)
def test_moments(text, zone, epoch):
    assert moment(text, now=1000.0, zone=ZoneInfo(zone) if zone else None) == epoch


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "1790000000000", "+soon", "12:00"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(ValueError, match=r"time|milliseconds|duration"):
        moment(text, now=0, zone=None)


def test_a_table_is_tabs_and_nothing_else_off_a_terminal(capsys):
    print_table(("A", "B"), [("x\ty", None), (1, {"k": "玉盘"})])
    assert capsys.readouterr().out == 'x\\ty\t-\n1\t{"k": "玉盘"}\n'


def test_a_table_is_aligned_and_cut_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    print_table(("NAME", "STATE", "WHAT"), [("玉盘", "failed", "x" * 50), ("ab", "ok", "y")])
    head, first, second = capsys.readouterr().out.splitlines()
    assert [line.index(word) for line, word in ((head, "STATE"), (second, "ok"))] == [6, 6]
    assert first.startswith("玉盘  failed  xxx")
    assert first.endswith("…")
    assert width(first) <= 30
    assert "\x1b" not in head + first + second


def test_colour_is_used_on_a_terminal_unless_it_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    print_table(("STATE", "X"), [("failed", "x")])
    assert "\x1b[31mfailed" in capsys.readouterr().out


@given(st.text(), st.integers(1, 20))
def test_a_shortened_text_fits(text, columns):
    assert width(shortened(text, columns)) <= columns


def test_json_stays_json_whatever_a_file_is_called(capsysbinary):
    print_json({"path": "玉盘\udce9.m4a"})
    assert json.loads(capsysbinary.readouterr().out) == {"path": "玉盘\udce9.m4a"}


def test_version(capsys):
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr().out == f"musicq {musicq_async.__version__}\n"


COMMANDS = ["", "run", "push", "tasks", "task", "cancel", "retry", "schedule", "download", "convert", "name", "demo"]
COMMANDS += ["doctor", "db", "db upgrade", "completion"]
COMMANDS += [f"schedule {each}" for each in ("add", "list", "show", "pause", "resume", "delete", "run-now", "next")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    assert exit_code([*command.split(), "--help"]) == 0
    assert "Usage: musicq" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["tasks", "task", "schedule list", "schedule show", "schedule next", "doctor"])
def test_every_listing_takes_json(capsys, command):
    exit_code([*command.split(), "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["push"], "TYPE"),
        (["schedule"], "musicq schedule --help"),
        (["library"], "musicq library --help"),
        (["db"], "musicq db --help"),
        (["push", "t", "--params", "[1]"], "--params"),
        (["push", "t", "--params", "{"], "JSON"),
        (["push", "t", "--params", '{"a": NaN}'], "NaN"),
        (["push", "t", "--params", "[" * 100_000], "--params"),
        (["push", "t", "--params", "@/no/such/file"], "/no/such/file"),
        (["push", "t", "--delay", "soon"], "--delay"),
        (["push", "t", "--max-retries", "-1"], "--max-retries"),
        (["tasks", "--state", "lost"], "--state"),
        (["tasks", "--limit", "0"], "--limit"),
        (["retry"], "--all"),
        (["retry", "x", "--all"], "--all"),
        (["retry", "x", "--type", "t"], "--type"),
        (["schedule", "add", "n", "--type", "t"], "--every"),
        (["schedule", "add", "n", "--type", "t", "--every", "1h", "--cron", "* * * * *"], "--every"),
        (["schedule", "add", "n", "--type", "t", "--every", "1.5s"], "whole"),
        (["schedule", "add", "n", "--type", "t", "--at", "soon"], "--at"),
        (["schedule", "add", "n", "--type", "t", "--at", "2026-12-31", "--timezone", "Moon/Base"], "Moon/Base"),
        (["schedule", "add", "n", "--type", "t", "--every", "1h", "--end-at", "x"], "--end-at"),
        (["schedule", "add", "n", "--type", "t", "--every", "1h", "--overlap", "fight"], "--overlap"),
        (["schedule", "add", "n", "--every", "1h"], "--type"),
        (["download"], "LINK"),
        (["download", "BV17x411w7KC", "--quality", "loud"], "--quality"),
        (["download", "BV17x411w7KC", "--format", "tape"], "--format"),
        (["convert", "a.mp3"], "--to"),
        (["run", "--concurrency", "-1"], "--concurrency"),
        (["run", "--handlers", "no.such.module:x"], "no.such.module"),
        (["run", "--handlers", ":x"], "handlers"),
        (["run", "--handlers", "musicq_async:Nothing"], "Nothing"),
        (["run", "--handlers", "musicq_async:Settings"], "Handlers"),
        (["completion", "tcsh"], "tcsh"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it_and_code_2(capsys, arguments, named):
    assert exit_code(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("musicq: ")
    assert named in told.err
    assert len(told.err) < 300


def test_a_wrong_setting_is_one_line_with_its_origin(capsys, monkeypatch):
    monkeypatch.setenv("MUSICQ_CONCURRENCY", "many")
    assert exit_code(["tasks"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "MUSICQ_CONCURRENCY" in told


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (errors.TaskNotFound("no task x"), 3, "no task x"),
        (errors.ScheduleNotFound("no schedule x"), 3, "no schedule x"),
        (errors.BackendUnavailable("the database is away\nreally"), 1, "the database is away really"),
        (errors.InvalidSchedule("cron: never"), 2, "cron: never"),
        (ExceptionGroup("", [ValueError("x"), ExceptionGroup("", [errors.WorkGone("gone")])]), 1, "gone"),
        (RuntimeError("cookie is shown-canary-77"), 1, "RuntimeError: cookie is [secret]"),
        (PermissionError(13, "Permission denied", "/x"), 1, "Permission denied: /x"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(5), 5, ""),
    ],
)
def test_every_error_is_one_line_and_has_its_code(capsys, monkeypatch, error, code, shown):
    from musicq_async.cli import music
    from musicq_async.observe.secrets import register_secret

    def broken(text):
        raise error

    register_secret("shown-canary-77")
    monkeypatch.setattr(music, "_understood_name", broken)
    assert exit_code(["name", "x"]) == code
    told = capsys.readouterr().err
    assert shown in told
    assert len(told.split("\n")) == 2 or not told


def test_a_traceback_is_shown_on_request_only(capsys, monkeypatch):
    from musicq_async.cli import music

    monkeypatch.setattr(music, "_understood_name", lambda text: 1 / 0)
    monkeypatch.setenv("MUSICQ_TRACEBACK", "1")
    assert exit_code(["name", "x"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_song_name_is_taken_apart(capsys):
    assert exit_code(["name", "--json", "Ghost (The Him Remix) - Au_Ra _ Alan Walker"]) == 0
    (song,) = json.loads(capsys.readouterr().out)
    assert song["title"] == "Ghost"
    assert song["artists"] == ["Au/Ra", "Alan Walker"]
    assert [(tag["text"], tag["kind"]) for tag in song["tags"]] == [("The Him Remix", "remix")]
    assert exit_code(["name", "玉盘 - 葫芦童声"]) == 0
    assert "葫芦童声" in capsys.readouterr().out
    assert exit_code(["name", "--video", "《玉盘》 葫芦童声"]) == 0
    assert "玉盘" in capsys.readouterr().out


def test_handlers_are_found_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    (tmp_path / "my_own_handlers.py").write_text(
        "import musicq_async\nhandlers = musicq_async.Handlers()\nhandlers.register('mine')(print)\n"
    )
    (tmp_path / "my_broken_handlers.py").write_text("1 / 0\n")
    assert "mine" in load_handlers("my_own_handlers:handlers")
    assert "mine" in load_handlers("my_own_handlers")
    with pytest.raises(errors.SettingsError, match="ZeroDivisionError"):
        load_handlers("my_broken_handlers")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(capsys, shell):
    assert exit_code(["completion", shell]) == 0
    assert "_MUSICQ_COMPLETE" in capsys.readouterr().out
