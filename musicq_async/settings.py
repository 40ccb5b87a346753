"""Every setting with its default and unit, and the one place where settings are read and checked.

Each value comes from the first of: the argument, the variable ``MUSICQ_<NAME>`` (``MUSICQ_<SECTION>__<NAME>`` for
a section), ``./musicq.toml``, ``musicq.toml`` in the user's configuration folder, the default below.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import msgspec

from musicq_async.errors import SettingsError

PREFIX: Final = "MUSICQ_"
CONFIG_NAME: Final = "musicq.toml"

_WANTED: Final = {
    r"^https?://[^\s/?#@]+(/[^\s?#]*)?$": "give an http:// or https:// address without user name and query",
    r"^[^{}\x00\s]+$": "give a word without braces and blanks",
    r"^(https?|socks5h?)://[^\s]+$": "give an http:// or socks5:// address",
}
"""What a text must look like, for the machine and in words."""
_BASE, _WORD, _PROXY = _WANTED
WebBase = Annotated[str, msgspec.Meta(pattern=_BASE)]
"""An address that paths are put behind."""
Namespace = Annotated[str, msgspec.Meta(pattern=_WORD)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
PositiveCount = Annotated[int, msgspec.Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings."""

    def changed(self) -> dict[str, Any]:
        """Return the fields that differ from their default."""
        defaults = type(self)()
        pairs = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in pairs if value != getattr(defaults, name)}

    def __repr__(self) -> str:
        """Name what was changed without its value: cookies and proxy passwords live here."""
        return f"{type(self).__name__}(changed: {', '.join(self.changed()) or 'nothing'})"


