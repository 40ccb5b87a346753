"""The registry of secret values, and the functions that take them out of text before anybody sees it.

Values are registered, not names: a cookie is found in a traceback, an address or a foreign library's message alike.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

from musicq_async.settings import Settings

MASK: Final = "[secret]"
SHORTEST: Final = 4
"""Characters below which a value is not masked: it would garble every text, and protects nothing."""
LONG: Final = 12
"""Characters from which a value is masked wherever it stands; a shorter one only as a whole word, so that the password
``musicq`` leaves ``musicq_async`` alone."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PUBLIC: Final = frozenset({"dedeuserid"})
"""Names of cookies that hold no secret: a user's number stands in the addresses of all his lists."""
_MEANINGLESS: Final = frozenset({"true", "false", "none", "null", "http", "https", "path", "domain"})


class SecretRegistry:
    """Secret values and the pattern that finds them. Threads may use it at once."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def register(self, value: str | None) -> None:
        """Add a secret: as it is, percent-quoted, unquoted, and each ``name=value`` part of a cookie header."""
        if not value:
            return
        forms = {form for part in _parts(value) for form in _forms(part) if _worth_masking(form)}
        with self._lock:
            if forms <= self._values:
                return
            self._values |= forms
            longest_first = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(_pattern, longest_first)))

    def redact(self, text: str) -> str:
        """Return the text with every registered secret replaced by ``[secret]``."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(MASK, text)


_registry: Final = SecretRegistry()
register_secret: Final = _registry.register
redact: Final = _registry.redact


def register_settings(settings: Settings) -> None:
    """Register what is secret in the settings: the cookie, and the passwords of addresses."""
    register_secret(settings.bilibili.cookie)
    for url in (settings.database_url, settings.queue_url, settings.http.proxy):
        register_secret(_password(url or ""))


def printable(text: str) -> str:
    """Redact, and write control characters as escapes: what the net names must not steer a terminal or forge a line."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), redact(text))


def without_password(url: str) -> str:
    """Return a database address that may be shown."""
    password = _password(url)
    return url if not password else url.replace(f":{password}@", f":{MASK}@", 1)


def _password(url: str) -> str:
    """Return the password of an address as it is written there."""
    try:
        user, at, _ = urlsplit(url).netloc.rpartition("@")
    except ValueError:  # not an address at all: whoever opens it will say so
        return ""
    return user.partition(":")[2] if at else ""


def _parts(value: str) -> Iterator[str]:
    yield value.strip()
    if "=" in value:
        for pair in value.split(";"):
            name, _, part = pair.partition("=")
            if name.strip().lower() not in _PUBLIC:
                yield part.strip().strip('"')


def _forms(value: str) -> Iterable[str]:
    forms = {value, unquote(value)}
    forms |= {quoted for form in forms for quoted in (quote(form), quote(form, safe=""), quote_plus(form))}
    forms |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in forms}
    return forms | {written[1:-1] for form in forms for written in (repr(form), json.dumps(form), _plain_json(form))}


def _plain_json(form: str) -> str:
    return json.dumps(form, ensure_ascii=False)


def _pattern(form: str) -> str:
    return re.escape(form) if len(form) >= LONG else rf"(?<!\w){re.escape(form)}(?!\w)"


def _worth_masking(form: str) -> bool:
    return len(form) >= SHORTEST and form.lower() not in _MEANINGLESS
