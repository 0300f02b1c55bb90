"""The tools as an agent meets them: what is offered, what each call answers, and what is not done."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.ports import Toolboxes, Tools, WorkspaceRefused
from runtime.tools.bubblewrap import NoSandbox
from runtime.tools.files import FILE_BYTES_MAX
from runtime.tools.inputs import BASH_MS_MAX
from runtime.tools.toolbox import FolderToolboxes
from tests.support.bubblewrap import bubblewrap_or_skip

NO_SANDBOX = NoSandbox("there is no bwrap on PATH: install the package bubblewrap")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@contextlib.asynccontextmanager
async def opened(
    place: Path, *, toolboxes: Toolboxes | None = None, names: list[str] | None = None
) -> AsyncIterator[Tools]:
    tools = await (toolboxes or FolderToolboxes(NO_SANDBOX)).open(str(place.resolve()), names)
    try:
        yield tools
    finally:
        await tools.close()


async def call(tools: Tools, name: str, **tool_input: Any) -> tuple[bool, Any]:
    """Whether it is an error, and the content."""
    answer = await tools.call(name, tool_input, idempotency_key="wf_abcdef/0/1")
    return answer.is_error, answer.content


def names_of(tools: Tools) -> list[str]:
    return [definition["name"] for definition in tools.definitions]


async def test_bash_is_not_offered_without_a_sandbox_and_refused_with_the_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as tools:
        assert names_of(tools) == ["Read", "Glob", "Grep", "Edit", "Write"]
        assert await call(tools, "Bash", command="touch made") == (
            True,
            "Bash cannot be used here: there is no bwrap on PATH: install the package bubblewrap.",
        )
    assert not (tmp_path / "made").exists()


async def test_bash_is_offered_where_a_sandbox_is(tmp_path: Path) -> None:
    toolboxes = FolderToolboxes(await bubblewrap_or_skip())
    async with opened(tmp_path, toolboxes=toolboxes) as tools:
        assert names_of(tools)[-1] == "Bash"
        assert await call(tools, "Bash", command="echo hello; echo >&2 there") == (False, "hello\nthere")
        assert await call(tools, "Bash", command="true") == (False, "(no output)")
        assert await call(tools, "Bash", command="echo so; exit 3") == (True, "Exit code 3\nso")
        assert await call(tools, "Bash", command="sleep 60", timeout=300) == (
            True,
            "Ended after 300 ms: its time was up",
        )


async def test_w58_idempotency_key_reaches_the_command(tmp_path: Path) -> None:
    toolboxes = FolderToolboxes(await bubblewrap_or_skip())
    async with opened(tmp_path, toolboxes=toolboxes) as tools:
        assert await call(tools, "Bash", command="echo $RINGFENCE_IDEMPOTENCY_KEY") == (False, "wf_abcdef/0/1")


@pytest.mark.parametrize("command", ["x" * 200_000, "a\0b", "\ud800"], ids=["long", "nul", "surrogate"])
async def test_command_that_cannot_be_started_is_refused(tmp_path: Path, command: str) -> None:
    toolboxes = FolderToolboxes(await bubblewrap_or_skip())
    async with opened(tmp_path, toolboxes=toolboxes) as tools:
        failed, said = await call(tools, "Bash", command=command)
        assert failed and said


def test_longest_time_of_a_command_is_that_of_the_client() -> None:
    assert BASH_MS_MAX == 600_000


async def test_only_named_tools_are_offered_and_done(tmp_path: Path) -> None:
    async with opened(tmp_path, names=["Read", "WebFetch"]) as tools:
        assert names_of(tools) == ["Read"]
        assert await call(tools, "Write", file_path="made", content="x") == (
            True,
            "There is no tool Write here. There is: Read.",
        )
    assert os.listdir(tmp_path) == []


async def test_no_folder_has_no_tools() -> None:
    tools = await FolderToolboxes(NO_SANDBOX).open(None, None)
    assert tools.definitions == []
    assert (await call(tools, "Read", file_path="/etc/passwd"))[0]
    await tools.close()


@pytest.mark.parametrize("folder", ["relative", "/nowhere/at/all", "link", "file", "sub/.."])
async def test_folder_that_is_not_as_it_says_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("sub")
    path = folder if folder == "relative" else os.path.join(tmp_path.resolve(), folder)
    with pytest.raises(WorkspaceRefused):
        await FolderToolboxes(NO_SANDBOX).open(path, None)


async def test_file_is_written_read_changed_and_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as tools:
        path = f"{tmp_path.resolve()}/src/new.py"
        assert await call(tools, "Write", file_path=path, content="x = 1\n") == (False, "Wrote src/new.py (6 bytes).")
        assert await call(tools, "Edit", file_path="src/new.py", old_string="1", new_string="2") == (
            False,
            "Changed src/new.py in 1 place.",
        )
        assert await call(tools, "Read", file_path=path) == (False, "1\tx = 2\n2\t")
        assert await call(tools, "Glob", pattern="**/*.py") == (False, "src/new.py")
        assert await call(tools, "Grep", pattern="x = 2") == (False, "src/new.py")
        assert await call(tools, "Write", file_path=path, content="") == (False, "Replaced src/new.py (0 bytes).")


async def test_file_has_to_be_read_before_it_is_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    async with opened(tmp_path) as tools:
        for name, change in (("Edit", {"old_string": "old", "new_string": "new"}), ("Write", {"content": "new"})):
            failed, said = await call(tools, name, file_path="file", **change)
            assert (failed, "read it first" in said) == (True, True)
        assert (tmp_path / "file").read_text() == "old"
        await call(tools, "Read", file_path="file", limit=1)
        assert (await call(tools, "Edit", file_path="file", old_string="old", new_string="new"))[0] is False


async def test_file_that_changed_since_has_to_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    async with opened(tmp_path) as tools:
        await call(tools, "Read", file_path="file")
        status = (tmp_path / "file").stat()
        (tmp_path / "file").write_text("odd")
        os.utime(tmp_path / "file", ns=(status.st_atime_ns, status.st_mtime_ns))
        failed, said = await call(tools, "Write", file_path="file", content="new")
        assert (failed, "has changed since" in said) == (True, True)
        await call(tools, "Read", file_path="file")
        assert (await call(tools, "Write", file_path="file", content="new"))[0] is False


async def test_what_another_agent_read_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    toolboxes = FolderToolboxes(NO_SANDBOX)
    async with opened(tmp_path, toolboxes=toolboxes) as one, opened(tmp_path, toolboxes=toolboxes) as other:
        await call(one, "Read", file_path="file")
        assert (await call(other, "Write", file_path="file", content="new"))[0] is True


async def test_agents_that_change_a_file_at_once_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("0")
    toolboxes = FolderToolboxes(NO_SANDBOX)

    async def count_up() -> int:
        done = 0
        async with opened(tmp_path, toolboxes=toolboxes) as tools:
            for _ in range(40):
                _, shown = await call(tools, "Read", file_path="file")
                number = shown.partition("\t")[2]
                failed, _ = await call(
                    tools, "Edit", file_path="file", old_string=number, new_string=str(int(number) + 1)
                )
                done += not failed
        return done

    assert int((tmp_path / "file").read_text()) == 0
    assert sum(await asyncio.gather(*(count_up() for _ in range(4)))) == int((tmp_path / "file").read_text())


@pytest.mark.parametrize("path", [".git/hooks/pre-commit", ".claude/settings.json", "sub/.git/config"])
async def test_w146_file_tools_do_not_write_what_takes_effect_elsewhere(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("old")
    (tmp_path / "alias").symlink_to(Path(path).parent)
    async with opened(tmp_path) as tools:
        for way in (path, f"alias/{Path(path).name}"):
            assert (await call(tools, "Read", file_path=way))[0] is False
            for name, change in (("Edit", {"old_string": "old", "new_string": "new"}), ("Write", {"content": "new"})):
                failed, said = await call(tools, name, file_path=way, **change)
                assert (failed, "cannot be written" in said) == (True, True)
        assert (await call(tools, "Write", file_path=".claude/new/agent.md", content="x"))[0] is True
    assert (tmp_path / path).read_text() == "old"
    assert not (tmp_path / ".claude" / "new").exists()


async def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_text("old")
    (tmp_path / "in" / "file").write_text("old")
    (tmp_path / "in" / "out").symlink_to("../outside")
    (tmp_path / "in" / "alias").symlink_to("file")
    (tmp_path / "in" / "dangling").symlink_to("../made")
    async with opened(tmp_path / "in") as tools:
        await call(tools, "Read", file_path="alias")
        for path in ("out", "alias", "dangling"):
            failed, said = await call(tools, "Write", file_path=path, content="new")
            assert (failed, "is a link" in said) == (True, True)
    assert (tmp_path / "outside").read_text() == (tmp_path / "in" / "file").read_text() == "old"
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "tool_input"),
    [
        ("Read", {"file_path": "/etc/passwd"}),
        ("Read", {"file_path": "../secret"}),
        ("Write", {"file_path": "../made", "content": ""}),
        ("Write", {"file_path": "directory", "content": ""}),
        ("Write", {"file_path": "n" * 300, "content": ""}),
        ("Write", {"file_path": "big", "content": "x" * (FILE_BYTES_MAX + 1)}),
        ("Write", {"file_path": "half", "content": "\ud800"}),
        ("Edit", {"file_path": "missing", "old_string": "a", "new_string": "b"}),
        ("Read", {"file_path": ""}),
        ("Grep", {"pattern": "("}),
        ("Glob", {"pattern": "*", "path": "/"}),
        ("Unheard", {}),
        ("Read", {}),
    ],
    ids=[
        *("absolute", "upwards", "write-upwards", "directory", "long-name", "huge", "surrogate", "edit-missing"),
        *("empty", "regex", "glob-outside", "unknown-tool", "no-input"),
    ],
)
async def test_call_that_cannot_be_done_is_an_answer(tmp_path: Path, name: str, tool_input: dict[str, Any]) -> None:
    (tmp_path / "in" / "directory").mkdir(parents=True)
    (tmp_path / "secret").write_text("kept outside")
    async with opened(tmp_path / "in") as tools:
        failed, said = await call(tools, name, **tool_input)
    assert failed and said and "kept outside" not in said
    assert sorted(os.listdir(tmp_path)) == ["in", "secret"]
    assert os.listdir(tmp_path / "in") == ["directory"]


async def test_image_is_answered_as_one(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(PNG)
    async with opened(tmp_path) as tools:
        failed, content = await call(tools, "Read", file_path="image.png")
        assert (failed, content[0]["type"]) == (False, "image")


async def test_names_that_are_no_text_are_answered_as_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.txt")).touch()
    async with opened(tmp_path) as tools:
        assert await call(tools, "Glob", pattern="*") == (False, "\\udcff.txt")


async def test_closing_ends_what_still_runs(tmp_path: Path) -> None:
    toolboxes = FolderToolboxes(await bubblewrap_or_skip())
    os.mkfifo(tmp_path / "begun")
    async with opened(tmp_path, toolboxes=toolboxes) as tools:
        task = asyncio.ensure_future(call(tools, "Bash", command="echo > begun; sleep 600"))
        await asyncio.to_thread((tmp_path / "begun").read_bytes)
        await tools.close()
        assert task.cancelled()
        assert (await call(tools, "Read", file_path="file"))[0] is True
