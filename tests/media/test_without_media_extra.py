"""Without the media extra everything that needs it says how to get it, and downloads work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from musicq_async.errors import ConvertFailed, TagsRejected
from musicq_async.media.audio import probe
from musicq_async.media.convert import convert
from musicq_async.media.files import SafeFolder
from musicq_async.media.finish import finish
from musicq_async.media.tags import Tags, read_tags, write_tags
from musicq_async.media.transfer import download

pytestmark = pytest.mark.anyio


async def test_the_cure_is_named(sound, tmp_path, monkeypatch):
    path = sound("song.mp3")
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "mutagen", None)
    cure = r"pip install 'musicq_async\[media\]'"
    with pytest.raises(ConvertFailed, match=cure):
        await convert(path, to="flac")
    with pytest.raises(ConvertFailed, match=cure):
        await probe(path)
    with pytest.raises(ConvertFailed, match=cure):
        await finish(path, SafeFolder(tmp_path), "x", tags=Tags())
    with pytest.raises(TagsRejected, match=cure):
        await read_tags(path)
    with pytest.raises(TagsRejected, match=cure):
        await write_tags(path, Tags(title="x"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["song.mp3"]


async def test_a_download_needs_no_extra(site, tmp_path, monkeypatch, http, rules):
    monkeypatch.setitem(sys.modules, "av", None)
    site.put("/a", b"sound")
    assert (await download([site.source("/a")], tmp_path / "x", http=http, rules=rules)).size == 5


def test_the_heavy_libraries_come_with_their_first_use():
    code = (
        "import sys, musicq_async.media.convert, musicq_async.media.finish, musicq_async.media.transfer, musicq_async.media.tags\n"
        "assert not {'av', 'mutagen', 'sqlalchemy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
