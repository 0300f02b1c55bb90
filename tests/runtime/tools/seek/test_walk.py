"""The walk finds ordinary files, leaves out what it must, and ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.tools.seek import walk as walking
from runtime.tools.seek.walk import Walk


@contextlib.contextmanager
def walk(place: Path, *, ignores: bool = False) -> Iterator[Walk]:
    root = os.open(place, os.O_RDONLY)
    try:
        yield Walk(root, respects_ignores=ignores)
    finally:
        os.close(root)


def paths(place: Path, *start: str, ignores: bool = False) -> list[str]:
    with walk(place, ignores=ignores) as walked:
        return [file.path for file in walked.files(start)]


def plant(place: Path, *names: str) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)


def test_files_come_in_the_order_of_names(tmp_path: Path) -> None:
    plant(tmp_path, "b", "a/z", "a/b/c", ".hidden")
    assert paths(tmp_path) == [".hidden", "a/b/c", "a/z", "b"]


def test_walk_begins_where_it_is_told(tmp_path: Path) -> None:
    plant(tmp_path, "a/b/c", "a/d", "e")
    assert paths(tmp_path, "a") == ["a/b/c", "a/d"]
    assert paths(tmp_path, "a", "d") == ["a/d"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, "in/a", "outside/secret")
    (tmp_path / "in" / "directory").symlink_to("../outside")
    (tmp_path / "in" / "file").symlink_to("../outside/secret")
    (tmp_path / "in" / "self").symlink_to(".")
    assert paths(tmp_path / "in") == ["a"]


def test_start_that_became_a_link_is_an_error(tmp_path: Path) -> None:
    plant(tmp_path, "in/a", "outside/secret")
    (tmp_path / "in" / "start").symlink_to("../outside")
    with pytest.raises(OSError):
        paths(tmp_path / "in", "start")


def test_version_control_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    plant(tmp_path, ".git/config", ".hg/x", "sub/.git/config", "a")
    assert paths(tmp_path) == ["a"]
    assert paths(tmp_path, ".git") == [".git/config"]


def test_ignored_files_are_left_out_when_asked(tmp_path: Path) -> None:
    plant(tmp_path, "node_modules/x/y", "src/a.log", "src/b", "src/gen/c", "src/gen/keep")
    (tmp_path / ".gitignore").write_text("node_modules/\n*.log\n")
    (tmp_path / "src" / ".gitignore").write_text("gen/*\n!gen/keep\n")
    assert paths(tmp_path, ignores=True) == [".gitignore", "src/.gitignore", "src/b", "src/gen/keep"]
    assert paths(tmp_path, "src", ignores=True) == ["src/.gitignore", "src/b", "src/gen/keep"]
    assert paths(tmp_path, "node_modules", "x", ignores=True) == ["node_modules/x/y"]
    assert "node_modules/x/y" in paths(tmp_path)


def test_pipe_as_list_of_ignores_is_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, "a")
    os.mkfifo(tmp_path / ".gitignore")
    assert paths(tmp_path, ignores=True) == ["a"]


def test_what_is_not_ordinary_is_not_read(tmp_path: Path) -> None:
    plant(tmp_path, "in/a", "outside", "in/large")
    os.link(tmp_path / "outside", tmp_path / "in" / "hard")
    with walk(tmp_path / "in") as walked:
        assert {file.name: file.read(3) for file in walked.files(())} == {"a": None, "hard": None, "large": None}
    with walk(tmp_path / "in") as walked:
        assert {file.name: file.read(99) for file in walked.files(())} == {
            "a": b"in/a",
            "hard": None,
            "large": b"in/large",
        }


def test_directories_deeper_than_the_limit_are_left_out_and_said(tmp_path: Path) -> None:
    directory = tmp_path
    for _ in range(walking.DEPTH_MAX + 20):
        directory /= "d"
    os.makedirs(directory)
    plant(tmp_path, "a")
    with walk(tmp_path) as walked:
        assert [file.path for file in walked.files(())] == ["a"]
        assert "deeper" in "".join(walked.left_out)


def test_more_entries_than_the_limit_end_the_walk_and_are_said(tmp_path: Path) -> None:
    plant(tmp_path, *(f"{number:03}" for number in range(20)))
    with walk(tmp_path) as walked:
        walked.entries = walking.ENTRIES_MAX - 5
        assert len(list(walked.files(()))) == 5
        assert "only the first" in "".join(walked.left_out)


def test_no_descriptor_stays_open_when_a_walk_is_left(tmp_path: Path) -> None:
    plant(tmp_path, "a/b/c/d", "e")
    before = os.listdir("/proc/self/fd")
    with walk(tmp_path) as walked:
        files = walked.files(())
        assert next(files).path == "a/b/c/d"
        files.close()
    assert os.listdir("/proc/self/fd") == before
