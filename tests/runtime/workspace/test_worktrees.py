"""Worktrees of agents: where they come from, what becomes of them, and what a hostile repository cannot have run."""

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.core.model import Worktree
from runtime.ports import WorkspaceRefused
from runtime.workspace import Folders, GitWorkspaces
from runtime.workspace.git import Git
from tests.support.repositories import commit, git, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "root" / "repository")


def workspaces(repository: Path, program: str | None = None) -> GitWorkspaces:
    """A gateway that has just started, with the folder around the repository as its root."""
    return GitWorkspaces(Folders([str(repository.parent)], home="/home/nobody"), Git(program))


def left(repository: Path) -> tuple[int, list[str]]:
    """How many worktrees there are besides the main one, and the branches."""
    worktrees = git(repository, "worktree", "list", "--porcelain").count("worktree ") - 1
    return worktrees, git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()


async def test_w59_worktree_begins_at_the_head_of_the_folder_and_not_of_the_default_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "feature")
    (repository / "file").write_text("two\n")
    head = commit(repository)
    checkout = await workspaces(repository).branch_off(str(repository), "wf_abcdef-1-1")
    assert (checkout.base, checkout.branch) == (head, "ringfence/wf_abcdef-1-1")
    assert (Path(checkout.folder) / "file").read_text() == "two\n"
    assert git(Path(checkout.folder), "status", "--porcelain") == ""


async def test_w59_unchanged_worktree_is_removed_with_its_branch(repository: Path) -> None:
    checkout = await workspaces(repository).branch_off(str(repository), "one")
    assert await checkout.finish() == Worktree(path=None, branch=None, base=checkout.base, changed=False)
    assert not os.path.exists(checkout.folder)
    assert left(repository) == (0, ["main"])


