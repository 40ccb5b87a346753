"""Settings: every default, where values come from, which origin wins, and errors that name both and show no secret."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from musicq_async.errors import SettingsError
from musicq_async.settings import (
    BilibiliSettings,
    HttpSettings,
    LogSettings,
    RedisSettings,
    RetentionSettings,
    Settings,
    user_data_path,
)

SECRET = "SESSDATA=settings-canary-42"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def user_file(monkeypatch, tmp_path) -> Path:
    """The path of the user's own configuration file, not yet there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    import platformdirs

    path = platformdirs.user_config_path("musicq", appauthor=False) / "musicq.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_the_defaults():
    settings = Settings()
    assert {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.name not in {"database_url", "queue_url", "music_dir"}
    } == {
        "concurrency": 4,
        "scheduler": True,
        "handlers": "",
        "check_interval": 10.0,
        "poll_interval": 1.0,
        "lease": 10.0,
        "shutdown_grace": 10.0,
        "max_crashes": 3,
        "name_style": "seed",
        "name_template": "{title}{tags} - {artists}",
        "audio_format": "",
        "bitrate": "",
        "loudness": "site",
        "lyrics": "both",
        "log": LogSettings(level="INFO", file=None, rotation="10 MB", retention="10 days", json=False),
        "http": HttpSettings(
            allow_private=False,
            proxy=None,
            connect_timeout=10,
            stall_timeout=20,
            deadline=3600,
            max_bytes=4 * 1024**3,
            rate_limit=0,
        ),
        "bilibili": BilibiliSettings(
            api_url="https://api.bilibili.com",
            www_url="https://www.bilibili.com",
            passport_url="https://passport.bilibili.com",
            short_url="https://b23.tv",
            media_hosts=(),
            cookie="",
            api_rate=1,
            quality="best",
        ),
        "redis": RedisSettings(allow_volatile=False, namespace="musicq"),
        "retention": RetentionSettings(completed=86_400, cancelled=86_400, failed=604_800),
    }


def test_by_default_the_queue_is_the_database_and_both_live_in_the_users_folders():
    settings = Settings()
    assert settings.database_url == f"sqlite+aiosqlite:///{user_data_path('musicq.db').as_posix()}"
    assert settings.queue_url == settings.database_url
    assert Path(settings.music_dir).name == "musicq"
    assert Settings(database_url="sqlite+aiosqlite:///a.db").queue_url == "sqlite+aiosqlite:///a.db"
    assert Settings(queue_url="memory://").database_url == settings.database_url


@pytest.mark.parametrize(
    ("variable", "text", "read"),
    [
        ("MUSICQ_CONCURRENCY", "7", lambda settings: settings.concurrency == 7),
        ("MUSICQ_SCHEDULER", "false", lambda settings: settings.scheduler is False),
        ("MUSICQ_SCHEDULER", "0", lambda settings: settings.scheduler is False),
        ("MUSICQ_LEASE", "2.5", lambda settings: settings.lease == 2.5),
        ("MUSICQ_MUSIC_DIR", "/music", lambda settings: settings.music_dir == "/music"),
        ("MUSICQ_LOG__LEVEL", "DEBUG", lambda settings: settings.log.level == "DEBUG"),
        ("MUSICQ_REDIS__NAMESPACE", "home", lambda settings: settings.redis.namespace == "home"),
        ("MUSICQ_LOG__JSON", "1", lambda settings: settings.log.json is True),
        ("MUSICQ_HTTP__ALLOW_PRIVATE", "true", lambda settings: settings.http.allow_private is True),
        ("MUSICQ_HTTP__MAX_BYTES", "1000", lambda settings: settings.http.max_bytes == 1000),
        ("MUSICQ_BILIBILI__API_URL", "http://127.0.0.1:1", lambda settings: settings.bilibili.api_url.endswith(":1")),
        ("MUSICQ_BILIBILI__API_RATE", "200", lambda settings: settings.bilibili.api_rate == 200),
        ("MUSICQ_BILIBILI__MEDIA_HOSTS", "a:1, b", lambda settings: settings.bilibili.media_hosts == ("a:1", "b")),
        ("MUSICQ_BILIBILI__COOKIE", SECRET, lambda settings: settings.bilibili.cookie == SECRET),
        ("MUSICQ_REDIS__ALLOW_VOLATILE", "yes", None),
        ("MUSICQ_RETENTION__FAILED", "60", lambda settings: settings.retention.failed == 60),
    ],
)
def test_the_environment_is_read_with_sections_after_two_underscores(monkeypatch, variable, text, read):
    monkeypatch.setenv(variable, text)
    if read is None:
        with pytest.raises(SettingsError, match=variable):
            Settings()
    else:
        assert read(Settings())


def test_variables_that_name_no_setting_are_not_ours(monkeypatch):
    for name in (
        "MUSICQ_TEST_MYSQL_URL",
        "MUSICQ_LOG",
        "MUSICQ_CONCURRENCY__X",
        "MUSICQ_LOG__NONE",
        "_MUSICQ_COMPLETE",
    ):
        monkeypatch.setenv(name, "whatever")
    assert Settings() == Settings(concurrency=4)


