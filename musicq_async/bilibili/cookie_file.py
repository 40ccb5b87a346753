"""The file that keeps a session: readable by its owner alone, replaced in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from musicq_async.bilibili.credentials import Credentials, parse_cookie
from musicq_async.errors import InvalidParams, SettingsError

_MAX_SIZE: Final = 64 * 1024


class CookieFile:
    """One session in a file of mode 0600; the text inside is what a browser would show."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    async def load(self) -> Credentials | None:
        """Return the session, ``None`` if there is none. Raises `SettingsError` for a file that cannot be read."""
        text = await anyio.to_thread.run_sync(self._read)
        try:
            return parse_cookie(text) if text else None
        except InvalidParams:
            raise SettingsError(
                f"the session in {self._path} cannot be read; log in again with 'musicq login', or remove the file"
            ) from None

    async def save(self, credentials: Credentials) -> None:
        """Write the session and put it on the disk; a crash leaves the old or the new one. Finished when cancelled."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._write, credentials.text)

    async def delete(self) -> bool:
        """Remove the file; return whether it was there."""
        return await anyio.to_thread.run_sync(self._remove)

    def _read(self) -> str:
        try:
            with self._path.open(encoding="utf-8") as file:
                return file.read(_MAX_SIZE)
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the session in {self._path} ({type(error).__name__})") from error

    def _write(self, text: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # mkstemp opens with mode 0600: the secret is never readable by others, not even for a moment.
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise SettingsError(f"cannot write the session to {self._path} ({type(error).__name__})") from error

    def _remove(self) -> bool:
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SettingsError(f"cannot remove {self._path} ({type(error).__name__})") from error
        return True
