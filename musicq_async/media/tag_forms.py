"""Tags in each file type's own form, by mutagen: MP4 atoms, Vorbis comments, ID3 frames. Files are open ones."""

# mypy: disable-error-code="no-untyped-call"
# mutagen says it is typed, and most of its classes are not.

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from mutagen import aiff, flac, id3, mp4, ogg, oggflac, oggopus, oggvorbis, wave

from musicq_async.media.covers import Cover, measure
from musicq_async.media.tag_values import Id3Version, Tagged, Tags
from musicq_async.media.vorbis_names import from_fields, to_fields

Reader = Callable[[BinaryIO], Tagged]
Writer = Callable[[BinaryIO, Tags, Cover | None, Id3Version], None]

_FRONT: Final = 3
_APART: Final = " / "  # between several artists where a file has room for one text only

# --- MP4 ---

_ATOMS: Final = {
    "TITLE": "\xa9nam",
    "ARTIST": "\xa9ART",
    "ALBUM": "\xa9alb",
    "ALBUMARTIST": "aART",
    "COMPOSER": "\xa9wrt",
    "GENRE": "\xa9gen",
    "DATE": "\xa9day",
    "COMMENT": "\xa9cmt",
    "LYRICS": "\xa9lyr",
    "COPYRIGHT": "cprt",
}
_FREE: Final = "----:com.apple.iTunes:"
_GAINS: Final = {"REPLAYGAIN_TRACK_GAIN", "REPLAYGAIN_TRACK_PEAK"}


def _read_mp4(file: BinaryIO) -> Tagged:
    atoms: Any = mp4.MP4(file).tags or {}
    fields: dict[str, list[str]] = {}
    for name, atom in _ATOMS.items():
        if atom in atoms:
            fields[name] = [str(value) for value in atoms[atom]]
    for key, values in atoms.items():
        if key.startswith(_FREE):
            fields.setdefault(
                key.removeprefix(_FREE).upper(), [bytes(value).decode("utf-8", "replace") for value in values]
            )
    if atoms.get("tmpo"):
        fields["BPM"] = [str(atoms["tmpo"][0])]
    for atom, number, total in (("trkn", "TRACKNUMBER", "TRACKTOTAL"), ("disk", "DISCNUMBER", "DISCTOTAL")):
        for index, name in enumerate((number, total)):
            if atoms.get(atom) and atoms[atom][0][index]:
                fields[name] = [str(atoms[atom][0][index])]
    pictures = [bytes(picture) for picture in atoms.get("covr", [])]
    return Tagged(tags=from_fields(fields), cover=_cover(pictures))


def _write_mp4(file: BinaryIO, tags: Tags, cover: Cover | None, _: Id3Version) -> None:
    movie: Any = mp4.MP4(file)
    if movie.tags is None:
        movie.add_tags()
    atoms = movie.tags
    fields = to_fields(tags)
    for atom, number, total in (("trkn", "TRACKNUMBER", "TRACKTOTAL"), ("disk", "DISCNUMBER", "DISCTOTAL")):
        pair = [int(fields.pop(name, ["0"])[0]) for name in (number, total)]
        if any(pair):
            older = atoms[atom][0] if atoms.get(atom) else (0, 0)
            atoms[atom] = [tuple(min(new or old, 0xFFFF) for new, old in zip(pair, older, strict=True))]
    for name, values in fields.items():
        if name in _ATOMS:
            atoms[_ATOMS[name]] = values
        elif name == "BPM" and values[0].isdigit():
            atoms["tmpo"] = [min(int(values[0]), 0xFFFF)]
        else:
            key = name.lower() if name in _GAINS else name
            atoms[_FREE + key] = [mp4.MP4FreeForm(value.encode()) for value in values]
    if cover is not None:
        form = mp4.MP4Cover.FORMAT_PNG if cover.media_type == "image/png" else mp4.MP4Cover.FORMAT_JPEG
        atoms["covr"] = [mp4.MP4Cover(cover.content, imageformat=form)]
    file.seek(0)
    movie.save(file)


# --- Vorbis comments: FLAC and Ogg ---

_PICTURE: Final = "METADATA_BLOCK_PICTURE"
_OPUS_GAIN: Final = "R128_TRACK_GAIN"
_OPUS_BELOW: Final = 5.0  # Opus aims at -23 LUFS, ReplayGain at -18


