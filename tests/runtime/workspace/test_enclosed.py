"""Repositories that lead out of themselves: nothing is read or written where they lead."""

import os
from pathlib import Path

import pytest

from runtime.ports import WorkspaceRefused
from runtime.workspace import Folders, GitWorkspaces
from runtime.workspace.enclosed import problem_of
from runtime.workspace.worktrees import WORKTREES_DIRECTORY
from tests.support.repositories import commit, git, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "root" / "repository")


def workspaces(repository: Path) -> GitWorkspaces:
    return GitWorkspaces(Folders([str(repository.parent)], home="/home/nobody"))


def lead_out(repository: Path, name: str, outside: Path) -> list[Path]:
    """A part of the git directory lies outside; what is there."""
    part = repository / ".git" / name
    outside.mkdir()
    if part.exists():
        part.rename(outside / "part")
    else:
        (outside / "part").mkdir()
        part.parent.mkdir(parents=True, exist_ok=True)
    part.symlink_to(outside / "part")
    return sorted(outside.rglob("*"))


@pytest.mark.parametrize(
    "name",
    ["objects", "objects/pack", "refs", "refs/heads", "refs/heads/ringfence", "logs", "logs/refs", "index", "info"]
    + [WORKTREES_DIRECTORY, "worktrees", "config"],
)
async def test_w59_repository_with_a_part_elsewhere_is_refused_and_nothing_is_written(
    repository: Path, tmp_path: Path, name: str
) -> None:
    before = lead_out(repository, name, tmp_path / "outside")
    with pytest.raises(WorkspaceRefused, match=f"leads out of itself: {name} is a link"):
        await workspaces(repository).branch_off(str(repository), "one")
    assert sorted((tmp_path / "outside").rglob("*")) == before


async def test_w59_objects_of_another_repository_are_not_read(repository: Path, tmp_path: Path) -> None:
    secret = make_repository(tmp_path / "outside")
    (secret / "file").write_text("kept outside\n")
    head = commit(secret)
    (repository / ".git" / "objects" / "info" / "alternates").write_text(f"{secret}/.git/objects\n")
    (repository / ".git" / "refs" / "heads" / "main").write_text(f"{head}\n")
    with pytest.raises(WorkspaceRefused, match="borrows objects"):
        await workspaces(repository).branch_off(str(repository), "one")


async def test_links_in_checkouts_and_in_hooks_are_usual(repository: Path) -> None:
    (repository / "link").symlink_to("/etc/hostname")
    commit(repository)
    (repository / ".git" / "hooks" / "pre-commit").symlink_to("../../hook")
    one = await workspaces(repository).branch_off(str(repository), "one")
    two = await workspaces(repository).branch_off(str(repository), "two")
    assert os.path.islink(f"{one.folder}/link")
    assert not (await one.finish()).changed and not (await two.finish()).changed


def test_link_far_down_is_found(repository: Path) -> None:
    git(repository, "branch", "a/b/c")
    (repository / ".git" / "refs" / "heads" / "a" / "b" / "d").symlink_to("c")
    assert problem_of(f"{repository}/.git", WORKTREES_DIRECTORY) == "refs/heads/a/b/d is a link"


def test_directory_that_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        problem_of(f"{tmp_path}/none", WORKTREES_DIRECTORY)
