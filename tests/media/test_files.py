"""Nothing is written outside the root, names collide as disks see them, and a draft is whole or gone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.errors import TransferBroken, UnsafePath
from musicq_async.media.drafts import Draft, save
from musicq_async.media.files import SafeFolder, checked_name, folded, free_name, numbered, open_folder
from musicq_async.media.partial import Held, PartFile, part_name


@pytest.fixture(params=[True, False], ids=["descriptors", "paths"])
def safe(tmp_path, request):
    """A root with both ways of reaching its files: the system's, and the fallback of systems without."""
    (tmp_path / "root").mkdir()
    return SafeFolder(tmp_path / "root", descriptors=request.param)


def put(folder, name: str, content: bytes, **how) -> Path:
    with Draft(folder, name) as draft:
        draft.file.write(content)
        return draft.place(**how)


OUTSIDE = [
    "../x", "a/../../x", "/etc/x", "..", ".", "", "/", "a/..", "..\\x", "a\\..\\..\\x", "C:\\x", "C:x", "\\\\host\\share\\x",
    "a\0b", "\ud800", "x" * 256, "あ" * 86, "a/" + "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_is_not_below_the_root_is_refused(safe, path):
    with pytest.raises(UnsafePath):
        safe.parts(path)


def test_a_neighbour_with_a_longer_name_is_outside(safe):
    with pytest.raises(UnsafePath):
        safe.parts(f"{safe.root}_evil/x")


@pytest.mark.parametrize("path", ["a.mp3", "a/b/c.mp3", "./a.mp3", "夜に.m4a", "...x", "a b", "-x", "~x", "$HOME"])
def test_what_is_below_is_split_into_names(safe, path):
    assert "/".join(safe.parts(path)) == path.removeprefix("./")
    assert safe.parts(safe.root / path) == safe.parts(path)


@given(st.text(max_size=60))
def test_any_text_is_refused_or_stays_below(text):
    safe = SafeFolder("/music/root")
    try:
        parts = safe.parts(text)
    except UnsafePath:
        return
    assert parts
    path = os.path.normpath("/".join(["/music/root", *parts]))
    assert path.startswith("/music/root/")


def test_folders_are_made_below_the_root_and_files_put_into_them(safe):
    with safe.folder("a", "b") as folder:
        path = put(folder, "x.mp3", b"sound")
    assert path == safe.root.resolve() / "a" / "b" / "x.mp3"
    assert path.read_bytes() == b"sound"
    with pytest.raises(UnsafePath), safe.folder("c", create=False):
        pass
    with pytest.raises(UnsafePath), safe.folder("a", "b", "x.mp3"):
        pass


def test_a_linked_folder_is_not_entered(safe, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (safe.root / "link").symlink_to(outside)
    with pytest.raises(UnsafePath, match="link"), safe.folder("link"):
        pass
    with pytest.raises(UnsafePath), safe.folder("link", "deeper"):
        pass
    assert list(outside.iterdir()) == []


def test_a_linked_file_is_replaced_and_not_written_through(safe, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (safe.root / "song.mp3").symlink_to(outside)
    (safe.root / "song.mp3.part").symlink_to(outside)
    with safe.folder() as folder:
        put(folder, "song.mp3", b"sound")
        with pytest.raises(UnsafePath):
            os.close(folder.open("song.mp3.part", os.O_RDWR))
    assert outside.read_bytes() == b"precious"
    assert (safe.root / "song.mp3").read_bytes() == b"sound"


def test_a_root_behind_a_link_is_the_users_own_word(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "music").symlink_to(tmp_path / "disk")
    with SafeFolder(tmp_path / "music").folder("a") as folder:
        put(folder, "x", b"1")
    assert (tmp_path / "disk" / "a" / "x").read_bytes() == b"1"
    assert SafeFolder(tmp_path / "music").parts(tmp_path / "disk" / "a") == ("a",)


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_not_opened(safe, kind):
    path = safe.root / "x"
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    with safe.folder() as folder, pytest.raises((UnsafePath, OSError)):
        os.close(folder.open("x", os.O_RDWR))


def test_a_folder_in_the_way_of_a_file_is_refused_and_nothing_stays(safe):
    (safe.root / "song.mp3").mkdir()
    with safe.folder() as folder, pytest.raises(UnsafePath):
        put(folder, "song.mp3", b"sound")
    assert [entry.name for entry in safe.root.iterdir()] == ["song.mp3"]


def test_a_file_in_the_way_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnsafePath):
        open_folder(tmp_path / "file")
    with pytest.raises(UnsafePath):
        open_folder(tmp_path / "file" / "below")
    with pytest.raises(UnsafePath):
        open_folder(tmp_path / "none", create=False)
    with pytest.raises(UnsafePath):
        open_folder(Path("a\0b"))


def test_a_draft_that_fails_is_gone(safe):
    with safe.folder() as folder:
        with pytest.raises(ZeroDivisionError), Draft(folder, "x") as draft:
            draft.file.write(b"half")
            raise ZeroDivisionError
        assert folder.names() == []


def test_a_draft_is_not_seen_under_its_name_before_it_is_placed(safe):
    with safe.folder() as folder, Draft(folder, "x") as draft:
        draft.file.write(b"half")
        assert folder.stat("x") is None
        draft.place()
        assert folder.names() == ["x"]


def test_a_draft_left_by_a_killed_process_is_taken_over(safe):
    (safe.root / "x.part").write_bytes(b"left from before, and longer")
    with safe.folder() as folder:
        assert put(folder, "x", b"new").read_bytes() == b"new"
        assert folder.names() == ["x"]


def test_two_drafts_of_one_name_do_not_meet(safe):
    with safe.folder() as folder, Draft(folder, "x") as one, Draft(folder, "x") as two:
        one.file.write(b"1")
        two.file.write(b"2")
        assert one.place(existing="number").name == "x"
        assert two.place(existing="number").name == "x (2)"
    assert (safe.root / "x").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("there", "wanted", "given"),
    [
        ("song.mp3", "song.mp3", "song (2).mp3"),
        ("SONG.mp3", "song.mp3", "song (2).mp3"),
        ("é.mp3", "e\u0301.mp3", "e\u0301 (2).mp3"),
        ("a", "a", "a (2)"),
    ],
)
def test_names_that_some_disk_takes_for_one_get_numbers(safe, there, wanted, given):
    (safe.root / there).write_bytes(b"old")
    with safe.folder() as folder:
        assert put(folder, wanted, b"new", existing="number").name == given
        assert (safe.root / there).read_bytes() == b"old"


def test_a_stale_file_is_replaced_under_the_name_it_has(safe):
    (safe.root / "Song.mp3").write_bytes(b"old")
    with safe.folder() as folder:
        assert (
            put(folder, "song.mp3", b"new", existing="number", stale=lambda name: name == "Song.mp3").name == "Song.mp3"
        )
    assert [entry.name for entry in safe.root.iterdir()] == ["Song.mp3"]


@given(
    st.text(min_size=1, max_size=120).filter(lambda name: "/" not in name and "\0" not in name), st.integers(1, 99_999)
)
def test_a_numbered_name_is_legal_and_keeps_its_extension(name, number):
    try:
        checked_name(name)
    except UnsafePath:
        return
    made = numbered(name, number)
    assert len(made.encode()) <= 255
    if number > 1:
        assert f"({number})" in made


def test_the_first_free_number_is_taken():
    taken = {folded(name) for name in ("A.mp3", "a (2).mp3", "a (4).mp3")}
    assert free_name("a.mp3", taken) == "a (3).mp3"
    assert free_name("b.mp3", taken) == "b.mp3"
    assert numbered("あ" * 83 + ".mp3", 12).endswith("あ (12).mp3")


def test_a_part_is_locked_against_a_second_download(tmp_path):
    folder = open_folder(tmp_path)
    one = PartFile.open(folder, "x")
    two = PartFile.open(folder, "x")
    one.write([b"1" * 10])
    two.write([b"2" * 20])
    assert sorted(folder.names()) == ["x.part", "x.part2"]
    one.finish()
    two.finish()
    assert folder.names() == ["x"]
    folder.close()


def test_only_so_many_downloads_of_one_file_may_run(tmp_path):
    folder = open_folder(tmp_path)
    parts = [PartFile.open(folder, "x") for _ in range(16)]
    with pytest.raises(TransferBroken, match="16"):
        PartFile.open(folder, "x")
    for part in parts:
        part.close()
    assert folder.names() == []
    folder.close()


def test_a_part_remembers_what_it_belongs_to(tmp_path):
    folder = open_folder(tmp_path)
    part = PartFile.open(folder, "x")
    part.begin(Held(identity="bv1"))
    part.note(Held(identity="bv1", total=10))
    part.write([b"12345"])
    part.close()
    again = PartFile.open(folder, "x")
    assert (again.size, again.held) == (5, Held(identity="bv1", total=10))
    again.write([b"67890"])
    assert again.head[:3] == b"123"
    assert again.finish().read_bytes() == b"1234567890"
    again.close()
    folder.close()


def test_a_write_after_closing_writes_nowhere(tmp_path):
    folder = open_folder(tmp_path)
    part = PartFile.open(folder, "x")
    part.close()
    with pytest.raises(TransferBroken):
        part.write([b"x"])
    folder.close()


@given(st.text(min_size=1, max_size=300), st.integers(1, 16))
def test_the_name_of_a_part_is_always_legal(name, slot):
    try:
        checked_name(name)
    except UnsafePath:
        return
    assert len(os.fsencode(part_name(name, slot, "pmeta"))) <= 255


def test_new_files_have_the_usual_permissions(safe):
    before = os.umask(0o027)
    try:
        with safe.folder() as folder:
            path = put(folder, "x", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.anyio
async def test_a_small_file_is_saved_in_one_step(safe):
    path = await save(safe, "Artist/song.lrc", b"[00:01.00]la")
    assert path.read_bytes() == b"[00:01.00]la"
    assert (await save(safe, "Artist/song.lrc", b"new")).read_bytes() == b"new"
    assert (await save(safe, "Artist/song.lrc", b"two", existing="number")).name == "song (2).lrc"
    with pytest.raises(UnsafePath):
        await save(safe, "../song.lrc", b"")
