"""Files are read up to a limit, and replaced whole or not at all."""

import contextlib
import os
import threading
from pathlib import Path

import pytest

from runtime.tools.beneath import Folder
from runtime.tools.files import read_whole, replace_whole
from runtime.tools.refusal import Refused
from tests.support.swapping import swapping


def replace(place: Path, path: str, content: bytes, mode: int | None) -> None:
    with contextlib.closing(Folder(str(place.resolve()))) as folder, folder.locate(path, follow=False) as spot:
        replace_whole(spot, content, mode=mode)


def test_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(1 << 40)
    with contextlib.closing(Folder(str(tmp_path.resolve()))) as folder, folder.locate("huge") as spot:
        with pytest.raises(Refused, match="larger than"):
            read_whole(folder, spot)


def test_file_at_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    with contextlib.closing(Folder(str(tmp_path.resolve()))) as folder, folder.locate("file") as spot:
        assert read_whole(folder, spot, bytes_max=10).content == b"x" * 10
        with pytest.raises(Refused, match="larger than"):
            read_whole(folder, spot, bytes_max=9)


def test_replaced_file_keeps_its_mode_and_drops_special_bits(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("old")
    replace(tmp_path, "script", b"new", 0o4750)
    assert (tmp_path / "script").read_text() == "new"
    assert (tmp_path / "script").stat().st_mode & 0o7777 == 0o750
    assert os.listdir(tmp_path) == ["script"]


def test_new_file_gets_what_the_account_gives_new_files(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    replace(tmp_path, "new", b"new", None)
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_link_that_appears_meanwhile_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_text("untouched")
    with contextlib.closing(Folder(str((tmp_path / "in").resolve()))) as folder, folder.locate("file") as spot:
        (tmp_path / "in" / "file").symlink_to("../outside")
        replace_whole(spot, b"new", mode=None)
    assert (tmp_path / "outside").read_text() == "untouched"
    assert (tmp_path / "in" / "file").read_text() == "new"
    assert not (tmp_path / "in" / "file").is_symlink()


def test_hard_link_is_cut_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_text("untouched")
    os.link(tmp_path / "outside", tmp_path / "in" / "file")
    replace(tmp_path / "in", "file", b"new", 0o600)
    assert (tmp_path / "outside").read_text() == "untouched"


def test_directory_is_not_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        replace(tmp_path, "directory", b"new", None)
    assert os.listdir(tmp_path) == ["directory"]


def test_protected_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(Refused, match="cannot be written"):
        replace(tmp_path, ".git/config", b"[core]", None)
    assert os.listdir(tmp_path / ".git") == []


def test_writes_while_a_directory_is_swapped_for_a_link_never_land_outside(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (place / "moving").mkdir(parents=True)
    (place / "trap").symlink_to(elsewhere)
    with swapping(place, "moving", "trap"):
        for number in range(2_000):
            with contextlib.suppress(Refused):
                replace(place, f"moving/{number}", b"written", None)
    assert os.listdir(elsewhere) == []


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    versions = {bytes([65 + number]) * 200_000 for number in range(2)}
    (tmp_path / "file").write_bytes(min(versions))
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            for version in versions:
                replace(tmp_path, "file", version, 0o600)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = {(tmp_path / "file").read_bytes() for _ in range(300)}
    finally:
        ended.set()
        thread.join()
    assert seen <= versions
