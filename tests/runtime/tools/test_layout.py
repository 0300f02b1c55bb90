"""What a command would see, as arguments; whether it holds: `test_bubblewrap.py`."""

import contextlib
import os
from pathlib import Path

import pytest

from runtime.tools.beneath import Folder
from runtime.tools.layout import lay_out, mounts_beneath
from runtime.tools.refusal import Refused


def shown(place: Path) -> list[tuple[str, str]]:
    """Option and path of everything that is bound by descriptor, with what the descriptor really is."""
    with contextlib.closing(Folder(str(place.resolve()))) as folder, lay_out(folder) as layout:
        found: list[tuple[str, str]] = []
        for at, argument in enumerate(layout.arguments):
            if argument.endswith("-fd"):
                descriptor, path = layout.arguments[at + 1 : at + 3]
                assert os.readlink(f"/proc/self/fd/{descriptor}") == path
                found.append((argument, os.path.relpath(path, place.resolve())))
        return found


def test_folder_is_writable_and_what_is_protected_in_it_is_not(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert shown(tmp_path) == [("--bind-fd", "."), ("--ro-bind-fd", ".git"), ("--ro-bind-fd", ".claude")]
    assert os.listdir(tmp_path / ".claude") == []


def test_folder_without_repository_gets_none(tmp_path: Path) -> None:
    assert shown(tmp_path) == [("--bind-fd", "."), ("--ro-bind-fd", ".git"), ("--ro-bind-fd", ".claude")]
    assert os.listdir(tmp_path / ".git") == []


@pytest.mark.parametrize("name", [".git", ".claude"])
def test_protected_name_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).symlink_to("..")
    with pytest.raises(Refused, match="is a link"):
        shown(tmp_path / "in")


def linked(place: Path, back: str) -> Path:
    """A worktree as git lays it out, whose entry in the repository names `back`."""
    (place / "repo" / ".git" / "worktrees" / "w").mkdir(parents=True)
    (place / "w").mkdir()
    (place / "w" / ".git").write_text(f"gitdir: {place.resolve()}/repo/.git/worktrees/w\n")
    (place / "repo" / ".git" / "worktrees" / "w" / "gitdir").write_text(f"{back}\n")
    return place / "w"


def test_repository_of_a_worktree_is_shown_read_only_beneath_it(tmp_path: Path) -> None:
    place = linked(tmp_path, f"{tmp_path.resolve()}/w/.git")
    assert shown(place) == [
        ("--ro-bind-fd", "../repo/.git"),
        ("--bind-fd", "."),
        ("--ro-bind-fd", ".git"),
        ("--ro-bind-fd", ".claude"),
    ]


def test_repository_that_does_not_name_the_worktree_is_not_shown(tmp_path: Path) -> None:
    place = linked(tmp_path, "/somewhere/else/.git")
    assert ("--ro-bind-fd", "../repo/.git") not in shown(place)


@pytest.mark.parametrize("content", ["gitdir: /etc\n", "gitdir: \n", "nonsense", "\0", "gitdir: ../../\n"])
def test_pointer_to_anything_else_shows_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / ".git").write_text(content)
    assert [path for _, path in shown(tmp_path)] == [".", ".git", ".claude"]


def test_descriptors_are_closed_afterwards(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    shown(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_mounts_beneath_a_directory_are_known() -> None:
    assert "/proc" in mounts_beneath("")
    assert mounts_beneath("/proc/self") == set()
