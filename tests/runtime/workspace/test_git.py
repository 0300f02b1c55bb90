"""Git runs nothing that a repository names, and ends in time."""

import asyncio
import os
from pathlib import Path

import pytest

from runtime.workspace.git import Git, GitFailed, Repository, switch_off
from tests.support.repositories import make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(make_repository(tmp_path / "repository")))


async def test_answer_comes_without_its_line_end(repository: Repository) -> None:
    assert await Git().run(repository, "rev-parse", "--abbrev-ref", "HEAD") == "main"


async def test_failure_is_told_in_the_words_of_git(repository: Repository) -> None:
    with pytest.raises(GitFailed, match="git rev-parse: fatal: .*nowhere"):
        await Git().run(repository, "rev-parse", "nowhere")


async def test_missing_git_is_a_failure(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GitFailed, match="no git on PATH"):
        await Git().run(repository, "status")


async def test_environment_of_the_gateway_is_not_handed_on(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    program = Path(repository.folder) / "show"
    program.write_text("#!/bin/sh\nexec env\n")
    program.chmod(0o755)
    printed = await Git(str(program)).run(repository, "anything")
    assert "secret" not in printed
    assert "/nowhere" not in printed


async def test_git_over_its_time_is_killed(tmp_path: Path) -> None:
    (tmp_path / "slow").write_text("#!/bin/sh\necho $$ > pid\nexec sleep 600\n")
    (tmp_path / "slow").chmod(0o755)
    with pytest.raises(GitFailed, match=r"git status took longer than 0.5 s"):
        await Git(str(tmp_path / "slow")).run(Repository(str(tmp_path)), "status", seconds=0.5)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


async def test_cancelled_git_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    (tmp_path / "slow").write_text("#!/bin/sh\necho $$ > begun\nexec sleep 600\n")
    (tmp_path / "slow").chmod(0o755)
    task = asyncio.ensure_future(Git(str(tmp_path / "slow")).run(Repository(str(tmp_path)), "status"))
    pid = await asyncio.to_thread((tmp_path / "begun").read_text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{pid.strip()}").exists()


def test_every_filter_is_switched_off_by_its_exact_name() -> None:
    names = ["filter.a=b.smudge", "filter.x.y.clean", "filter.lfs.process", "core.bare", "filter.n\nl.smudge", ""]
    assert switch_off(names) == {
        "filter.a=b.smudge": "",
        "filter.a=b.required": "false",
        "filter.x.y.clean": "",
        "filter.x.y.required": "false",
        "filter.lfs.process": "",
        "filter.lfs.required": "false",
        "filter.n\nl.smudge": "",
        "filter.n\nl.required": "false",
    }
