"""What a person who waits sees: bars on a terminal, a line for each end anywhere else, and nothing that a name can do."""

from __future__ import annotations

import io

import pytest

from musicq_async.model.event import Cancelled, Completed, Failed, Progressed, Queued, Started
from musicq_async.observe.progress import Bars, Lines, display

TASK = {"task_id": "t1", "task_type": "download_audio"}
STARTED = Started(**TASK, attempt=1)
COMPLETED = Completed(**TASK, seconds=2.5)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progressed(done, total=None, message=None, task_id="t1"):
    return Progressed(task_id=task_id, task_type="download_audio", done=done, total=total, message=message)


def failed(error="TransferBroken: the line went dead"):
    return Failed(**TASK, error=error, attempt=1)


def written(*events):
    stream = io.StringIO()
    with Lines(stream) as lines:
        for event in events:
            lines(event)
    return stream.getvalue()


def drawn(*events, unit="bytes"):
    stream = Terminal()
    with Bars(stream, unit=unit) as bars:
        for event in events:
            bars(event)
            bars._progress.refresh()
    return stream.getvalue(), bars


def test_a_terminal_gets_bars_and_everything_else_lines(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(display(Terminal()), Bars)
    assert isinstance(display(io.StringIO()), Lines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(display(Terminal()), Lines)


def test_an_end_is_one_line_with_the_last_name():
    assert (
        written(Queued(**TASK), STARTED, progressed(1, 2, "晴天"), progressed(2, 2), COMPLETED)
        == "done: 晴天 in 2.5 s\n"
    )
    assert written(STARTED, Cancelled(**TASK)) == "cancelled: t1\n"
    assert written(STARTED, failed()) == "failed: t1: TransferBroken: the line went dead\n"


def test_lines_of_several_tasks_do_not_mix_their_names():
    other = Completed(task_id="t2", task_type="x", seconds=1)
    text = written(progressed(1, message="one"), progressed(1, message="two", task_id="t2"), COMPLETED, other)
    assert [line.split()[1] for line in text.splitlines()] == ["one", "two"]


@pytest.mark.parametrize("name", ["a\nfailed: everything", "\x1b[2Jgone", "a\rb"])
def test_a_name_can_neither_steer_the_terminal_nor_forge_a_line(name):
    text = written(progressed(1, message=name), COMPLETED)
    assert text.count("\n") == 1
    assert not set(text) & {"\x1b", "\r"}
    shown, _ = drawn(STARTED, progressed(1, 10, name))
    assert "\x1b[2J" not in shown


def test_a_bar_shows_name_and_amount_and_goes_when_the_work_is_done():
    shown, bars = drawn(STARTED, progressed(500_000, 1_000_000, "[bold]晴天[/bold]"))
    assert "[bold]晴天" in shown.replace("\n", "")
    assert "0.5/1.0 MB" in shown
    assert len(bars._bars) == 1
    _, bars = drawn(STARTED, progressed(1, 2), COMPLETED)
    assert not bars._bars
    _, bars = drawn(COMPLETED, Cancelled(**TASK))
    assert not bars._bars


def test_what_is_not_bytes_is_a_percentage():
    shown, _ = drawn(progressed(1, 4), unit="files")
    assert "25%" in shown


def test_a_failure_leaves_a_line_above_the_bars():
    shown, bars = drawn(STARTED, progressed(1, 2, "song"), failed("[red]no[/red]"))
    assert "failed: song: [red]no[/red]" in shown
    assert not bars._bars
