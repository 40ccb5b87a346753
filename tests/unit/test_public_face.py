"""What a stranger finds under ``import musicq_async``."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import musicq_async
from musicq_async import errors

HEAVY = {
    "sqlalchemy",
    "alembic",
    "httpx",
    "av",
    "mutagen",
    "fastapi",
    "loguru",
    "croniter",
    "rich",
    "click",
    "anyio",
    "redis",
}


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after running the code."""
    script = f"{code}\nimport sys; print(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    assert not modules_after("import musicq_async") & HEAVY


def test_the_threaded_queue_needs_nothing_heavy():
    assert not modules_after("import musicq_async; musicq_async.MemoryQueue()") & HEAVY


@pytest.mark.parametrize("name", musicq_async.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(musicq_async, name) is not None


def test_every_error_of_the_tree_is_public():
    tree = [
        value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.MusicqError)
    ]
    assert {error.__name__ for error in tree} <= set(musicq_async.__all__)


def test_the_drawing_of_the_errors_names_every_class():
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, errors.MusicqError):
            assert f" {name}" in errors.__doc__ or name == "MusicqError"
            assert (f"{name} *" in errors.__doc__) is value.retryable


def test_an_unknown_name_is_an_attribute_error_and_dir_lists_the_public_ones():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = musicq_async.nonsense
    assert set(musicq_async.__all__) <= set(dir(musicq_async))