class LogSettings(_Section, frozen=True, kw_only=True):
    """What the runner writes about its work."""

    level: Literal["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    file: str | None = None
    """Path of the rotating file; ``None`` puts it beside the default database, ``""`` writes none."""
    rotation: str = "10 MB"
    retention: str = "10 days"
    json: bool = False
    """One JSON document a line on stderr in place of text."""


class HttpSettings(_Section, frozen=True, kw_only=True):
    """What every download obeys."""

    allow_private: bool = False
    """Let downloads reach private and loopback addresses."""
    proxy: Annotated[str, msgspec.Meta(pattern=_PROXY)] | None = None
    """``http://`` or ``socks5://`` address for every request; ``None`` uses no proxy."""
    connect_timeout: PositiveSeconds = 10.0
    stall_timeout: PositiveSeconds = 20.0
    """Seconds without a byte after which a source is given up."""
    deadline: PositiveSeconds = 3600.0
    """Seconds that one file may take in all."""
    max_bytes: PositiveCount = 4 << 30
    """Size in bytes over which a download is refused."""
    rate_limit: Count = 0
    """Bytes a second for each download; 0 is no limit."""


class BilibiliSettings(_Section, frozen=True, kw_only=True):
    """How Bilibili is reached. The addresses are settings for the sake of tests and ``demo``."""

    api_url: WebBase = "https://api.bilibili.com"
    www_url: WebBase = "https://www.bilibili.com"
    passport_url: WebBase = "https://passport.bilibili.com"
    short_url: WebBase = "https://b23.tv"
    media_hosts: tuple[str, ...] = ()
    """Further hosts (``name`` or ``name:port``) that media and pictures may be fetched from."""
    cookie: str = ""
    """Cookie header as pasted from a browser; the public store key ``bilibili_cookie`` wins over it."""
    cookie_file: str = ""
    """File (mode 0600) that ``login`` keeps the session in, used where neither of those two has one; empty means
    ``session`` in the user's data folder."""
    api_rate: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    """Requests a second to the API, for all workers of an account together."""
    quality: Literal["best", "hires", "dolby", "320k", "192k", "128k", "64k"] = "best"
    """Sound quality where a task names none: the best that there is up to this."""
    ask_lyrics: Literal["auto", "always", "never"] = "auto"
    """When to spend a call on a video's lyrics: ``auto`` for what is downloaded by its own link, not for what comes out
    of a list. A song of the audio zone brings its own at no cost."""


class RedisSettings(_Section, frozen=True, kw_only=True):
    """What a Redis queue must be."""

    allow_volatile: bool = False
    """Accept a Redis that may drop data (no append-only file, or an evicting memory policy)."""
    namespace: Namespace = "musicq"
    """What every key begins with: applications with different ones share a Redis and see nothing of each other."""


class RetentionSettings(_Section, frozen=True, kw_only=True):
    """Seconds that finished tasks are kept."""

    completed: Seconds = 86_400.0
    cancelled: Seconds = 86_400.0
    failed: Seconds = 604_800.0


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False)
class Settings:
    """The settings of one application; frozen.

    ``Settings(concurrency=2)`` takes what is given and reads the rest from the environment and ``musicq.toml``.
    A section may be given as its class or as a dict; ``None`` counts as not given. Raises `SettingsError`, which
    names the setting and says where the bad value came from.
    """

    database_url: str = ""
    """Async SQLAlchemy address; empty means a SQLite file in the user's data folder."""
    queue_url: str = ""
    """``memory://``, an async SQLAlchemy address or ``redis://``; empty means ``database_url``."""
    music_dir: str = ""
    """Folder that keeps the audio files; empty means ``musicq`` in the user's music folder."""
    concurrency: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 4
    """Tasks that run at once in this process; 0 runs no workers."""
    scheduler: bool = True
    """Whether this process fires schedules."""
    handlers: str = ""
    """``MODULE:NAME`` of the caller's own ``Handlers``, for the runner."""
    check_interval: PositiveSeconds = 10.0
    """Seconds within which another process's edits of schedules are seen."""
    poll_interval: PositiveSeconds = 1.0
    """Seconds within which a task pushed by another process is seen."""
    lease: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 10.0
    """Seconds after which the tasks of a dead worker run again; renewed while a task runs."""
    shutdown_grace: Seconds = 10.0
    """Seconds that running tasks have to finish at shutdown before they are cancelled and put back."""
    max_crashes: PositiveCount = 3
    """Times that a task may take its process down before it is failed."""
    name_style: Literal["seed", "wide", "plain"] = "seed"
    """How characters that a file name cannot hold are written."""
    name_template: str = "{title}{tags} - {artists}"
    """Folders and name of a new file, such as ``{artist}/[{index:03} ]{title}{tags}``: ``{a|b}`` is the first that has
    a value, ``[...]`` is left out unless every field in it has one. Fields: title, base, tags, artists, artist,
    uploader, video_title, part, page, pages, bvid, cid, date, quality, collection, index."""
    audio_format: str = ""
    """Format that every song is converted to on arrival (mp3, flac, opus, m4a, wav...); empty keeps it as it came."""
    bitrate: str = ""
    """Bit rate of that conversion, such as ``320k``; empty is what the source deserves."""
    loudness: Literal["site", "measured", "none"] = "site"
    """Where the ReplayGain tags come from: what the site says, or a measurement (a second for five minutes)."""
    lyrics: Literal["both", "embedded", "file", "none"] = "both"
    """Where lyrics go: into the song, into a ``.lrc`` file beside it, both, or nowhere."""
    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()
    bilibili: BilibiliSettings = BilibiliSettings()
    redis: RedisSettings = RedisSettings()
    retention: RetentionSettings = RetentionSettings()

    @property
    def queues_in_redis(self) -> bool:
        """Whether tasks and shared values are kept in Redis."""
        return self.queue_url.startswith(("redis://", "rediss://", "unix://"))

    def __init__(self, **given: Any) -> None:
        _refuse_unknown(given)
        layers = [
            ("the argument", {name: _plain(value) for name, value in given.items() if value is not None}),
            *_environment(),
            *_files(),
        ]
        values = _checked(layers)
        values["database_url"] = (
            values["database_url"] or f"sqlite+aiosqlite:///{user_data_path('musicq.db').as_posix()}"
        )
        values["queue_url"] = values["queue_url"] or values["database_url"]
        values["music_dir"] = values["music_dir"] or str(_user_music_path())
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Leave out what may hold a secret: addresses with passwords and the cookie."""
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in ("music_dir", "concurrency", "scheduler"))
        return f"Settings({shown}, ...)"


Layer = tuple[str, dict[str, Any]]
"""Where values came from, in words, and the values by name (sections nested)."""


def user_data_path(name: str) -> Path:
    """Path of a file in the folder where this system keeps an application's data (not created here)."""
    import platformdirs  # noqa: PLC0415 - 10 ms that only defaults need

    return platformdirs.user_data_path("musicq", appauthor=False) / name


