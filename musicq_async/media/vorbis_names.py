"""Tags as named fields with any number of values, the way Vorbis comments have them: pure, and the base of others."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from musicq_async.media.tag_values import ReplayGain, Tags

_LISTS: Final = {"ARTIST": "artists", "ALBUMARTIST": "album_artists", "COMPOSER": "composers", "GENRE": "genres"}
_TEXTS: Final = {
    "TITLE": "title",
    "ALBUM": "album",
    "DATE": "date",
    "COMMENT": "comment",
    "WEBSITE": "url",
    "LYRICS": "lyrics",
}
_NUMBERS: Final = {"TRACKNUMBER": "track", "TRACKTOTAL": "tracks", "DISCNUMBER": "disc", "DISCTOTAL": "discs"}
_ALSO: Final = {
    "ALBUM ARTIST": "ALBUMARTIST",
    "ALBUM_ARTIST": "ALBUMARTIST",
    "DESCRIPTION": "COMMENT",
    "YEAR": "DATE",
    "PURL": "WEBSITE",
    "URL": "WEBSITE",
    "WWW": "WEBSITE",
    "UNSYNCEDLYRICS": "LYRICS",
    "SYNCEDLYRICS": "LYRICS",
    "TRACK": "TRACKNUMBER",
    "TOTALTRACKS": "TRACKTOTAL",
    "DISC": "DISCNUMBER",
    "TOTALDISCS": "DISCTOTAL",
}  # what other programs call them
_TECHNICAL: Final = {
    "ENCODER", "ENCODER_OPTIONS", "DURATION", "CREATION_TIME", "MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS",
    "HANDLER_NAME", "VENDOR_ID", "LANGUAGE",
}  # fmt: skip
"""What muxers say of themselves: no tags of the song."""
_GAIN: Final = "REPLAYGAIN_TRACK_GAIN"
_PEAK: Final = "REPLAYGAIN_TRACK_PEAK"


def to_fields(tags: Tags) -> dict[str, list[str]]:
    """Spell the tags that say something as fields."""
    fields: dict[str, list[str]] = {name: list(values) for name, values in tags.others.items() if values}
    for name, attribute in _TEXTS.items():
        if getattr(tags, attribute):
            fields[name] = [getattr(tags, attribute)]
    for name, attribute in _LISTS.items():
        if getattr(tags, attribute):
            fields[name] = list(getattr(tags, attribute))
    for name, attribute in _NUMBERS.items():
        if getattr(tags, attribute) is not None:
            fields[name] = [str(getattr(tags, attribute))]
    if tags.replay_gain is not None:
        fields[_GAIN] = [gain_text(tags.replay_gain)]
        if tags.replay_gain.peak is not None:
            fields[_PEAK] = [peak_text(tags.replay_gain)]
    return fields


def from_fields(fields: Mapping[str, Sequence[str]]) -> Tags:
    """Read fields, under the names other programs use as well; what has no place of its own goes to ``others``."""
    ours: dict[str, list[str]] = {}
    for name, values in fields.items():
        upper = name.upper()
        if upper in _ALSO:
            ours.setdefault(_ALSO[upper], list(values))
    ours.update({name.upper(): list(values) for name, values in fields.items() if name.upper() not in _ALSO})
    said: dict[str, object] = {}
    for name, attribute in _TEXTS.items():
        said[attribute] = "\n".join(ours.pop(name, [])) or None
    for name, attribute in _LISTS.items():
        said[attribute] = tuple(value for value in ours.pop(name, []) if value)
    for name, attribute in _NUMBERS.items():
        text = next(iter(ours.pop(name, [])), "")
        said[attribute] = number(text) if text else said.get(attribute)
        if "/" in text:  # "3/12", before the total of its own
            said[f"{attribute}s"] = number(text.partition("/")[2])
    said["replay_gain"] = read_gain(ours.pop(_GAIN, []), ours.pop(_PEAK, []))
    others = {name: tuple(values) for name, values in ours.items() if any(values) and name not in _TECHNICAL}
    return Tags(**said, others=others)  # type: ignore[arg-type] # each field has its own type above


def number(text: str) -> int | None:
    """Read the number that a text begins with, such as 3 of ``03/12``."""
    found = re.match(r"\s*(\d{1,9})", text)
    return int(found[1]) if found else None


def gain_text(gain: ReplayGain) -> str:
    """Spell a gain as players expect it."""
    return f"{gain.gain:.2f} dB"


def peak_text(gain: ReplayGain) -> str:
    """Spell a peak as players expect it."""
    return f"{gain.peak or 0.0:.6f}"


def read_gain(gains: Sequence[str], peaks: Sequence[str]) -> ReplayGain | None:
    """Read the two fields of ReplayGain; nonsense counts as none."""
    with contextlib.suppress(ValueError, IndexError):
        gain = float(gains[0].upper().replace("DB", "").strip())
        peak: float | None = None
        with contextlib.suppress(ValueError, IndexError):
            peak = float(peaks[0])
        return ReplayGain(gain=gain, peak=peak)
    return None
