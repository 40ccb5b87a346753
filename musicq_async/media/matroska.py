"""Tags and cover by PyAV: of Matroska, which takes them only while its sound is written, and of rarer file types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Final

from musicq_async.media.audio import open_sound
from musicq_async.media.covers import Cover, measure
from musicq_async.media.tag_values import Tagged, Tags
from musicq_async.media.vorbis_names import from_fields, to_fields

if TYPE_CHECKING:
    from av.container import OutputContainer

_APART: Final = "; "
_OURS: Final = {"TITLE": "title", "DATE": "DATE_RELEASED", "TRACKNUMBER": "PART_NUMBER", "TRACKTOTAL": "TOTAL_PARTS"}
_THEIRS: Final = {theirs.upper(): ours for ours, theirs in _OURS.items()}
_SEVERAL: Final = {"ARTIST", "ALBUMARTIST", "COMPOSER", "GENRE"}


def write_matroska(output: OutputContainer, tags: Tags, cover: Cover | None) -> None:
    """Give tags and cover to a Matroska file before its first packet."""
    output.metadata.update({_OURS.get(name, name): _APART.join(values) for name, values in to_fields(tags).items()})
    if cover is not None and hasattr(output, "add_attachment"):
        extension = "png" if cover.media_type == "image/png" else "jpg"
        output.add_attachment(f"cover.{extension}", cover.media_type, cover.content)


def read_by_av(file: BinaryIO) -> Tagged:
    """Read tags and cover of any file that FFmpeg opens; raises `ConvertFailed` for others."""
    with open_sound(file) as container:
        found: dict[str, list[str]] = {}
        beside = container.streams.audio[0].metadata if container.streams.audio else {}
        for name, text in (beside | container.metadata).items():
            ours = _THEIRS.get(name.upper(), name.upper())
            found[ours] = text.split(_APART) if ours in _SEVERAL else [text]
        return Tagged(tags=from_fields(found), cover=_picture(container))


def _picture(container: Any) -> Cover | None:
    for stream in container.streams.video:
        for packet in container.demux(stream):
            content = bytes(packet)
            size = measure(content)
            if size is not None and size[0] in ("image/jpeg", "image/png"):
                return Cover(content=content, media_type=size[0], width=size[1], height=size[2])
            break
    return None
