"""What every test shares: the asyncio backend and a clean environment."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A developer's own MUSICQ_ variables and files must not reach a test."""
    for name in list(os.environ):
        if name.startswith("MUSICQ_") and not name.startswith("MUSICQ_TEST_"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_MUSIC_DIR", "HOME"):
        monkeypatch.setenv(name, str(home))
