"""Templates of names: ``{title}{tags}[ ({quality})] - {artists|uploader}``."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from musicq_async.errors import SettingsError
from musicq_async.media.names.values import SongName, Tag

FIELDS: Final = frozenset(
    "title base tags artists artist uploader video_title part page pages bvid cid date quality collection index".split()  # noqa: SIM905 - reads as the list of the docs
)
DEFAULT_TEMPLATE: Final = "{title}{tags} - {artists}"
_SIGNS: Final = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{([^{}]*)\}|[\[\]/\\{}]")
_NUMBER: Final = re.compile(r"\A0?\d*d?\Z")


@dataclass(frozen=True, slots=True)
class Literal:
    """Text of the template itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Field:
    """``{a|b:spec}``: the first of the fields that is not empty."""

    names: tuple[str, ...]
    spec: str


@dataclass(frozen=True, slots=True)
class Section:
    """``[...]``: printed only if every field in it has a value."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Separator:
    """A ``/`` of the template: what follows is the next folder or the file."""


Part = Literal | Field | Section | Separator


def render(template: str, fields: Mapping[str, object], *, join: str = " / ") -> str:
    """Fill in a template and return one line of text, not yet made safe; a ``/`` of the template stays.

    Raises ``SettingsError`` for a template that is malformed or names a field that does not exist.
    """
    return "/".join(rendered_components(template, fields, join=join))


def rendered_components(template: str, fields: Mapping[str, object], *, join: str = " / ") -> list[str]:
    r"""Fill in a template and split it where the template, not a value, has a ``/`` or ``\\``."""
    components: list[list[Literal | Field]] = [[]]
    for part in _chosen(parse_template(template), fields, join):
        if isinstance(part, Separator):
            components.append([])
        else:
            components[-1].append(part)
    return ["".join(_lines(component, fields, join)) for component in components]


def _chosen(parts: Sequence[Part], fields: Mapping[str, object], join: str) -> Iterator[Literal | Field | Separator]:
    """Flatten the sections: one that lacks a value disappears."""
    for part in parts:
        if not isinstance(part, Section):
            yield part
        elif all(_value(field, fields, join) for field in part.parts if isinstance(field, Field)):
            yield from _chosen(part.parts, fields, join)


def _lines(parts: Sequence[Literal | Field], fields: Mapping[str, object], join: str) -> Iterator[str]:
    """Print one component; a `` - `` of the template goes where one of its sides has nothing but empty fields."""
    sides: list[list[str]] = [[]]
    has_field = [False]
    for part in parts:
        if isinstance(part, Field):
            sides[-1].append(_value(part, fields, join))
            has_field[-1] = True
            continue
        first, *others = part.text.split(" - ")
        sides[-1].append(first)
        for other in others:
            sides.append([other])
            has_field.append(False)
    texts = ["".join(side) for side in sides]
    yield " - ".join(text for text, filled in zip(texts, has_field, strict=True) if text.strip() or not filled)


def _value(field: Field, fields: Mapping[str, object], join: str) -> str:
    for name in field.names:
        text = _printed(name, fields.get(name), field.spec, join)
        if text:
            return text
    return ""


def _printed(name: str, value: object, spec: str, join: str) -> str:
    """Print one value; None and empty values print nothing, zero is a value."""
    if value is None or value == "":
        return ""
    if isinstance(value, (list, tuple)):
        return ("" if name == "tags" else join).join(
            item.written if isinstance(item, Tag) else str(item) for item in value
        )
    if name == "date":
        return _date(value, spec)
    if not spec:
        return str(value)
    try:
        return format(int(str(value)), spec)
    except ValueError:
        return format(str(value), "") if not str(value).isdecimal() else str(value)


def _date(value: object, spec: str) -> str:
    """Print a date, a time or epoch seconds (UTC)."""
    if isinstance(value, (int, float)):
        value = dt.datetime.fromtimestamp(value, tz=dt.UTC)
    if isinstance(value, dt.date):
        return value.strftime(spec or "%Y-%m-%d")
    return str(value)


@lru_cache(maxsize=64)
def parse_template(template: str) -> tuple[Part, ...]:
    """Read a template. ``{{``, ``}}``, ``[[`` and ``]]`` stand for the bracket itself."""
    stack: list[list[Part]] = [[]]
    position = 0
    for match in _SIGNS.finditer(template):
        _add_text(stack[-1], template[position : match.start()])
        position = match.end()
        sign = match.group()
        if sign == "[":
            stack.append([])
        elif sign == "]":
            _close(stack, template)
        elif sign in "/\\":
            stack[-1].append(Separator())
        elif sign in {"{{", "}}", "[[", "]]"}:
            _add_text(stack[-1], sign[0])
        else:
            stack[-1].append(_field(match[1], template))
    _add_text(stack[-1], template[position:])
    if len(stack) > 1:
        raise SettingsError(
            f"The name template {template!r} opens a '[' that it does not close; write '[[' for the sign itself."
        )
    return tuple(stack[0])


def check_template(template: str) -> None:
    """Raise ``SettingsError`` for a template that is malformed, or would give every song of a folder one name."""
    name: list[Part] = []
    for part in _flat(parse_template(template)):
        name = [] if isinstance(part, Separator) else [*name, part]
    if not any(isinstance(part, Field) for part in name):
        raise SettingsError(f"The name template {template!r} needs a field behind its last '/', such as {{title}}.")


def _flat(parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        if isinstance(part, Section):
            yield from _flat(part.parts)
        else:
            yield part


def _add_text(parts: list[Part], text: str) -> None:
    if text and parts and isinstance(parts[-1], Literal):
        parts[-1] = Literal(parts[-1].text + text)
    elif text:
        parts.append(Literal(text))


def _close(stack: list[list[Part]], template: str) -> None:
    if len(stack) == 1:
        raise SettingsError(
            f"The name template {template!r} closes a ']' that it did not open; write ']]' for the sign itself."
        )
    section = Section(tuple(stack.pop()))
    stack[-1].append(section)


def _field(inside: str | None, template: str) -> Field:
    if inside is None:
        raise SettingsError(
            f"The name template {template!r} has a lone brace; write '{{{{' or '}}}}' for the sign itself."
        )
    listed, _, spec = inside.partition(":")
    names = tuple(name.strip() for name in listed.split("|"))
    for name in names:
        if name not in FIELDS:
            raise SettingsError(
                f"The name template {template!r} has no field {name!r}; there are: {', '.join(sorted(FIELDS))}."
            )
    if spec and "date" not in names and not _NUMBER.match(spec):
        raise SettingsError(f"The name template {template!r} has a width {spec!r} that is no number, such as 02.")
    return Field(names, spec)


def song_fields(song: SongName) -> dict[str, object]:
    """Return the fields that a template can print of a song."""
    return {
        "title": song.title,
        "base": song.base,
        "tags": song.tags,
        "artists": song.artists,
        "artist": song.artists[0] if song.artists else "",
    }
