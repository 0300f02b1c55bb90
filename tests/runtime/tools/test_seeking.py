"""The search runs in a process that is killed when it is late, and never searches outside of the folder."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.tools.beneath import Folder
from runtime.tools.inputs import GlobInput, GrepInput
from runtime.tools.refusal import Refused
from runtime.tools.seeking import seek


@contextlib.asynccontextmanager
async def opened(place: Path) -> AsyncIterator[Folder]:
    with contextlib.closing(Folder(str(place.resolve()))) as folder:
        yield folder


def searching() -> list[int]:
    """Processes of this one that search."""
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        return [int(child) for child in children.read().split() if "seek.main" in command_of(child)]


def command_of(child: str) -> str:
    try:
        return Path(f"/proc/{child}/cmdline").read_text()
    except OSError:
        return ""


async def test_search_answers_paths_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text("needle\n")
    async with opened(tmp_path) as folder:
        assert await seek(folder, GlobInput(pattern="*.py")) == "sub/a.py"
        assert await seek(folder, GlobInput(pattern=f"{folder.path}/sub/*.py", path="sub")) == "sub/a.py"
        assert await seek(folder, GrepInput(pattern="needle", path=f"{folder.path}/sub")) == "sub/a.py"


async def test_search_through_a_link_inside_begins_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("needle")
    (tmp_path / "alias").symlink_to("sub")
    async with opened(tmp_path) as folder:
        assert await seek(folder, GrepInput(pattern="needle", path="alias")) == "sub/a"


@pytest.mark.parametrize("path", ["..", "/etc", "alias"])
async def test_search_outside_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "alias").symlink_to("/etc")
    async with opened(tmp_path / "in") as folder:
        for asked in (GrepInput(pattern="root", path=path), GlobInput(pattern="*", path=path)):
            with pytest.raises(Refused, match="outside|leads out"):
                await seek(folder, asked)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (GrepInput(pattern="("), "no regular expression"),
        (GrepInput(pattern="x", type="cobol"), "no known type"),
        (GlobInput(pattern="../*"), "upwards"),
        (GlobInput(pattern="/etc/*"), "outside"),
        (GrepInput(pattern="x", path="nothing"), "nothing at"),
    ],
    ids=["regex", "type", "upwards", "absolute", "missing"],
)
async def test_search_that_cannot_be_is_refused(tmp_path: Path, asked: GrepInput | GlobInput, match: str) -> None:
    async with opened(tmp_path) as folder:
        with pytest.raises(Refused, match=match):
            await seek(folder, asked)


async def test_pattern_that_explodes_ends_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("aab")
    (tmp_path / "b").write_text("a" * 40)
    async with opened(tmp_path) as folder:
        answered = await seek(folder, GrepInput(pattern="(a+)+b"), seconds=1)
    assert answered.splitlines()[0] == "a"
    assert "time was up" in answered


async def test_file_pattern_that_explodes_ends(tmp_path: Path) -> None:
    (tmp_path / ("a" * 200)).touch()
    async with opened(tmp_path) as folder:
        assert "time was up" in await seek(folder, GlobInput(pattern="*a" * 30 + "b"), seconds=0.5)


async def test_directory_bomb_ends_in_time(tmp_path: Path) -> None:
    for outer in range(40):
        for inner in range(40):
            os.makedirs(tmp_path / f"{outer}" / f"{inner}")
    async with opened(tmp_path) as folder:
        assert "time was up" in await seek(folder, GlobInput(pattern="*"), seconds=0.001)


async def test_cancelled_search_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a" * 40)
    async with opened(tmp_path) as folder:
        task = asyncio.ensure_future(seek(folder, GrepInput(pattern="(a+)+b")))
        while not searching() and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert searching() == []


async def test_loop_goes_on_while_a_search_runs(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a" * 40)
    ticks = 0
    async with opened(tmp_path) as folder:
        task = asyncio.ensure_future(seek(folder, GrepInput(pattern="(a+)+b"), seconds=0.3))
        while not task.done():
            ticks += 1
            await asyncio.sleep(0)
        await task
    assert ticks > 100


async def test_names_that_are_no_text_are_answered(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("needle")
    async with opened(tmp_path) as folder:
        assert await seek(folder, GrepInput(pattern="needle")) == "\udcff.txt"
