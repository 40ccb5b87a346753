"""A caller that was cancelled closes the part while its thread is still at it: nothing stays locked or strays."""

from __future__ import annotations

import os
import threading

import pytest

from musicq_async.errors import TransferBroken
from musicq_async.media.files import open_folder
from musicq_async.media.partial import Held, PartFile


class HaltingFolder:
    """A folder in which one kind of call waits, once, until it may go on."""

    def __init__(self, path, call: str, name: str) -> None:
        self._folder = open_folder(path)
        self._call, self._name = call, name
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, attribute):
        method = getattr(self._folder, attribute)
        if attribute != self._call:
            return method

        def halting(name, *rest):
            if name == self._name and not self.reached.is_set():
                self.reached.set()
                self.go_on.wait(10)
            return method(name, *rest)

        return halting


def close_while(folder: HaltingFolder, part: PartFile, work) -> list[BaseException]:
    """Begin some work, close the part in the middle of it as a cancelled caller does, and let it end."""
    errors: list[BaseException] = []

    def doing() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=doing)
    worker.start()
    assert folder.reached.wait(10)
    closer = threading.Thread(target=part.close)
    closer.start()
    closer.join(0.2)  # it may wait for the work, or not
    folder.go_on.set()
    worker.join(10)
    closer.join(10)
    assert not worker.is_alive()
    assert not closer.is_alive()
    return errors


def left_by_another(path, name: str, content: bytes) -> None:
    """Leave what a killed download leaves in the first place."""
    (path / f"{name}.part").write_bytes(content)
    (path / f"{name}.pmeta").write_bytes(b"{}")


def test_a_finished_download_closed_while_it_sweeps_leaves_no_lock(tmp_path):
    first = PartFile.open(open_folder(tmp_path), "song")
    folder = HaltingFolder(tmp_path, "open", "song.pmeta")
    second = PartFile.open(folder, "song", owns_folder=True)  # takes the second place
    second.write([b"all of it"])
    first.write([b"half"])
    first.close()
    errors = close_while(folder, second, second.finish)
    assert errors == []
    assert (tmp_path / "song").read_bytes() == b"all of it"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["song"]


def test_a_note_closed_while_it_is_written_leaves_no_stray_file(tmp_path):
    folder = HaltingFolder(tmp_path, "replace", "song.pmeta~")
    part = PartFile.open(folder, "song", owns_folder=True)
    close_while(folder, part, lambda: part.note(Held(total=9)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "work",
    [
        lambda part: part.write([b"more"]),
        lambda part: part.begin(Held()),
        lambda part: part.note(Held(total=9)),
        lambda part: part.make_room(9, 0),
        lambda part: part.finish(),
    ],
    ids=["write", "begin", "note", "make_room", "finish"],
)
def test_a_closed_part_refuses_all_work_and_stays_as_it_is(tmp_path, work):
    part = PartFile.open(open_folder(tmp_path), "song", owns_folder=True)
    part.note(Held(total=4))
    part.write([b"half"])
    part.close()
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(TransferBroken, match="closed"):
        work(part)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_part_that_cannot_be_read_is_not_kept_locked(tmp_path):
    left_by_another(tmp_path, "song", b"half")
    folder = open_folder(tmp_path)

    class Broken:
        def __getattr__(self, attribute):
            return getattr(folder, attribute)

        def open(self, name, flags):
            if name.endswith(".pmeta"):
                raise OSError(5, os.strerror(5))
            return folder.open(name, flags)

    with pytest.raises(OSError, match="Input/output"):
        PartFile.open(Broken(), "song")
    again = PartFile.open(folder, "song")
    assert again.size == 4, "the first place was free again"
    again.close()