CHANGES: dict[str, Callable[[Path], object]] = {
    "edited": lambda folder: (folder / "file").write_text("two\n"),
    "added": lambda folder: (folder / "new").touch(),
    "deleted": lambda folder: (folder / "file").unlink(),
    "committed": lambda folder: ((folder / "new").touch(), commit(folder)),
    "nested": lambda folder: make_repository(folder / "nested"),
    "mode": lambda folder: (folder / "file").chmod(0o755),
    "link": lambda folder: ((folder / "file").unlink(), (folder / "file").symlink_to("/etc/passwd")),
    "other-branch": lambda folder: git(folder, "checkout", "-q", "--orphan", "other"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_w59_changed_worktree_is_kept_with_path_branch_and_base(repository: Path, change: str) -> None:
    checkout = await workspaces(repository).branch_off(str(repository), "one")
    CHANGES[change](Path(checkout.folder))
    kept = await checkout.finish()
    assert kept == Worktree(path=checkout.folder, branch="ringfence/one", base=checkout.base, changed=True)
    assert os.path.isdir(checkout.folder)
    assert left(repository)[0] == 1


async def test_w59_ignored_files_are_no_change(repository: Path) -> None:
    (repository / ".gitignore").write_text("build/\n")
    commit(repository)
    checkout = await workspaces(repository).branch_off(str(repository), "one")
    (Path(checkout.folder) / "build").mkdir()
    (Path(checkout.folder) / "build" / "x").touch()
    assert (await checkout.finish()).changed is False


async def test_w59_main_checkout_never_moves(repository: Path) -> None:
    (repository / "file").write_text("being edited\n")
    (repository / "untracked").touch()
    before = git(repository, "status", "--porcelain=v2", "--branch"), (repository / ".git" / "HEAD").read_text()
    there = workspaces(repository)
    changed = await there.branch_off(str(repository), "one")
    unchanged = await there.branch_off(str(repository), "two")
    (Path(changed.folder) / "new").touch()
    commit(Path(changed.folder))
    await changed.finish()
    await unchanged.finish()
    after = git(repository, "status", "--porcelain=v2", "--branch"), (repository / ".git" / "HEAD").read_text()
    assert after == before
    assert (Path(changed.folder) / "file").read_text() == "one\n"


async def test_w59_every_attempt_has_a_fresh_directory(repository: Path) -> None:
    there = workspaces(repository)
    first = await there.branch_off(str(repository), "one")
    (Path(first.folder) / "new").touch()
    await first.finish()
    second = await there.branch_off(str(repository), "one")
    assert (second.branch, sorted(os.listdir(second.folder))) == ("ringfence/one-2", [".git", "file", "sub"])
    await second.finish()
    assert left(repository) == (1, ["main", "ringfence/one"])


async def test_folder_in_a_repository_has_its_place_in_the_worktree(repository: Path) -> None:
    checkout = await workspaces(repository).branch_off(str(repository / "sub"), "one")
    assert checkout.folder == f"{checkout.directory}/sub"
    assert os.listdir(checkout.folder) == ["inner"]
    (Path(checkout.folder) / "inner").write_text("two\n")
    assert (await checkout.finish()).path == checkout.directory


async def test_finishing_again_tells_the_same(repository: Path) -> None:
    checkout = await workspaces(repository).branch_off(str(repository), "one")
    assert await checkout.finish() == await checkout.finish()


async def test_worktree_that_somebody_removed_counts_as_changed(repository: Path) -> None:
    checkout = await workspaces(repository).branch_off(str(repository), "one")
    shutil.rmtree(checkout.folder)
    assert (await checkout.finish()).changed is True


async def test_w59_folder_without_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(WorkspaceRefused, match="not a git repository"):
        await workspaces(tmp_path / "plain").branch_off(str(tmp_path / "plain"), "one")


async def test_w59_repository_without_commit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    with pytest.raises(WorkspaceRefused, match="no commit yet"):
        await workspaces(tmp_path / "empty").branch_off(str(tmp_path / "empty"), "one")


async def test_w59_locked_repository_is_refused_and_nothing_is_left(repository: Path) -> None:
    (repository / ".git" / "refs" / "heads" / "ringfence").mkdir()
    (repository / ".git" / "refs" / "heads" / "ringfence" / "one.lock").touch()
    with pytest.raises(WorkspaceRefused, match="one.lock"):
        await workspaces(repository).branch_off(str(repository), "one")
    assert left(repository) == (0, ["main"])
    assert os.listdir(repository / ".git" / "ringfence-worktrees") == []


async def test_w59_untracked_folder_is_refused_and_nothing_is_left(repository: Path) -> None:
    (repository / "untracked").mkdir()
    with pytest.raises(WorkspaceRefused, match="untracked"):
        await workspaces(repository).branch_off(str(repository / "untracked"), "one")
    assert left(repository) == (0, ["main"])


async def test_repository_around_the_roots_is_refused(repository: Path) -> None:
    inside = GitWorkspaces(Folders([str(repository / "sub")], home="/home/nobody"))
    with pytest.raises(WorkspaceRefused, match="outside of the folders"):
        await inside.branch_off(str(repository / "sub"), "one")
    assert left(repository) == (0, ["main"])


async def test_pointer_to_a_repository_elsewhere_is_refused(repository: Path, tmp_path: Path) -> None:
    elsewhere = make_repository(tmp_path / "elsewhere")
    (repository.parent / "trap").mkdir()
    (repository.parent / "trap" / ".git").write_text(f"gitdir: {elsewhere}/.git\n")
    with pytest.raises(WorkspaceRefused, match="outside of the folders"):
        await workspaces(repository).branch_off(str(repository.parent / "trap"), "one")
    assert left(elsewhere) == (0, ["main"])


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a..b", "a.lock", "-b", "a b", "x" * 101, "é", "a."])
async def test_name_that_is_none_for_a_branch_is_refused(repository: Path, name: str) -> None:
    with pytest.raises(WorkspaceRefused, match="no name for a worktree"):
        await workspaces(repository).branch_off(str(repository), name)


async def test_many_at_once_get_one_each(repository: Path) -> None:
    there = workspaces(repository)
    checkouts = await asyncio.gather(*(there.branch_off(str(repository), f"agent-{number}") for number in range(12)))
    assert len({checkout.folder for checkout in checkouts}) == 12
    (Path(checkouts[3].folder) / "new").touch()
    ended = await asyncio.gather(*(checkout.finish() for checkout in checkouts))
    assert [worktree.changed for worktree in ended] == [number == 3 for number in range(12)]
    assert left(repository) == (1, ["main", "ringfence/agent-3"])


async def test_same_name_at_once_gets_one_each(repository: Path) -> None:
    there = workspaces(repository)
    checkouts = await asyncio.gather(*(there.branch_off(str(repository), "same") for _ in range(5)))
    assert sorted(checkout.branch for checkout in checkouts) == [
        "ringfence/same",
        *(f"ringfence/same-{number}" for number in range(2, 6)),
    ]
    await asyncio.gather(*(checkout.finish() for checkout in checkouts))
    assert left(repository) == (0, ["main"])


def slow_git(place: Path, step: str) -> str:
    """A git that says in a pipe when it came to a step, and then takes its time."""
    os.mkfifo(place / "begun")
    program = place / "slow-git"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *{step}*) {shutil.which("git")} "$@"; echo > {place}/begun; exec sleep 600;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


@pytest.mark.parametrize("step", ["branch --no-track", "worktree add", "reset --hard"])
async def test_cancelled_branching_leaves_nothing(repository: Path, tmp_path: Path, step: str) -> None:
    there = workspaces(repository, slow_git(tmp_path, f'"{step}"'))
    task = asyncio.ensure_future(there.branch_off(str(repository), "one"))
    await asyncio.to_thread((tmp_path / "begun").read_bytes)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(repository) == (0, ["main"])
    assert os.listdir(repository / ".git" / "ringfence-worktrees") == []


async def test_leftovers_of_a_process_that_died_are_removed_when_unchanged(repository: Path) -> None:
    died = workspaces(repository)
    unchanged = await died.branch_off(str(repository), "unchanged")
    changed = await died.branch_off(str(repository), "changed")
    (Path(changed.folder) / "new").touch()
    os.close(unchanged.lock)
    os.close(changed.lock)
    (repository / ".git" / "ringfence-worktrees" / "empty").mkdir()
    checkout = await workspaces(repository).branch_off(str(repository), "next")
    await checkout.finish()
    assert left(repository) == (1, ["main", "ringfence/changed"])
    assert os.listdir(repository / ".git" / "ringfence-worktrees") == ["changed"]


async def test_worktree_in_use_is_not_swept_by_another_process(repository: Path) -> None:
    used = await workspaces(repository).branch_off(str(repository), "used")
    other = await workspaces(repository).branch_off(str(repository), "other")
    assert os.path.isdir(used.folder)
    await used.finish()
    await other.finish()
    assert left(repository) == (0, ["main"])


async def test_branch_that_was_there_is_not_touched(repository: Path) -> None:
    git(repository, "branch", "ringfence/one")
    git(repository, "pack-refs", "--all")
    with pytest.raises(WorkspaceRefused, match="already exists"):
        await workspaces(repository).branch_off(str(repository), "one")
    assert left(repository) == (0, ["main", "ringfence/one"])


HOSTILE: dict[str, Callable[[Path, str], object]] = {
    "hooks": lambda repository, program: [
        shutil.copy(program, repository / ".git" / "hooks" / hook)
        for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-commit")
    ],
    "hooks-path": lambda repository, program: (
        shutil.copytree(Path(program).parent, repository / "hooks"),
        shutil.copy(program, repository / "hooks" / "reference-transaction"),
        git(repository, "config", "core.hooksPath", f"{repository}/hooks"),
    ),
    "monitor": lambda repository, program: git(repository, "config", "core.fsmonitor", program),
    "smudge": lambda repository, program: filter_with(repository, "smudge", program),
    "clean": lambda repository, program: filter_with(repository, "clean", program),
    "process": lambda repository, program: filter_with(repository, "process", program),
    "included": lambda repository, program: (
        (repository / "evil").write_text(f'[filter "evil"]\n\tsmudge = {program}\n\tclean = {program}\n'),
        git(repository, "config", "includeIf.onbranch:ringfence/**.path", f"{repository}/evil"),
    ),
    "ssh": lambda repository, program: (
        git(repository, "config", "core.sshCommand", program),
        git(repository, "config", "remote.origin.url", "ssh://127.0.0.1/x"),
        git(repository, "config", "remote.origin.promisor", "true"),
        git(repository, "config", "extensions.partialClone", "origin"),
    ),
    "diff": lambda repository, program: git(repository, "config", "diff.external", program),
    "pager": lambda repository, program: git(repository, "config", "core.pager", program),
    "credentials": lambda repository, program: git(repository, "config", "credential.helper", program),
    "submodules": lambda repository, program: git(repository, "config", "submodule.recurse", "true"),
    "summary": lambda repository, program: git(repository, "config", "status.submoduleSummary", "true"),
}


def filter_with(repository: Path, kind: str, program: str) -> None:
    git(repository, "config", f"filter.evil.{kind}", program)
    git(repository, "config", "filter.evil.required", "true")


@pytest.mark.parametrize("kind", HOSTILE)
async def test_nothing_that_a_hostile_repository_names_is_run(repository: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/ran\ncat\n")
    program.chmod(0o755)
    (repository / ".gitattributes").write_text("* filter=evil\n")
    commit(repository)
    HOSTILE[kind](repository, str(program))
    there = workspaces(repository)
    unchanged = await there.branch_off(str(repository), "one")
    changed = await there.branch_off(str(repository), "two")
    (Path(changed.folder) / "file").write_text("two\n")
    assert (await unchanged.finish()).changed is False
    assert (await changed.finish()).changed is True
    assert not (tmp_path / "ran").exists()


async def test_the_same_repository_does_run_them_in_the_hands_of_a_person(repository: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/ran\ncat\n")
    program.chmod(0o755)
    (repository / ".gitattributes").write_text("* filter=evil\n")
    commit(repository)
    filter_with(repository, "smudge", str(program))
    git(repository, "worktree", "add", "-q", str(tmp_path / "other"))
    assert (tmp_path / "ran").exists()


async def test_what_is_put_into_a_submodule_is_a_change_and_nothing_of_it_is_run(
    repository: Path, tmp_path: Path
) -> None:
    make_repository(tmp_path / "module")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", f"{tmp_path}/module", "module")
    commit(repository)
    there = workspaces(repository)
    empty = await there.branch_off(str(repository), "empty")
    filled = await there.branch_off(str(repository), "filled")
    planted = make_repository(Path(filled.folder) / "module" / "nested").parent
    shutil.move(planted / "nested" / ".git", planted / ".git")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/ran\n")
    program.chmod(0o755)
    git(planted, "config", "core.fsmonitor", str(program))
    (tmp_path / "ran").unlink(missing_ok=True)
    assert (await empty.finish()).changed is False
    assert (await filled.finish()).changed is True
    assert not (tmp_path / "ran").exists()


async def test_pointer_changed_by_an_agent_leads_git_nowhere(repository: Path, tmp_path: Path) -> None:
    checkout = await workspaces(repository).branch_off(str(repository), "one")
    evil = make_repository(tmp_path / "evil")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/ran\n")
    program.chmod(0o755)
    git(evil, "config", "core.fsmonitor", str(program))
    (Path(checkout.folder) / ".git").write_text(f"gitdir: {evil}/.git\n")
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "ran").unlink()
    await checkout.finish()
    assert not (tmp_path / "ran").exists()


async def test_w161_kept_worktree_is_still_there_until_it_or_its_branch_is_gone(repository: Path) -> None:
    there = workspaces(repository)
    checkout = await there.branch_off(str(repository), "one")
    (Path(checkout.folder) / "new").touch()
    kept = await checkout.finish()
    assert await there.still_there(kept)
    git(repository, "worktree", "remove", "--force", checkout.folder)
    assert not await there.still_there(kept)


async def test_w161_worktree_without_its_branch_is_gone(repository: Path) -> None:
    there = workspaces(repository)
    checkout = await there.branch_off(str(repository), "one")
    (Path(checkout.folder) / "new").touch()
    kept = await checkout.finish()
    git(Path(checkout.folder), "checkout", "-q", "--detach")
    git(repository, "branch", "-D", "ringfence/one")
    assert not await there.still_there(kept)


async def test_w161_unchanged_worktree_has_nothing_that_could_be_missing(repository: Path) -> None:
    there = workspaces(repository)
    ended = await (await there.branch_off(str(repository), "one")).finish()
    assert await there.still_there(ended)
