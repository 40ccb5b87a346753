"""What the settings and params about files do: formats on arrival, names, loudness, and the folder they are held in."""

from __future__ import annotations

import pytest

import musicq_async
from musicq_async.media.audio import probe
from musicq_async.media.tags import read_tags
from musicq_async.testing import StandInBilibili

pytest.importorskip("av")
pytestmark = pytest.mark.anyio


@pytest.fixture
async def site():
    async with StandInBilibili() as site:
        yield site


@pytest.fixture
def ran(site, tmp_path):
    """Run one task to its end in an application of its own; return its row."""

    async def run(task_type, params, **wishes):
        url = f"sqlite+aiosqlite:///{tmp_path}/app.db"
        given = site.settings(cookie=site.cookie("member")) | {"music_dir": str(tmp_path / "music")} | wishes
        async with musicq_async.open_musicq(musicq_async.Settings(database_url=url, **given)) as app:
            task_id = await app.queue.push_task({"type": task_type, "params": params, "max_retries": 0})
            await app.run_until_idle()
            return await app.get_task(task_id)

    return run


@pytest.fixture
def link(site):
    return f"av{next(iter(site.catalogue.videos))}"


def files(folder):
    """Every file below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("wish", "ending", "codec", "bitrate"),
    [
        ("mp3", "mp3", "mp3", "128k"),
        ("flac", "flac", "flac", None),
        ("opus", "opus", "opus", "96k"),
        ("m4a", "m4a", "aac", None),
        ("wav", "wav", "pcm_s16le", None),
    ],
)
@pytest.mark.parametrize("place", ["setting", "param"])
async def test_a_song_arrives_in_the_wished_format_with_its_tags(
    ran, link, tmp_path, wish, ending, codec, bitrate, place
):
    wishes = {"bitrate": bitrate} if bitrate else {}
    wishes |= {"format" if place == "param" else "audio_format": wish}
    params = {"url": link, "quality": "128k"} | (wishes if place == "param" else {})
    task = await ran("download_bilibili_audio", params, **(wishes if place == "setting" else {}))
    assert task["status"] == "completed", task["error_message"]
    assert files(tmp_path / "music") == [f"月光邮局 - 林小满.{ending}"]
    sound, tagged = await probe(task["result"]["path"]), await read_tags(task["result"]["path"])
    assert sound.codec == codec
    if bitrate and wish == "mp3":
        assert sound.bit_rate == 128_000
    assert (tagged.tags.title, tagged.tags.artists) == ("月光邮局", ("林小满",))
    assert tagged.tags.url
    assert tagged.cover is not None


async def test_a_template_gives_folders_and_names(ran, link, tmp_path):
    template = "{uploader}/{date:%Y}/{artists} - {title} [[{bvid}]]"
    task = await ran("download_bilibili_audio", {"url": link}, name_template=template)
    (path,) = files(tmp_path / "music")
    folder, year, name = path.split("/")
    assert folder
    assert year.isdecimal()
    assert name.startswith("林小满 - 月光邮局 [BV1")
    again = await ran("download_bilibili_audio", {"url": link}, name_template=template)
    assert (task["result"]["status"], again["result"]["status"]) == ("ok", "skipped")


@pytest.mark.parametrize(
    ("wishes", "named"),
    [
        ({"name_template": "{artist}/{nothing}"}, "nothing"),
        ({"name_template": "{artist}/"}, "name template"),
        ({"audio_format": "tape"}, "audio_format"),
        ({"audio_format": "mp3", "bitrate": "loud"}, "bitrate"),
        ({"bitrate": "loud"}, "bitrate"),  # what a task's own format would meet
        ({"audio_format": "mp3", "bitrate": "900k"}, "bitrate"),
    ],
)
async def test_settings_that_no_song_can_have_are_refused_at_once(ran, wishes, named):
    with pytest.raises(musicq_async.SettingsError, match=named):
        await ran("test_task", {}, **wishes)


async def test_a_format_that_is_none_is_refused_before_anything_is_fetched(ran, site, link):
    task = await ran("download_bilibili_audio", {"url": link, "format": "tape"})
    assert task["status"] == "failed"
    assert "tape" in task["error_message"]
    assert site.asked("cdn", "backup") == []


async def test_loudness_is_measured_or_left_out_as_the_setting_says(ran, link, tmp_path):
    gains = {}
    for loudness in ("site", "measured", "none"):
        task = await ran(
            "download_bilibili_audio", {"url": link, "save_path": loudness, "quality": "128k"}, loudness=loudness
        )
        gains[loudness] = (await read_tags(task["result"]["path"])).tags.replay_gain
    assert gains["none"] is None
    assert gains["site"] != gains["measured"]


@pytest.fixture
def outside(tmp_path):
    """A song outside the music folder, and a link to its folder inside."""
    from musicq_async.testing.bilibili_sound import song_file

    (tmp_path / "music").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.m4a").write_bytes(song_file((440,), 1.0))
    (tmp_path / "music" / "link").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("path", ["../elsewhere/x.m4a", "link/x.m4a", "a/../../elsewhere", "link"])
@pytest.mark.parametrize("field", ["input", "output"])
async def test_a_conversion_is_held_inside_the_music_folder(ran, outside, tmp_path, path, field):
    inside = tmp_path / "music" / "y.m4a"
    inside.write_bytes((outside / "x.m4a").read_bytes())
    params = {"input": path, "output": "mp3"}
    if field == "output":
        params = {"input": "y.m4a", "output": path.replace("m4a", "mp3"), "output_format": "mp3"}
    task = await ran("convert_format", params)
    assert (task["status"], task["errors"][-1]["type"]) == ("failed", "UnsafePath"), task["error_message"]
    assert files(outside) == ["x.m4a"]


async def test_an_absolute_path_is_the_callers_own_word(ran, outside):
    task = await ran("convert_format", {"input_file": str(outside / "x.m4a"), "output_format": "flac"})
    assert task["status"] == "completed", task["error_message"]
    assert files(outside) == ["x.flac", "x.m4a"]


@pytest.mark.parametrize("save_path", ["../elsewhere/", "a/../../elsewhere/x.mp3", ".."])
async def test_a_relative_save_path_does_not_lead_out(ran, outside, site, link, save_path):
    for kind, url in (("download_bilibili_audio", link), ("download_audio", site.site.addresses["cdn"] + "/x.mp3")):
        task = await ran(kind, {"url": url, "save_path": save_path})
        assert (task["status"], task["errors"][-1]["type"]) == ("failed", "UnsafePath"), task["error_message"]
    assert files(outside) == ["x.m4a"]