def test_an_argument_wins_over_the_environment_over_the_file_here_over_the_users_file(monkeypatch, user_file):
    user_file.write_text("concurrency = 1\nlease = 1\nmax_crashes = 1\nshutdown_grace = 1\n[log]\nlevel = 'ERROR'\n")
    Path("musicq.toml").write_text("concurrency = 2\nlease = 2\nmax_crashes = 2\n[log]\njson = true\n")
    monkeypatch.setenv("MUSICQ_CONCURRENCY", "3")
    monkeypatch.setenv("MUSICQ_LEASE", "3")
    monkeypatch.setenv("MUSICQ_LOG__ROTATION", "1 MB")
    settings = Settings(concurrency=4, log={"retention": "1 day"})
    assert (settings.concurrency, settings.lease, settings.max_crashes, settings.shutdown_grace) == (4, 3, 2, 1)
    assert settings.log == LogSettings(level="ERROR", json=True, rotation="1 MB", retention="1 day")


def test_a_section_may_be_its_class_or_a_dict_and_only_what_it_changes_counts(monkeypatch):
    monkeypatch.setenv("MUSICQ_LOG__LEVEL", "DEBUG")
    for log in (LogSettings(json=True), {"json": True}):
        assert Settings(log=log).log == LogSettings(level="DEBUG", json=True)


def test_none_counts_as_not_given(monkeypatch):
    monkeypatch.setenv("MUSICQ_CONCURRENCY", "3")
    assert Settings(concurrency=None, database_url=None).concurrency == 3


def test_a_path_may_be_given_as_a_path(tmp_path):
    assert Settings(music_dir=tmp_path).music_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"concurrency": -1}, "concurrency"),
        ({"concurrency": "many"}, "concurrency"),
        ({"lease": 0}, "lease"),
        ({"name_style": "baroque"}, "name_style: give one of seed, wide, plain"),
        ({"log": {"level": "LOUD"}}, r"log\.level: give one of TRACE, DEBUG, INFO"),
        ({"bilibili": {"quality": "loud"}}, r"bilibili\.quality: give one of best, hires"),
        ({"http": {"proxy": "nonsense"}}, r"http\.proxy: give an http:// or socks5:// address"),
        ({"http": {"connect_timeout": 0}}, r"http\.connect_timeout"),
        ({"http": {"nothing": 1}}, "nothing"),
        ({"bilibili": {"api_rate": 0}}, r"bilibili\.api_rate"),
        ({"bilibili": {"api_url": "notaurl"}}, r"bilibili\.api_url: give an http:// or https:// address"),
        ({"bilibili": {"short_url": "ftp://x"}}, r"bilibili\.short_url: give an http"),
        ({"bilibili": {"www_url": "https://"}}, r"bilibili\.www_url: give an http"),
        ({"bilibili": {"passport_url": "https://u:p@host"}}, r"bilibili\.passport_url: give an http"),
        ({"redis": {"namespace": "a b"}}, r"redis\.namespace: give a word"),
        ({"concurency": 3}, "concurency"),
    ],
)
def test_a_wrong_argument_is_named(given, named):
    with pytest.raises(SettingsError, match=named):
        Settings(**given)


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("MUSICQ_HTTP__DEADLINE", "soon")
    with pytest.raises(SettingsError, match=r"http\.deadline.*MUSICQ_HTTP__DEADLINE"):
        Settings()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("concurrency = 'many'", "concurrency"),
        ("concurrency = [", "not valid TOML"),
        ("concurency = 2", "concurency"),
        ("[log]\nloud = true", "loud"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong_in_it(user_file, text, what):
    for path in (Path("musicq.toml"), user_file):
        path.write_text(text)
        with pytest.raises(SettingsError, match=what) as caught:
            Settings()
        assert str(path) in str(caught.value)
        path.unlink()


def test_a_file_that_is_not_utf8_is_named():
    Path("musicq.toml").write_bytes("music_dir = '音乐'".encode("gb18030"))
    with pytest.raises(SettingsError, match=r"musicq\.toml"):
        Settings()


@pytest.mark.parametrize(
    "given",
    [
        {"database_url": 7, "bilibili": {"cookie": [SECRET]}},
        {"bilibili": {"cookie": {"SESSDATA": SECRET}}},
        {"bilibili": {"cookie": SECRET, "api_rate": SECRET}},
        {"http": {"proxy": ["http://me:settings-canary-42@host"]}},
    ],
)
def test_no_error_shows_a_secret(given):
    with pytest.raises(SettingsError) as caught:
        Settings(**given)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "canary" not in repr(caught.value.__context__)


def test_no_repr_shows_a_secret():
    settings = Settings(
        database_url="mysql+aiomysql://u:settings-canary-42@h/d",
        http=HttpSettings(proxy="http://u:settings-canary-42@h"),
        bilibili=BilibiliSettings(cookie=SECRET),
    )
    for shown in (repr(settings), str(settings), f"{settings.bilibili}", repr(settings.http)):
        assert "canary" not in shown
    assert "cookie" in repr(settings.bilibili)


def test_settings_are_frozen_compare_and_travel():
    settings = Settings(concurrency=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.concurrency = 3
    assert settings == Settings(concurrency=2) != Settings(concurrency=3)
    assert pickle.loads(pickle.dumps(settings)) == settings
