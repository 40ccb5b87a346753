"""What ``doctor`` finds out about this machine without opening the application."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypedDict

from musicq_async.observe.secrets import without_password
from musicq_async.settings import Settings, session_path, user_data_path

LITTLE_SPACE: Final = 500 << 20
"""Bytes of free disk below which ``doctor`` warns."""
OLDEST_SQLITE: Final = (3, 35, 0)
"""The first that knows ``RETURNING``."""


class Finding(TypedDict):
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    cure: str | None
    optional: bool
    """Whether the program works without it."""


def finding(name: str, *, ok: bool, message: str, cure: str | None = None, optional: bool = False) -> Finding:
    """Return one finding."""
    return Finding(name=name, ok=ok, message=message, cure=None if ok else cure, optional=optional)


def checkup(settings: Settings) -> list[Finding]:
    """Look at Python, SQLite, folders, disk, extras, ffmpeg, the clock and the cookie. Blocks; changes nothing."""
    return [
        _python(),
        _sqlite(settings),
        finding("database address", ok=True, message=without_password(settings.database_url)),
        *_folder("music folder", Path(settings.music_dir), "set music_dir to a folder that can be written"),
        *_log_file(settings),
        _extra("media", ("av", "mutagen"), "converting and tagging need it: pip install 'musicq_async[media]'"),
        _ffmpeg(),
        _zone(),
        _cookie(settings),
    ]


def _python() -> Finding:
    version = sys.version.split()[0]
    cure = "install Python 3.11 or newer"
    return finding("python", ok=sys.version_info >= (3, 11), message=f"{version} on {sys.platform}", cure=cure)


def _sqlite(settings: Settings) -> Finding:
    used = any(url.startswith("sqlite") for url in (settings.database_url, settings.queue_url))
    new = sqlite3.sqlite_version_info >= OLDEST_SQLITE
    cure = "use a Python with SQLite 3.35 or newer, or a MySQL or PostgreSQL database_url"
    return finding("sqlite", ok=new, message=sqlite3.sqlite_version, cure=cure, optional=not used)


def _folder(name: str, path: Path, cure: str) -> Iterator[Finding]:
    """Say whether files can be made in a folder, or the folder itself, and whether the disk has room."""
    there = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    try:
        with tempfile.TemporaryFile(dir=there, prefix=".musicq-"):
            pass
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or type(error).__name__}"
        yield finding(name, ok=False, message=message, cure=cure)
        return
    yield finding(name, ok=True, message=str(path) if there == path else f"{path} (will be made)")
    free = shutil.disk_usage(there).free
    message = f"{free / (1 << 30):.1f} GiB free"
    yield finding(f"{name}: disk", ok=free >= LITTLE_SPACE, message=message, cure="make room, or set music_dir")


def _log_file(settings: Settings) -> Iterator[Finding]:
    if settings.log.file == "":
        yield finding("log file", ok=True, message="none is written")
        return
    path = Path(settings.log.file).expanduser() if settings.log.file else user_data_path("musicq.log")
    if path.exists() and not os.access(path, os.W_OK):
        yield finding("log file", ok=False, message=f"{path} cannot be written", cure="set log.file, or its rights")
        return
    yield from (each for each in _folder("log file", path.parent, "set log.file") if each["name"] == "log file")


def _extra(name: str, modules: tuple[str, ...], cure: str) -> Finding:
    missing = [module for module in modules if find_spec(module) is None]
    message = f"{', '.join(missing)} missing" if missing else "installed"
    return finding(f"extra {name}", ok=not missing, message=message, cure=cure)


def _ffmpeg() -> Finding:
    path = shutil.which("ffmpeg")
    message = path or "not on PATH; PyAV does the work, mp3 takes longer"
    return finding("ffmpeg", ok=path is not None, message=message, cure="install ffmpeg for speed", optional=True)


def _zone() -> Finding:
    now = datetime.now().astimezone()
    return finding("clock", ok=now.year >= 2025, message=f"{now:%Y-%m-%d %H:%M:%S %Z (UTC%z)}", cure="set the clock")


def _cookie(settings: Settings) -> Finding:
    """Say whether there is a cookie, never what it is."""
    in_setting, in_file = "SESSDATA=" in settings.bilibili.cookie, session_path(settings.bilibili).is_file()
    there = in_setting or in_file
    message = "a cookie is set" if in_setting else "a session is kept in a file"
    message = message if there else "no session: songs come as a guest gets them"
    cure = "log in with 'musicq login' for better quality"
    return finding("bilibili cookie", ok=there, message=message, cure=cure, optional=True)
