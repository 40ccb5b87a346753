"""No registered secret survives in text, in whatever form it appears."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.observe.secrets import MASK, SecretRegistry, printable, register_settings, without_password
from musicq_async.observe.secrets import redact as redact_everywhere
from musicq_async.settings import BilibiliSettings, HttpSettings, Settings

COOKIE = 'SESSDATA=canary%2C1790000000%2Cab*cd; bili_jct="0123456789abcdef"; DedeUserID=1234567; x=1'


@pytest.fixture
def registry() -> SecretRegistry:
    registry = SecretRegistry()
    registry.register(COOKIE)
    return registry


@pytest.mark.parametrize(
    "form",
    [
        COOKIE,
        "canary%2C1790000000%2Cab*cd",
        "canary,1790000000,ab*cd",
        "canary%2c1790000000%2cab*cd",
        quote("canary%2C1790000000%2Cab*cd"),
        quote("canary,1790000000,ab*cd", safe=""),
        "0123456789abcdef",
    ],
)
def test_a_cookie_is_masked_in_every_form_whole_and_in_parts(registry, form):
    shown = registry.redact(f"int({form!r}) failed, see ?a={form}&b=2")
    assert form not in shown
    assert MASK in shown


def test_what_is_no_secret_stays(registry):
    text = "x=1; https://space.bilibili.com/1234567/favlist GET https://api.bilibili.com/x/web-interface/view?bvid=BV17x411w7KC 200 {braces}"
    assert registry.redact(text) == text


def test_a_short_secret_is_masked_as_a_word_only():
    registry = SecretRegistry()
    registry.register("musicq")
    assert registry.redact("mysql://musicq:musicq@db/musicq_async") == f"mysql://{MASK}:{MASK}@db/musicq_async"


def test_the_longer_of_two_secrets_is_masked_whole():
    registry = SecretRegistry()
    registry.register("0123456789abcdef")
    registry.register("0123456789abcdef-and-more")
    assert registry.redact("0123456789abcdef-and-more") == MASK


@pytest.mark.parametrize("nothing", ["", None, "ab", "a=; b="])
def test_nothing_worth_masking_masks_nothing(nothing):
    registry = SecretRegistry()
    registry.register(nothing)
    assert registry.redact("ab cd a=; true") == "ab cd a=; true"


@given(st.text(min_size=12, max_size=40).filter(lambda text: text.strip() == text and not set(text) & set("=;")))
def test_any_long_secret_is_gone_from_text_url_repr_and_json(secret):
    registry = SecretRegistry()
    registry.register(secret)
    for text in (
        secret,
        quote(secret),
        quote(secret, safe=""),
        unquote(quote(secret)),
        json.dumps(secret),
        repr(secret),
    ):
        shown = registry.redact(f"before {text} after")
        assert text.strip("'\"") not in shown
        assert MASK in shown


def test_settings_bring_their_secrets():
    register_settings(
        Settings(
            database_url="mysql+aiomysql://musicq:p%40ss-word-1@db/musicq",
            queue_url="redis://:queue-password@host/0",
            http=HttpSettings(proxy="socks5://me:proxy-password@host:1080"),
            bilibili=BilibiliSettings(cookie="SESSDATA=settings-canary-1"),
        )
    )
    text = "p%40ss-word-1 p@ss-word-1 queue-password proxy-password settings-canary-1"
    assert redact_everywhere(text) == " ".join([MASK] * 5)


def test_an_address_is_shown_without_its_password():
    assert without_password("mysql+aiomysql://u:pw@h/pw") == f"mysql+aiomysql://u:{MASK}@h/pw"
    assert without_password("sqlite+aiosqlite:////data/a.db") == "sqlite+aiosqlite:////data/a.db"
    assert without_password("not an address [") == "not an address ["


def test_control_characters_cannot_steer_a_terminal_or_forge_a_line():
    assert printable("a\x1b[2Jb\nc\td\u202ee") == "a\\x1b[2Jb\\nc\\td\\u202ee"
    assert printable("玉盘 – 葫芦童声 🎵") == "玉盘 – 葫芦童声 🎵"
