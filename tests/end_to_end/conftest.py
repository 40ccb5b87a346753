"""A music server of the test's own: a database, folders, and a way to call the command line in this process."""

from __future__ import annotations

import json
import shutil

import pytest

from musicq_async.cli import exit_code


@pytest.fixture(scope="session")
def new_database(tmp_path_factory):
    """An empty, migrated database, to be copied: migrating takes longer than most commands."""
    path = tmp_path_factory.mktemp("database") / "musicq.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICQ_DATABASE_URL", f"sqlite+aiosqlite:///{path.as_posix()}")
        assert exit_code(["db", "upgrade"]) == 0
    return path


@pytest.fixture
def home(tmp_path, monkeypatch, new_database):
    """Point every setting that names a place into a temporary folder."""
    shutil.copy(new_database, tmp_path / "musicq.db")
    monkeypatch.setenv("MUSICQ_DATABASE_URL", f"sqlite+aiosqlite:///{(tmp_path / 'musicq.db').as_posix()}")
    monkeypatch.setenv("MUSICQ_MUSIC_DIR", str(tmp_path / "music"))
    monkeypatch.setenv("MUSICQ_LOG__FILE", str(tmp_path / "musicq.log"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def musicq(home, capsys):
    """Call a command: ``musicq("tasks", "--json")``; the answer has ``code``, ``out``, ``err`` and ``json``."""

    class Answer:
        def __init__(self, code, told):
            self.code, self.out, self.err = code, told.out, told.err

        @property
        def json(self):
            return json.loads(self.out)

        @property
        def line(self):
            (line,) = self.out.splitlines()
            return line

    def call(*arguments, code=0):
        capsys.readouterr()
        answer = Answer(exit_code(arguments), capsys.readouterr())
        assert answer.code == code, answer.err
        assert "Traceback" not in answer.err
        return answer

    return call
