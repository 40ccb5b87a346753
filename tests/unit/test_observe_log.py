"""The log: one line a task event, nothing secret in it, and nothing of the process's own logging left changed."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import warnings

import loguru
import pytest

from musicq_async.errors import SettingsError
from musicq_async.model.event import (
    Cancelled,
    Completed,
    Failed,
    Fired,
    Progressed,
    Queued,
    Retried,
    Returned,
    Snoozed,
    Started,
    Warned,
)
from musicq_async.observe.fanout import Events
from musicq_async.observe.log import InterceptHandler, configure_logging, log_events
from musicq_async.settings import LogSettings

CANARY = "canary%2C1790000000%2Cab*cd"
TASK = {"task_id": "7f", "task_type": "download_audio"}


@pytest.fixture
def written():
    """Configure the log for a test; what was written is in ``.getvalue()``."""
    opened = []

    def configure(**options) -> io.StringIO:
        stream = io.StringIO()
        secrets, context = options.pop("secrets", ()), options.pop("context", None)
        settings = LogSettings(**{"file": "", **options})
        opened.append(configure_logging(settings, secrets=secrets, context=context, stream=stream))
        return stream

    yield configure
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    ("event", "level", "message"),
    [
        (Queued(**TASK), "DEBUG", "queued task_id=7f task_type=download_audio"),
        (Started(**TASK, attempt=2), "DEBUG", "started task_id=7f task_type=download_audio attempt=2"),
        (Progressed(**TASK, done=1, total=4, message="x"), "TRACE", "progressed to 1 of 4: x"),
        (Completed(**TASK, seconds=2.5), "INFO", "completed in 2.5 s"),
        (Failed(**TASK, error="ValueError: {no}", attempt=1), "ERROR", "failed: ValueError: {no}"),
        (Retried(**TASK, error="E: a\nb", attempt=1, wait=200), "WARNING", "retried in 3 min 20 s: E: a\\nb"),
        (Snoozed(**TASK, wait=7200), "INFO", "snoozed for 2 h"),
        (Cancelled(**TASK), "INFO", "cancelled task_id"),
        (Cancelled(**TASK, reason="enough"), "INFO", "cancelled: enough"),
        (Returned(**TASK, reason="the process shut down"), "WARNING", "went back to the line: the process shut down"),
        (Fired(**TASK, scheduler_task_id="s1", name="hourly", fire_at=5), "INFO", "scheduler_task_id=s1 fire_at=5"),
        (Warned(message="nobody handles {x}"), "WARNING", "nobody handles {x}"),
    ],
)
def test_each_event_is_one_line_with_its_task(written, event, level, message):
    log, events = written(level="TRACE"), Events()
    log_events(events)
    events.emit(event)
    text = log.getvalue()
    assert text.count("\n") == 1
    assert f" {level} " in text
    assert message in text


def test_lines_after_the_start_know_the_attempt(written):
    log, events = written(), Events()
    log_events(events)
    for event in (Started(**TASK, attempt=3), Completed(**TASK, seconds=1), Cancelled(**TASK)):
        events.emit(event)
    assert ["attempt=3" in line for line in log.getvalue().splitlines()] == [True, False]


def test_the_level_of_the_settings_decides(written):
    log, events = written(level="WARNING"), Events()
    log_events(events)
    events.emit(Completed(**TASK, seconds=1))
    events.emit(Failed(**TASK, error="E: x", attempt=1))
    logging.getLogger("somebody").info("quiet")
    loguru.logger.info("quiet")
    assert [line.split()[2] for line in log.getvalue().splitlines()] == ["ERROR"]


def test_events_are_logged_no_more_after_the_log_has_left(written):
    log, events = written(), Events()
    log_events(events)()
    events.emit(Warned(message="a"))
    assert not log.getvalue()
    assert not events.listening


def test_a_secret_is_masked_in_messages_fields_and_tracebacks(written):
    log = written(secrets=[f"SESSDATA={CANARY}"])

    def lose(cookie):
        return int(cookie)

    for form in (CANARY, "canary,1790000000,ab*cd"):
        try:
            lose(form)
        except ValueError:
            loguru.logger.exception(f"cookie {form}")
            loguru.logger.opt(exception=True).bind(header=form).error("with {}", form)
            logging.getLogger("theirs").exception("header %s", {"Cookie": form})
    text = log.getvalue()
    assert text.count("[secret]") >= 14
    assert "Traceback" in text
    assert "canary" not in text


@pytest.mark.parametrize("as_json", [False, True])
def test_a_secret_stays_out_of_the_file_and_of_json(written, tmp_path, as_json):
    path = tmp_path / "logs" / "musicq.log"
    log = written(secrets=[f"SESSDATA={CANARY}"], file=str(path), json=as_json)
    try:
        int(CANARY)
    except ValueError:
        loguru.logger.bind(task_id="1", header=CANARY).exception(CANARY)
    configure_logging(LogSettings(file="")).close()  # closes the one before, so that the file is whole
    for text in (log.getvalue(), path.read_text("utf-8")):
        assert "[secret]" in text
        assert "ValueError" in text
        assert "canary" not in text


def test_json_lines_can_be_read_back(written):
    log, events = written(json=True), Events()
    log_events(events)
    events.emit(Started(**TASK, attempt=1))
    events.emit(Failed(**TASK, error="E: 玉盘 {}", attempt=1))
    loguru.logger.bind(name="\udc80", message="mine").info("a\nb")
    failed, other = map(json.loads, log.getvalue().splitlines())
    assert failed["message"] == "failed: E: 玉盘 {}"
    assert (failed["task_id"], failed["attempt"], failed["level"]) == ("7f", 1, "ERROR")
    assert other["message"] == "a\nb"


def test_braces_and_percent_signs_are_only_text(written):
    log, events = written(), Events()
    log_events(events)
    events.emit(Warned(message="{0} {name} %s <red>{}</red>"))
    logging.getLogger("theirs").warning("{0} {name} %s", "{}")
    InterceptHandler().emit(logging.LogRecord("theirs", 30, "", 1, "%d items", ("wrong",), None))
    lines = log.getvalue().splitlines()
    assert lines[0].endswith("{0} {name} %s <red>{}</red>")
    assert lines[1].endswith("{0} {name} {}")
    assert "%d items (TypeError in its arguments)" in lines[2]


def test_the_standard_logging_is_routed_in_and_chatty_libraries_only_from_warning(written):
    log = written(level="TRACE", json=True)
    for name in ("musicq_async.core", "httpx", "httpcore.http11", "sqlalchemy.engine", "theirs"):
        logging.getLogger(name).debug("quiet")
        logging.getLogger(name).warning("loud")
    heard = [(line["logger"], line["message"]) for line in map(json.loads, log.getvalue().splitlines())]
    assert ("httpx", "quiet") not in heard
    assert ("httpcore.http11", "quiet") not in heard
    assert ("sqlalchemy.engine", "quiet") not in heard
    assert {("musicq_async.core", "quiet"), ("theirs", "quiet"), ("httpx", "loud")} <= set(heard)


def test_warnings_and_errors_that_end_a_thread_are_logged(written):
    log = written(secrets=[CANARY])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("look here", stacklevel=1)
    thread = threading.Thread(target=int, args=(CANARY,), name="loader")
    thread.start()
    thread.join()
    text = log.getvalue()
    assert "look here" in text
    assert "loader ended by an error" in text
    assert "canary" not in text


def test_the_callers_context_is_asked_where_the_line_is_made(written):
    log = written(context=lambda: {"task_id": "9"})
    loguru.logger.info("hello")
    loguru.logger.bind(task_id="own").info("hello")
    first, second = log.getvalue().splitlines()
    assert first.endswith("hello task_id=9")
    assert second.endswith("hello task_id=own")


def test_the_file_rotates_and_old_ones_go(written, tmp_path):
    path = tmp_path / "musicq.log"
    written(file=str(path), rotation="2 KB", retention="1 days")
    for number in range(100):
        loguru.logger.info(f"{number:03} " + "x" * 60)
    configure_logging(LogSettings(file="")).close()
    files = sorted(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    assert len(files) > 2
    lines = "".join(file.read_text("utf-8") for file in tmp_path.iterdir())
    assert [number for number in range(100) if f" {number:03} x" not in lines] == []


@pytest.mark.parametrize("wrong", [{"rotation": "ten megabytes"}, {"retention": "a while"}])
def test_a_wrong_rotation_is_a_settings_error(written, tmp_path, wrong):
    with pytest.raises(SettingsError, match=r"log\.rotation or log\.retention"):
        written(file=str(tmp_path / "a.log"), **wrong)
    assert not any(isinstance(each, logging.Handler) and "Intercept" in repr(each) for each in logging.root.handlers)


def test_a_file_that_cannot_be_written_is_named_and_done_without(written, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    log = written(file=str(tmp_path / "taken" / "a.log"))
    loguru.logger.info("still here")
    assert "cannot be written" in capsys.readouterr().err
    assert "still here" in log.getvalue()


def test_a_broken_stream_hurts_nobody(written):
    log = written()
    log.close()
    loguru.logger.info("nobody reads this")


def test_a_field_or_context_that_cannot_be_shown_hurts_nobody(written):
    class Shy:
        def __str__(self):
            raise RuntimeError

    log = written(context=lambda: 1 / 0)
    loguru.logger.bind(shy=Shy()).info("hello")
    assert "hello shy=Shy" in log.getvalue()


def test_closing_puts_everything_back(written):
    before = (logging.root.level, list(logging.root.handlers), threading.excepthook, sys.unraisablehook)
    handle = configure_logging(LogSettings(file=""))
    handle.close()
    handle.close()
    assert (logging.root.level, list(logging.root.handlers), threading.excepthook, sys.unraisablehook) == before


def test_as_a_library_nothing_is_written_and_a_log_with_a_file_ends_whole(tmp_path):
    """One process: silence first, then a configured log that the interpreter's exit must not cut short."""
    program = f"""
import logging
from musicq_async.observe.fanout import Events
from musicq_async.model.event import Warned
events = Events()
events.subscribe(lambda event: 1 / 0)
events.emit(Warned(message="a"))
logging.getLogger("musicq_async.core").warning("silent")
from musicq_async.observe.log import configure_logging, log_events
log_events(events)
events.emit(Warned(message="silent too"))
from musicq_async.settings import LogSettings
configure_logging(LogSettings(file={str(tmp_path / "a.log")!r}, level="ERROR"))
import loguru
for number in range(500):
    loguru.logger.error(f"line {{number}}")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert "silent" not in ended.stderr
    assert ended.stderr.count("\n") == 500
    assert (tmp_path / "a.log").read_text("utf-8").count("\n") == 500