def _picture(cover: Cover) -> flac.Picture:
    picture = flac.Picture()
    picture.type, picture.mime, picture.data = _FRONT, cover.media_type, cover.content
    picture.width, picture.height, picture.depth = cover.width, cover.height, 24
    return picture


def _read_flac(file: BinaryIO) -> Tagged:
    sound = flac.FLAC(file)
    pictures = sorted(sound.pictures, key=lambda picture: picture.type != _FRONT)
    return Tagged(tags=from_fields(_comments(sound)), cover=_cover([picture.data for picture in pictures]))


def _write_flac(file: BinaryIO, tags: Tags, cover: Cover | None, _: Id3Version) -> None:
    sound = flac.FLAC(file)
    if sound.tags is None:
        sound.add_tags()
    for name, values in to_fields(tags).items():
        sound[name] = values
    if cover is not None:
        sound.clear_pictures()
        sound.add_picture(_picture(cover))
    file.seek(0)
    sound.save(file)


def _comments(sound: Any) -> dict[str, list[str]]:
    return {name.upper(): list(values) for name, values in (sound.tags or {}).items() if name.upper() != _PICTURE}


def _open_ogg(file: BinaryIO) -> Any:
    file.seek(0)
    page = ogg.OggPage(file)
    file.seek(0)
    first = page.packets[0]
    if first.startswith(b"OpusHead"):
        return oggopus.OggOpus(file)
    return oggflac.OggFLAC(file) if first.startswith(b"\x7fFLAC") else oggvorbis.OggVorbis(file)


def _read_ogg(file: BinaryIO) -> Tagged:
    sound = _open_ogg(file)
    fields = _comments(sound)
    quiet = fields.pop(_OPUS_GAIN, [])
    if quiet:
        with contextlib.suppress(ValueError):
            fields.setdefault("REPLAYGAIN_TRACK_GAIN", [f"{int(quiet[0]) / 256 + _OPUS_BELOW} dB"])
    pictures = []
    for coded in (sound.tags or {}).get(_PICTURE.lower(), []):
        with contextlib.suppress(Exception):  # a broken picture is no picture
            pictures.append(flac.Picture(base64.b64decode(coded)).data)
    return Tagged(tags=from_fields(fields), cover=_cover(pictures))


def _write_ogg(file: BinaryIO, tags: Tags, cover: Cover | None, _: Id3Version) -> None:
    sound = _open_ogg(file)
    fields = to_fields(tags)
    if isinstance(sound, oggopus.OggOpus) and tags.replay_gain is not None:
        for name in _GAINS:
            fields.pop(name, None)
        quiet = round((tags.replay_gain.gain - _OPUS_BELOW) * 256)
        fields[_OPUS_GAIN] = [str(max(-32768, min(32767, quiet)))]
    for name, values in fields.items():
        sound[name] = values
    if cover is not None:
        sound[_PICTURE] = [base64.b64encode(_picture(cover).write()).decode("ascii")]
    file.seek(0)
    sound.save(file)


# --- ID3: MP3, WAV, AIFF ---

_FRAMES: Final = {
    "TITLE": "TIT2",
    "ARTIST": "TPE1",
    "ALBUM": "TALB",
    "ALBUMARTIST": "TPE2",
    "COMPOSER": "TCOM",
    "GENRE": "TCON",
    "DATE": "TDRC",
    "BPM": "TBPM",
    "ISRC": "TSRC",
    "LABEL": "TPUB",
    "COPYRIGHT": "TCOP",
    "LYRICIST": "TEXT",
    "LANGUAGE": "TLAN",
}
_LISTED: Final = {"ARTIST", "ALBUMARTIST", "COMPOSER", "GENRE"}
_UTF8: Final = 3


def _read_id3_frames(frames: Any) -> Tagged:
    fields: dict[str, list[str]] = {}
    for name, key in _FRAMES.items():
        if key in frames:
            texts = frames[key].genres if key == "TCON" else [str(text) for text in frames[key].text]
            fields[name] = [part for text in texts for part in (text.split(_APART) if name in _LISTED else [text])]
    for key, number, total in (("TRCK", "TRACKNUMBER", "TRACKTOTAL"), ("TPOS", "DISCNUMBER", "DISCTOTAL")):
        if key in frames:
            first, _, whole = str(frames[key].text[0]).partition("/")
            fields |= {name: [text] for name, text in ((number, first), (total, whole)) if text}
    for frame in frames.getall("TXXX"):
        fields.setdefault(frame.desc.upper(), [str(text) for text in frame.text])
    for key, name in (("COMM", "COMMENT"), ("USLT", "LYRICS")):
        found = sorted(frames.getall(key), key=lambda frame: frame.desc != "")
        if found:
            fields[name] = ["\n".join(found[0].text) if key == "COMM" else found[0].text]
    for key in ("WOAS", "WOAF", "WXXX"):
        for frame in frames.getall(key):
            fields.setdefault("WEBSITE", [frame.url])
    pictures = sorted(frames.getall("APIC"), key=lambda frame: frame.type != _FRONT)
    return Tagged(tags=from_fields(fields), cover=_cover([frame.data for frame in pictures]))


