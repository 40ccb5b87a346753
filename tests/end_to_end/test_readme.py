"""Everything that the two READMEs show is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for readme in READMES:
        text = (ROOT / readme).read_text("utf-8")
        for number, block in enumerate(re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL), 1):
            found.append(pytest.param(block, id=f"{readme}-{language}-{number}"))
    return found


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONDEVMODE": "0", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("block", blocks("python"))
def test_each_python_block_runs(block, tmp_path):
    if "FastAPI" in block:
        block += FASTAPI_CHECK
    done = run(block, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


FASTAPI_CHECK = """
import asyncio, httpx
async def sign_up():
    transport = httpx.ASGITransport(app=app)
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/signup", params={"email": "a@example.com"})).json()["task"]
asyncio.run(sign_up())
"""


def test_the_first_example_prints_its_result(tmp_path):
    done = run(blocks("python")[0].values[0], tmp_path)
    assert "hello 玉盘" in done.stdout


@pytest.mark.parametrize("block", blocks("toml"))
def test_each_settings_file_is_accepted(block, tmp_path, monkeypatch):
    from musicq_async import Settings

    (tmp_path / "musicq.toml").write_text(block, "utf-8")
    monkeypatch.chdir(tmp_path)
    assert Settings().bilibili.quality == "best"


def test_every_command_shown_is_one_that_the_command_line_has():
    from click.testing import CliRunner

    from musicq_async.cli import program

    help_text = CliRunner().invoke(program, ["--help"]).output
    for readme in READMES:
        for command in re.findall(r"python -m musicq_async ([a-z]+)", (ROOT / readme).read_text("utf-8")):
            assert command in help_text


def test_both_readmes_give_the_same_set_up_commands():
    first, second = ((ROOT / name).read_text("utf-8") for name in READMES)
    commands = re.findall(r"^python3 -m venv .*$", first, re.MULTILINE)
    assert len(commands) == 2
    assert commands == re.findall(r"^python3 -m venv .*$", second, re.MULTILINE)


def words(readme: str) -> set[str]:
    """Everything that a text sets in code, its blocks aside."""
    prose = re.sub(r"^```.*?^```", "", (ROOT / readme).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`([^`\n]+)`", prose))


def test_both_readmes_name_the_same_things():
    assert words(READMES[0]) == words(READMES[1])


@pytest.mark.anyio
async def test_the_readme_names_every_task_type_that_is_built_in(tmp_path):
    from musicq_async import Settings, open_musicq

    database = f"sqlite+aiosqlite:///{(tmp_path / 'musicq.db').as_posix()}"
    async with open_musicq(Settings(database_url=database, concurrency=0, scheduler=False)) as app:
        assert app.handlers.types <= words(READMES[0])
