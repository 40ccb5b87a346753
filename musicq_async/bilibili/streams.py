"""The choice of a sound stream among those that an answer offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from musicq_async.bilibili.hosts import MediaHosts, by_quality, expiry
from musicq_async.bilibili.models import Loudness
from musicq_async.bilibili.parsing import loudness
from musicq_async.bilibili.reading import Reader
from musicq_async.errors import AnswerNotUnderstood, EncryptedStream, InvalidParams, NoAudioStream, NotPermitted

Quality = Literal["best", "hires", "dolby", "320k", "192k", "128k", "64k"]
Codec = Literal["flac", "eac3", "aac"]
Grade = Literal["hires", "dolby", "high", "middle", "low"]

QUALITIES: Final[tuple[Quality, ...]] = ("best", "hires", "dolby", "320k", "192k", "128k", "64k")

_ENCRYPTED: Final = frozenset({100008, 100009, 100010})
_GRADE_OF_ID: Final[dict[int, Grade]] = {
    30251: "hires",
    30250: "dolby",
    30255: "dolby",
    30280: "high",
    30232: "middle",
    30216: "low",
}
# What each name asks for, and what is taken in its place: first downwards, then upwards.
_WANTED: Final[dict[Quality, tuple[Grade, ...]]] = {
    # Dolby is another mix in a codec that few players know: it comes last where it was not asked for.
    "best": ("hires", "high", "middle", "low", "dolby"),
    "hires": ("hires", "high", "middle", "low", "dolby"),
    "dolby": ("dolby", "high", "middle", "low", "hires"),
    "320k": ("high", "middle", "low", "dolby", "hires"),
    "192k": ("high", "middle", "low", "dolby", "hires"),
    "128k": ("middle", "low", "high", "dolby", "hires"),
    "64k": ("low", "middle", "high", "dolby", "hires"),
}
SONG_GRADES: Final[dict[Quality, int]] = {
    "best": 3,
    "hires": 3,
    "dolby": 3,
    "320k": 2,
    "192k": 1,
    "128k": 0,
    "64k": 0,
}
"""What to ask the audio zone for."""
_SONG_NAMES: Final = {0: "128k", 1: "192k", 2: "320k", 3: "hires"}
_PREVIEW_SLACK: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStream:
    """One sound stream with all its addresses, the steadiest host first."""

    id: int
    codec: Codec
    grade: Grade
    bandwidth: int
    """Bits a second; 0 if unknown."""
    sources: tuple[str, ...]
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file of an old video that has its sound only inside the picture's file."""

    sources: tuple[str, ...]
    size: int | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """All that an answer offers for one part."""

    streams: tuple[AudioStream, ...] = ()
    segments: tuple[Segment, ...] = ()
    duration: float | None = None
    loudness: Loudness | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioChoice:
    """What to fetch: one file for a sound stream, or the files to take the sound from (``muxed``)."""

    segments: tuple[Segment, ...]
    """One for a sound stream; each with its addresses in the order to try."""
    codec: Codec | None
    """``None`` where only the file itself tells: ``muxed`` ones."""
    quality: str
    """What was got: hires, dolby, or the nearest of 320k, 192k, 128k, 64k; ``video`` for muxed ones."""
    requested: str
    exact: bool
    """Whether ``quality`` is what was asked for; otherwise say so to the person."""
    muxed: bool = False
    bandwidth: int = 0
    size: int | None = None
    duration: float | None = None
    """Seconds that the file must last, within 2 s."""
    expires_at: int | None = None
    """Epoch second at which the addresses die."""
    loudness: Loudness | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """To be sent to the media hosts. Never a cookie."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Addresses of the first file, in the order to try."""
        return self.segments[0].sources


def parse_quality(name: str) -> Quality:
    """Return a quality name as it is written here. Raises `InvalidParams`."""
    wanted = name.strip().lower() if isinstance(name, str) else ""
    for quality in QUALITIES:
        if wanted == quality:
            return quality
    raise InvalidParams(f"quality {str(name)[:40]!r} is unknown; give one of {', '.join(QUALITIES)}")


def read_offer(data: Any, *, hosts: MediaHosts) -> Offer:
    """Read which streams an answer offers.

    Raises `EncryptedStream` where all sound is encrypted, `NoAudioStream` for a silent video, and
    `AnswerNotUnderstood` where no stream comes from a host that media may be fetched from.
    """
    play = Reader(data)
    if play.flag("is_drm"):
        raise EncryptedStream("the site offers this only encrypted, which is not supported")
    dash = play.inner("dash")
    length = play.number("timelength")
    duration = dash.number("duration") or (length / 1000 if length else None)
    found = Offer(duration=duration, loudness=loudness(play.inner("volume")))
    if dash:
        return Offer(streams=_streams(dash, hosts), duration=found.duration, loudness=found.loudness)
    segments = _segments(play, hosts)
    lengths = [segment.duration for segment in segments]
    known = sum(length for length in lengths if length) if all(lengths) else found.duration
    return Offer(segments=segments, duration=known or found.duration, loudness=found.loudness)


def choose(offer: Offer, quality: Quality) -> AudioChoice:
    """Choose the stream that a quality name asks for, or else the next one down, or else up."""
    if not offer.streams:
        return _extraction(offer, quality)
    place = {grade: rank for rank, grade in enumerate(_WANTED[quality])}
    stream = min(offer.streams, key=lambda one: (place[one.grade], -one.bandwidth))
    got = _name(stream)
    return AudioChoice(
        segments=(Segment(sources=stream.sources, size=stream.size, duration=offer.duration),),
        codec=stream.codec,
        quality=got,
        requested=quality,
        exact=quality == "best" or (stream.grade == _WANTED[quality][0] and (quality, got) != ("320k", "192k")),
        bandwidth=stream.bandwidth,
        size=stream.size,
        duration=offer.duration,
        expires_at=expiry(stream.sources),
        loudness=offer.loudness,
    )