def session_path(settings: BilibiliSettings) -> Path:
    """Path of the file that ``login`` keeps the session in."""
    return Path(settings.cookie_file).expanduser() if settings.cookie_file else user_data_path("session")


def _user_music_path() -> Path:
    import platformdirs  # noqa: PLC0415

    return platformdirs.user_music_path() / "musicq"


@functools.cache
def _shape() -> type[msgspec.Struct]:
    hints = get_type_hints(Settings, include_extras=True)
    fields = [(field.name, hints[field.name], field.default) for field in dataclasses.fields(Settings)]
    return msgspec.defstruct("SettingsShape", fields, kw_only=True)


def _refuse_unknown(given: dict[str, Any]) -> None:
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in given:
        if name not in known:
            raise SettingsError(f"unknown setting {name!r}; known are {', '.join(known)}")


def _plain(value: Any) -> Any:
    """Turn sections and paths into the plain values that `_checked` takes."""
    if isinstance(value, _Section):
        return value.changed()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _environment() -> list[Layer]:
    """Read every ``MUSICQ_`` variable that names a setting; others (``MUSICQ_TEST_...``) are not ours."""
    layers: list[Layer] = []
    hints = get_type_hints(Settings)
    for variable, text in os.environ.items():
        if not variable.startswith(PREFIX):
            continue
        name, _, inner = variable.removeprefix(PREFIX).lower().partition("__")
        kind = hints.get(name)
        section = isinstance(kind, type) and issubclass(kind, _Section)
        if kind is None or section is not bool(inner) or (section and inner not in kind.__struct_fields__):
            continue
        value: Any = text
        if section and inner == "media_hosts":
            value = [host for host in text.replace(",", " ").split() if host]
        layers.append((f"the variable {variable}", {name: {inner: value} if inner else value}))
    return layers


def _files() -> list[Layer]:
    import platformdirs  # noqa: PLC0415

    layers: list[Layer] = []
    for path in (Path(CONFIG_NAME), platformdirs.user_config_path("musicq", appauthor=False) / CONFIG_NAME):
        try:
            text = path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"cannot read {path}: {type(error).__name__}; make it readable UTF-8 or remove it"
            ) from error
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path} is not valid TOML: {error}") from error
        try:
            _refuse_unknown(values)
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from error
        layers.append((str(path), values))
    return layers


def _checked(layers: list[Layer]) -> dict[str, Any]:
    """Check each layer by itself, so that an error can name its origin, then let the first that speaks win."""
    merged: dict[str, Any] = {}
    for origin, values in layers:
        try:
            msgspec.convert(values, type=_shape(), strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(_readable(error, origin)) from None  # the original would print the value
        for name, value in values.items():
            if isinstance(value, dict):
                merged[name] = value | merged.get(name, {})
            else:
                merged.setdefault(name, value)
    shaped = msgspec.convert(merged, type=_shape(), strict=False)
    return {name: getattr(shaped, name) for name in shaped.__struct_fields__}


def _readable(error: msgspec.ValidationError, origin: str) -> str:
    what, _, where = str(error).partition(" - at `$.")
    name = where.rstrip("`") or "settings"
    if what.startswith("Invalid enum value"):
        what = f"give one of {', '.join(_choices(name))}"
    what = next((words for pattern, words in _WANTED.items() if repr(pattern) in what), what)
    return f"{name}: {what[:1].lower()}{what[1:]} (from {origin})"


def _choices(name: str) -> tuple[str, ...]:
    """Return the words that a setting may be."""
    kind: Any = Settings
    for part in name.split("."):
        kind = get_type_hints(kind)[part]
    return get_args(kind)
