"""Servers for tests: those that MUSICQ_TEST_..._URL name, else the ones that run on this machine, else private ones.

Without any a test is skipped and says why; with MUSICQ_TEST_REQUIRE_SERVICES=1 it fails instead.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import getpass
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import pytest

MYSQL_PORT = 3306
POSTGRES_PORT = 5432
REDIS_PORT = 6379
PATIENCE = 30.0


class Missing(Exception):
    """There is no such server and none can be started."""


def need(kind: str) -> str:
    """Return the address of a server's administrator, or skip the test (or fail it, where services are required)."""
    try:
        return {"mysql": mysql, "postgresql": postgres, "redis": redis}[kind]()
    except Missing as missing:
        if os.environ.get("MUSICQ_TEST_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{kind}: {missing}; MUSICQ_TEST_REQUIRE_SERVICES=1 forbids to skip")
        pytest.skip(f"{kind}: {missing}")


@contextlib.contextmanager
def fresh_database(kind: str, options: str = "") -> Iterator[str]:
    """Create a database of its own (``options`` follow its name), give its URL, and drop it."""
    admin = need(kind)
    name = f"musicq_test_{secrets.token_hex(6)}"
    execute(admin, f"CREATE DATABASE {name} {options or _DEFAULT_OPTIONS[kind]}")
    try:
        yield urlunsplit(urlsplit(admin)._replace(path=f"/{name}"))
    finally:
        execute(admin, f"DROP DATABASE {name}" + (" WITH (FORCE)" if kind == "postgresql" else ""))


_DEFAULT_OPTIONS = {
    "mysql": "CHARACTER SET utf8mb4",
    "postgresql": "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
}


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a server by its plain driver and return the rows of the last; each is committed by itself."""
    parts = urlsplit(url)
    login = {
        "host": parts.hostname,
        "port": parts.port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }
    if parts.scheme.startswith("mysql"):
        return _execute_mysql(login, parts.path.strip("/"), statements)
    return apart(_execute_postgres(login, parts.path.strip("/") or "postgres", statements))


def _execute_mysql(login: dict[str, Any], database: str, statements: tuple[str, ...]) -> list[tuple[Any, ...]]:
    import pymysql

    connection = pymysql.connect(**login, database=database or None, charset="utf8mb4", autocommit=True)
    rows: list[tuple[Any, ...]] = []
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            rows = list(cursor.fetchall())
    return rows


async def _execute_postgres(login: dict[str, Any], database: str, statements: tuple[str, ...]) -> list[tuple[Any, ...]]:
    import asyncpg

    connection = await asyncpg.connect(**login, database=database)
    rows: list[Any] = []
    try:
        for statement in statements:
            rows = await connection.fetch(statement)
    finally:
        await connection.close()
    return [tuple(row) for row in rows]


def apart(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a loop of its own thread: the test's loop may be running."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


@functools.cache
def mysql() -> str:
    """Address of a MySQL or MariaDB administrator."""
    url = os.environ.get("MUSICQ_TEST_MYSQL_URL")
    if url:
        return url
    local = f"mysql+aiomysql://root@127.0.0.1:{MYSQL_PORT}"
    return local if _answers(local, MYSQL_PORT) else start_mysql().url


@functools.cache
def postgres() -> str:
    """Address of a PostgreSQL superuser."""
    url = os.environ.get("MUSICQ_TEST_POSTGRES_URL")
    if url:
        return url
    local = f"postgresql+asyncpg://postgres@127.0.0.1:{POSTGRES_PORT}"
    return local if _answers(local, POSTGRES_PORT) else start_postgres().url


@functools.cache
def redis() -> str:
    """Address of a Redis."""
    url = os.environ.get("MUSICQ_TEST_REDIS_URL")
    if url:
        return url
    if _listens(REDIS_PORT):
        return f"redis://127.0.0.1:{REDIS_PORT}"
    return start_redis().url


def _answers(url: str, port: int) -> bool:
    if not _listens(port):
        return False
    try:
        return execute(url, "SELECT 1") == [(1,)]
    except Exception:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class PrivateServer:
    """A server of our own: its data outlives `kill` and `start`, and goes with the test session."""

    url: str
    command: list[str]
    port: int
    user: str | None
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log, user=self.user, cwd=self.folder)
        log.close()
        until = time.monotonic() + PATIENCE
        while not self._is_up():
            if self.process.poll() is not None or time.monotonic() > until:
                raise Missing(f"{self.command[0]} does not start; see {self.folder / 'log'}")
            time.sleep(0.05)

    def _is_up(self) -> bool:
        return _listens(self.port) if self.url.startswith("redis") else _answers(self.url, self.port)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it: SIGKILL for a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)
            self.process = None

    def remove(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def start_mysql() -> PrivateServer:
    """Start a MariaDB."""
    server, install = _binary("mariadbd", "mysqld"), _binary("mariadb-install-db", "mysql_install_db")
    folder, port = _folder(), free_port()
    user = getpass.getuser()
    data = f"--datadir={folder / 'data'}"
    subprocess.run(
        [install, "--no-defaults", data, f"--user={user}", "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
    )
    options = [f"--socket={folder / 'socket'}", f"--port={port}", "--bind-address=127.0.0.1", f"--user={user}"]
    return _started(f"mysql+aiomysql://root@127.0.0.1:{port}", [server, "--no-defaults", data, *options], port, folder)


def start_postgres() -> PrivateServer:
    """Start a PostgreSQL; as root it runs as another user, for it refuses to run as root."""
    server, install = _binary("postgres"), _binary("initdb")
    folder, port = _folder(), free_port()
    user = None
    if os.geteuid() == 0:
        user = next((name for name in ("postgres", "nobody") if _known_user(name)), None)
        shutil.chown(folder, user)
    data = str(folder / "data")
    subprocess.run(
        [install, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        check=True,
        capture_output=True,
        user=user,
        cwd=folder,
    )
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{port}"
    return _started(url, [server, "-D", data, *options], port, folder, user)


def start_redis(**given: str) -> PrivateServer:
    """Start a Redis that writes everything down; ``given`` are further lines of its configuration."""
    server, folder, port = _binary("redis-server"), _folder(), free_port()
    config = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "appendonly": "yes", "save": ""} | given
    options = [part for name, value in config.items() for part in (f"--{name.replace('_', '-')}", value)]
    return _started(f"redis://127.0.0.1:{port}", [server, *options], port, folder)


def _started(url: str, command: list[str], port: int, folder: Path, user: str | None = None) -> PrivateServer:
    server = PrivateServer(url=url, command=command, port=port, user=user, folder=folder)
    atexit.register(server.remove)
    server.start()
    return server


def _binary(*names: str) -> str:
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    for name in names:
        found = shutil.which(name, path=":".join([places, *map(str, newest)]))
        if found:
            return found
    raise Missing(f"no server answers and {names[0]} is not installed")


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="musicq-test-"))
    folder.chmod(0o755)
    return folder


def _known_user(name: str) -> bool:
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        return True
    return False


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
