"""The file types that sound can be converted to, and how each is made: pure tables and rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from musicq_async.errors import InvalidParams
from musicq_async.media.audio import Sound

_AAC_RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_MP3_RATES: Final = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_OPUS_RATES: Final = (48000,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A file type to convert to."""

    name: str
    extension: str
    muxer: str
    codec: str
    encoder: str
    lowest: int = 0
    """Bit rates in bits a second that the encoder takes; 0 and 0 for lossless types, which have none."""
    highest: int = 0
    usual: int = 0
    """Bit rate for a lossless source when none is asked for."""
    rates: tuple[int, ...] = ()
    """Sample rates that it can hold; empty for any."""
    channels: int = 8
    tagged: bool = True

    @property
    def lossless(self) -> bool:
        """Whether every bit of the sound is kept, and a bit rate means nothing."""
        return self.highest == 0


FORMATS: Final[dict[str, Format]] = {
    made.name: made
    for made in (
        Format(
            name="mp3", extension="mp3", muxer="mp3", codec="mp3", encoder="libmp3lame",
            lowest=8_000, highest=320_000, usual=320_000, rates=_MP3_RATES, channels=2,
        ),
        Format(
            name="m4a", extension="m4a", muxer="ipod", codec="aac", encoder="aac",
            lowest=16_000, highest=512_000, usual=256_000, rates=_AAC_RATES,
        ),
        Format(
            name="aac", extension="aac", muxer="adts", codec="aac", encoder="aac",
            lowest=16_000, highest=512_000, usual=256_000, rates=_AAC_RATES, tagged=False,
        ),
        Format(
            name="opus", extension="opus", muxer="opus", codec="opus", encoder="libopus",
            lowest=6_000, highest=510_000, usual=160_000, rates=_OPUS_RATES, channels=2,
        ),
        Format(
            name="ogg", extension="ogg", muxer="ogg", codec="opus", encoder="libopus",
            lowest=6_000, highest=510_000, usual=160_000, rates=_OPUS_RATES, channels=2,
        ),
        Format(name="flac", extension="flac", muxer="flac", codec="flac", encoder="flac"),
        Format(name="alac", extension="m4a", muxer="ipod", codec="alac", encoder="alac"),
        Format(name="wav", extension="wav", muxer="wav", codec="pcm", encoder="pcm_s16le"),
        Format(name="aiff", extension="aiff", muxer="aiff", codec="pcm", encoder="pcm_s16be"),
    )
}  # fmt: skip

PRESETS: Final[dict[str, tuple[str, str | None]]] = {
    "lossless": ("flac", None),
    "high": ("mp3", "320k"),
    "standard": ("mp3", "192k"),
    "small": ("opus", "96k"),
    "apple": ("m4a", "256k"),
}
"""Formats with a bit rate under a name of their own."""

_BY_EXTENSION: Final = {made.extension: made for made in reversed(FORMATS.values())} | {"aif": FORMATS["aiff"]}
_BITRATE: Final = re.compile(r"(\d{1,9})(?:\.0+)?\s*(k|kb|kbps|kbit/s|kbit|bps|bit/s)?", re.IGNORECASE | re.ASCII)


def format_named(name: object, *, field: str = "output_format") -> Format:
    """Return the format of a name such as ``mp3``, ``.mp3`` or ``MP3``; raise `InvalidParams` for others."""
    key = name.strip().lower().removeprefix(".") if isinstance(name, str) else ""
    found = FORMATS.get(key) or _BY_EXTENSION.get(key)
    if found is None:
        raise InvalidParams(f"{field}: {str(name)[:40]!r} is not known; give one of {', '.join((*FORMATS, *PRESETS))}")
    return found


def recipe_named(
    name: object, bitrate: object = None, *, field: str = "output_format", rate_field: str = "bitrate"
) -> tuple[Format, int | None]:
    """Return the format and the bits a second of a format or preset; ``bitrate`` wins over the preset's.

    Raises `InvalidParams` like `format_named` and `read_bitrate`.
    """
    preset = PRESETS.get(name.strip().lower()) if isinstance(name, str) else None
    made = format_named(name if preset is None else preset[0], field=field)
    wished = preset[1] if bitrate is None and preset is not None else bitrate
    return made, read_bitrate(wished, made, field=rate_field)


def is_recipe(text: str) -> bool:
    """Whether a text is the name of a format or preset, and not a path."""
    name = text.strip().lower()
    return name in FORMATS or name in PRESETS


def read_bitrate(value: object, made: Format, *, field: str = "bitrate") -> int | None:
    """Return bits a second for ``"320k"``, ``"320 kbps"``, ``320`` or ``320000``; numbers under 1,000 are kilobits.

    ``None`` for no wish. A lossless format ignores the wish once it is well formed. Raises `InvalidParams`, naming
    the field, for what is no bit rate and for one that the format cannot have.
    """
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidParams(f"{field}: give a bit rate such as '320k', not {type(value).__name__}")
    found = _BITRATE.fullmatch(str(value).strip())
    if found is None:
        raise InvalidParams(f"{field}: {str(value)[:40]!r} is no bit rate; give one such as '320k'")
    number, unit = int(found[1]), (found[2] or "").lower()
    bits = number * 1000 if unit.startswith("k") or (not unit and number < 1000) else number
    if bits <= 0:
        raise InvalidParams(f"{field}: a bit rate is more than 0")
    if made.lossless:
        return None
    if not made.lowest <= bits <= made.highest:
        lowest, highest = made.lowest // 1000, made.highest // 1000
        raise InvalidParams(f"{field}: {made.name} takes {lowest}k to {highest}k, not {str(value)[:40]!r}")
    return bits


def usual_bitrate(made: Format, sound: Sound) -> int:
    """Bit rate for a source when none is asked for: what it deserves, and no more."""
    if sound.lossless or not sound.bit_rate:
        return made.usual
    deserved = -(-sound.bit_rate * 5 // 4 // 32_000) * 32_000
    return max(min(deserved, made.usual), min(128_000, made.usual))


def sample_rate_for(made: Format, rate: int) -> int:
    """Sample rate to convert to: the same if the format has it, else one that divides it, else the next lower."""
    if not made.rates or rate in made.rates:
        return rate
    lower = [known for known in made.rates if known <= rate]
    exact = [known for known in lower if rate % known == 0 and known >= 32_000]
    return max(exact or lower or made.rates[-1:])


def fits(made: Format, sound: Sound, bitrate: int | None) -> bool:
    """Whether a sound is in this format already, so that its bits can be kept."""
    same = sound.codec == made.codec
    if made.codec == "pcm":
        same = sound.codec.startswith("pcm_") and sound.codec.endswith((made.encoder[-2:], "u8"))
    if not same or (made.rates and sound.sample_rate not in made.rates and made.codec != "opus"):
        return False
    if bitrate is None or made.lossless or not sound.bit_rate:
        return bitrate is None or made.lossless
    return abs(sound.bit_rate - bitrate) <= bitrate * 0.08