def _set_id3_frames(frames: Any, tags: Tags, cover: Cover | None) -> None:
    fields = to_fields(tags)
    for key, number, total in (("TRCK", "TRACKNUMBER", "TRACKTOTAL"), ("TPOS", "DISCNUMBER", "DISCTOTAL")):
        first, whole = fields.pop(number, [""])[0], fields.pop(total, [""])[0]
        if first or whole:
            frames.setall(key, [getattr(id3, key)(encoding=_UTF8, text=f"{first or 0}/{whole}" if whole else first)])
    if "COMMENT" in fields:
        frames.delall("COMM")
        frames.add(id3.COMM(encoding=_UTF8, lang="XXX", desc="", text=fields.pop("COMMENT")))
    if "LYRICS" in fields:
        frames.delall("USLT")
        frames.add(id3.USLT(encoding=_UTF8, lang="XXX", desc="", text=fields.pop("LYRICS")[0]))
    if "WEBSITE" in fields:
        frames.setall("WOAS", [id3.WOAS(url=fields.pop("WEBSITE")[0])])
    for name, values in fields.items():
        if name in _FRAMES:
            frames.setall(_FRAMES[name], [getattr(id3, _FRAMES[name])(encoding=_UTF8, text=values)])
        else:
            frames.delall(f"TXXX:{name}")
            frames.add(id3.TXXX(encoding=_UTF8, desc=name, text=values))
    if cover is not None:
        frames.delall("APIC")
        frames.add(id3.APIC(encoding=0, mime=cover.media_type, type=_FRONT, desc="", data=cover.content))


def _open_id3(file: BinaryIO) -> Any:
    try:
        return id3.ID3(file)
    except id3.ID3NoHeaderError:
        return id3.ID3()


def _read_mp3(file: BinaryIO) -> Tagged:
    return _read_id3_frames(_open_id3(file))


def _write_mp3(file: BinaryIO, tags: Tags, cover: Cover | None, version: Id3Version) -> None:
    frames = _open_id3(file)
    _set_id3_frames(frames, tags, cover)
    _save_id3(frames, file, version)


def _save_id3(frames: Any, file: BinaryIO, version: Id3Version) -> None:
    if version == 3:
        frames.update_to_v23()
    file.seek(0)
    frames.save(file, v2_version=version, v23_sep=_APART)


def _chunked(kind: type[Any]) -> tuple[Reader, Writer]:
    """Reader and writer for a file type that keeps ID3 frames in a chunk of its own."""

    def read(file: BinaryIO) -> Tagged:
        return _read_id3_frames(kind(file).tags or id3.ID3())

    def write(file: BinaryIO, tags: Tags, cover: Cover | None, version: Id3Version) -> None:
        sound = kind(file)
        if sound.tags is None:
            sound.add_tags()
        _set_id3_frames(sound.tags, tags, cover)
        _save_id3(sound.tags, file, version)

    return read, write


def _cover(pictures: list[bytes]) -> Cover | None:
    """Return the first picture that is a JPEG or PNG by its own bytes."""
    for content in pictures:
        found = measure(content)
        if found is not None and found[0] in ("image/jpeg", "image/png"):
            return Cover(content=content, media_type=found[0], width=found[1], height=found[2])
    return None


_WAV, _AIFF = _chunked(wave.WAVE), _chunked(aiff.AIFF)

READERS: Final[dict[str, Reader]] = {
    "mp4": _read_mp4,
    "flac": _read_flac,
    "ogg": _read_ogg,
    "mp3": _read_mp3,
    "wav": _WAV[0],
    "aiff": _AIFF[0],
}
WRITERS: Final[dict[str, Writer]] = {
    "mp4": _write_mp4,
    "flac": _write_flac,
    "ogg": _write_ogg,
    "mp3": _write_mp3,
    "wav": _WAV[1],
    "aiff": _AIFF[1],
}