def song_choice(data: Reader, quality: Quality, *, hosts: MediaHosts, duration: float | None) -> AudioChoice:
    """Read where a song of the audio zone is."""
    sources = by_quality(address for address in data.texts("cdns") if hosts.allow(address))
    if not sources:
        raise NoAudioStream("the site offers no stream for this song")
    got = _SONG_NAMES.get(data.count("type"), "192k")
    size = data.count("size") or None
    return AudioChoice(
        segments=(Segment(sources=sources, size=size, duration=duration),),
        codec="flac" if got == "hires" else "aac",
        quality=got,
        requested=quality,
        exact=quality in {got, "best"},
        size=size,
        duration=duration,
        expires_at=expiry(sources),
    )


def refuse_preview(offer: Offer, *, expected: float | None) -> None:
    """Raise `NotPermitted` if what is offered is shorter than the whole by more than 2 seconds."""
    if expected and offer.duration and expected - offer.duration > _PREVIEW_SLACK:
        raise NotPermitted(
            f"only a preview of {offer.duration:.0f} of {expected:.0f} seconds is offered;"
            " log in with an account that may play the whole"
        )


def _streams(dash: Reader, hosts: MediaHosts) -> tuple[AudioStream, ...]:
    dolby, flac = dash.inner("dolby"), dash.inner("flac")
    # The one is a list where the other is an object; either may come as the other one day.
    offered = [
        *dash.each("audio"),
        *dolby.each("audio"),
        *_one(dolby.inner("audio")),
        *flac.each("audio"),
        *_one(flac.inner("audio")),
    ]
    plain = [stream for stream in offered if stream.integer("id") not in _ENCRYPTED]
    if offered and not plain:
        raise EncryptedStream("the site offers the sound of this only encrypted, which is not supported")
    if not plain:
        raise NoAudioStream("this video has no sound")
    found = [stream for entry in plain if (stream := _stream(entry, hosts))]
    if not found:
        raise AnswerNotUnderstood("no stream comes from a media host of the site; allow others with media_hosts")
    return tuple(found)


def _one(entry: Reader) -> Sequence[Reader]:
    return (entry,) if entry else ()


def _stream(entry: Reader, hosts: MediaHosts) -> AudioStream | None:
    sources = _sources(entry, hosts)
    if not sources:
        return None
    number, bandwidth = entry.count("id"), entry.count("bandwidth")
    codec = _codec(entry.text("codecs"), number)
    return AudioStream(
        id=number,
        codec=codec,
        grade=_grade(codec, number, bandwidth),
        bandwidth=bandwidth,
        sources=sources,
        size=entry.count("size") or None,
    )


def _sources(entry: Reader, hosts: MediaHosts) -> tuple[str, ...]:
    backups = [*entry.texts("backupUrl"), *entry.texts("backup_url")]
    given = [entry.text("baseUrl", "base_url", "url"), entry.text("base_url"), *backups]
    full = ("https:" + address if address.startswith("//") else address for address in given)
    return by_quality(address for address in full if hosts.allow(address))


def _codec(codecs: str, number: int) -> Codec:
    name = codecs.lower()
    if name.startswith("flac") or (not name and _GRADE_OF_ID.get(number) == "hires"):
        return "flac"
    if name.startswith(("ec-3", "ac-3", "eac3")) or (not name and _GRADE_OF_ID.get(number) == "dolby"):
        return "eac3"
    return "aac"


def _grade(codec: Codec, number: int, bandwidth: int) -> Grade:
    """Grade a stream by its codec first, then its id, and one with an unknown id by its bandwidth."""
    if codec != "aac":
        return "hires" if codec == "flac" else "dolby"
    match _GRADE_OF_ID.get(number):
        case "high" | "middle" | "low" as known:
            return known
    if bandwidth >= 160_000:
        return "high"
    return "middle" if bandwidth >= 96_000 else "low"


def _name(stream: AudioStream) -> str:
    """Name what was got; the site calls everything from 192 to 320 kbit/s the same, so the real rate decides."""
    match stream.grade:
        case "hires" | "dolby":
            return stream.grade
        case "high":
            return "192k" if 0 < stream.bandwidth < 256_000 else "320k"
        case "middle":
            return "128k"
        case "low":
            return "64k"


def _segments(play: Reader, hosts: MediaHosts) -> tuple[Segment, ...]:
    entries = sorted(play.each("durl"), key=lambda entry: entry.count("order"))
    if not entries:
        raise NoAudioStream("the site offers no stream for this")
    segments = []
    for entry in entries:
        length = entry.number("length")
        sources = _sources(entry, hosts)
        if not sources:
            raise AnswerNotUnderstood("a file comes from no media host of the site; allow others with media_hosts")
        segments.append(
            Segment(sources=sources, size=entry.count("size") or None, duration=length / 1000 if length else None)
        )
    return tuple(segments)


def _extraction(offer: Offer, quality: Quality) -> AudioChoice:
    sizes = [segment.size for segment in offer.segments]
    return AudioChoice(
        segments=offer.segments,
        codec=None,
        quality="video",
        requested=quality,
        exact=quality == "best",
        muxed=True,
        size=sum(size for size in sizes if size) if all(sizes) else None,
        duration=offer.duration,
        expires_at=expiry(address for segment in offer.segments for address in segment.sources),
        loudness=offer.loudness,
    )
