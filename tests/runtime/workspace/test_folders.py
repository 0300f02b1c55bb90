"""Agents may work in folders beneath the roots, and nowhere else."""

from pathlib import Path

import pytest

from runtime.ports import WorkspaceRefused
from runtime.workspace.folders import Folders, is_within


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "project" / ".git" / "hooks").mkdir(parents=True)
    (tmp_path / "root" / "project" / ".claude").mkdir()
    (tmp_path / "root" / "file").touch()
    (tmp_path / "rooted").mkdir()
    return tmp_path.resolve() / "root"


def folders(*roots: Path) -> Folders:
    return Folders([str(root) for root in roots], home="/home/nobody")


@pytest.mark.parametrize("path", [".", "project", "project/../project", "project/"])
def test_folder_beneath_a_root_is_taken_as_it_really_is(root: Path, path: str) -> None:
    assert folders(root).check(f"{root}/{path}") == str((root / path).resolve())


def test_link_is_judged_by_where_it_leads(root: Path) -> None:
    (root / "out").symlink_to("../rooted")
    (root.parent / "alias").symlink_to("root/project")
    assert folders(root).check(str(root.parent / "alias")) == str(root / "project")
    with pytest.raises(WorkspaceRefused, match="in none of the folders"):
        folders(root).check(str(root / "out"))


def test_root_that_is_a_link_holds_what_it_leads_to(root: Path) -> None:
    (root.parent / "alias").symlink_to("root")
    assert folders(root.parent / "alias").check(str(root.parent / "alias" / "project")) == str(root / "project")


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("../rooted", "in none"),
        ("..", "in none"),
        ("file", "not a directory"),
        ("missing", "No such file"),
        ("project/.git", "in none"),
        ("project/.git/hooks", "in none"),
        ("project/.claude", "in none"),
    ],
    ids=["beside", "above", "file", "missing", "git", "hooks", "claude"],
)
def test_folder_elsewhere_is_refused_with_the_reason(root: Path, path: str, match: str) -> None:
    with pytest.raises(WorkspaceRefused, match=match):
        folders(root).check(f"{root}/{path}")


@pytest.mark.parametrize("path", ["project", "", "/a\nb", "/a\0b"], ids=["relative", "empty", "line-end", "nul"])
def test_path_that_is_none_is_refused(root: Path, path: str) -> None:
    with pytest.raises(WorkspaceRefused, match="no absolute path"):
        folders(root).check(path)


def test_no_roots_hold_nothing(root: Path) -> None:
    with pytest.raises(WorkspaceRefused, match="none is named"):
        folders().check(str(root))


@pytest.mark.parametrize("path", ["/", "home", "home/someone"])
def test_root_of_the_system_and_homes_are_refused_even_as_roots(tmp_path: Path, path: str) -> None:
    home = tmp_path.resolve() / "home" / "someone"
    (home / "project").mkdir(parents=True)
    taken = Folders(["/"], home=str(home))
    with pytest.raises(WorkspaceRefused, match="home directory"):
        taken.check(path if path == "/" else str(tmp_path / path))
    assert taken.check(str(home / "project")) == str(home / "project")


def test_names_that_begin_alike_are_not_within() -> None:
    assert is_within("/a/b", "/a") and is_within("/a", "/a") and is_within("/a", "/")
    assert not is_within("/ab", "/a")
