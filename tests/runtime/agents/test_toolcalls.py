"""Tool calls are carried out in order, as far as they were offered."""

import asyncio
from typing import Any

import pytest

from gateway.contract import DENIED_TOOL
from runtime.agents.answer import ToolUse
from runtime.agents.toolcalls import TITLE_CHARS_MAX, ToolCaller, title_of
from runtime.ports import ToolAnswer
from tests.runtime.agents.scene import FakeTools, FakeWatch, echo


def call(name: str, number: int = 1, **tool_input: Any) -> ToolUse:
    return ToolUse(f"toolu_{number}", name, tool_input, "{}")


def caller(*names: str, run: Any = echo) -> tuple[ToolCaller, FakeTools, FakeWatch]:
    tools, watch = FakeTools(names, run), FakeWatch()
    return ToolCaller(tools, frozenset(names), "wf_1/3/1", watch), tools, watch


async def test_w52_every_call_is_answered_in_its_order() -> None:
    made, tools, _ = caller("Read", "Edit")
    results = await made.results([call("Read", 1), call("Edit", 2), call("Read", 3)])
    assert [result["tool_use_id"] for result in results] == ["toolu_1", "toolu_2", "toolu_3"]
    assert [name for name, _, _ in tools.calls] == ["Read", "Edit", "Read"] and made.ran == 3


async def test_w58_tools_get_the_attempts_idempotency_key() -> None:
    made, tools, _ = caller("Read")
    await made.results([call("Read", file_path="/a")])
    assert tools.calls == [("Read", {"file_path": "/a"}, "wf_1/3/1")]


async def test_calls_that_only_read_run_at_once() -> None:
    both = asyncio.Barrier(2)

    async def meet(name: str, tool_input: dict[str, Any]) -> ToolAnswer:
        await both.wait()
        return ToolAnswer(content=str(tool_input["n"]))

    made, _, _ = caller("Read", "Grep", run=meet)
    results = await made.results([call("Read", 1, n=1), call("Grep", 2, n=2)])
    assert [result["content"] for result in results] == ["1", "2"]


async def test_calls_that_change_something_never_run_at_once() -> None:
    running: list[str] = []
    most = 0

    async def count(name: str, tool_input: dict[str, Any]) -> ToolAnswer:
        nonlocal most
        running.append(name)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.pop()
        return ToolAnswer(content="")

    made, _, _ = caller("Edit", "Bash", "Read", run=count)
    await made.results([call("Edit", 1), call("Edit", 2), call("Read", 3), call("Bash", 4)])
    assert most == 1


@pytest.mark.parametrize("name", ["Bash", "Workflow", DENIED_TOOL, ""], ids=["other", "workflow", "denied", "nameless"])
async def test_w52_what_was_not_offered_is_never_executed(name: str) -> None:
    made, tools, watch = caller("Read")
    (result,) = await made.results([call(name)])
    assert result["is_error"] is True and "no tool" in result["content"]
    assert tools.calls == [] and watch.tools == [] and made.ran == 0


async def test_unreadable_input_is_answered_with_the_reason() -> None:
    made, tools, _ = caller("Read")
    (result,) = await made.results([ToolUse("toolu_1", "Read", None, "{", "it is cut off")])
    assert result["is_error"] is True and "it is cut off" in result["content"] and tools.calls == []


async def test_w173_calls_that_ran_are_told() -> None:
    async def fail(name: str, tool_input: dict[str, Any]) -> ToolAnswer:
        return ToolAnswer(content="no such file", is_error=True)

    made, _, watch = caller("Read", run=fail)
    (result,) = await made.results([call("Read", file_path="/a/b.py")])
    assert watch.tools == [("Read", "/a/b.py", True)] and result["is_error"] is True


@pytest.mark.parametrize(
    ("tool_input", "title"),
    [
        ({"pattern": "x", "path": "/a"}, "/a"),
        ({"command": "ls\n  -l"}, "ls -l"),
        ({"file_path": 5}, ""),
        ({"command": "x" * 500}, "x" * (TITLE_CHARS_MAX - 1) + "…"),
    ],
    ids=["path", "lines", "odd", "long"],
)
def test_title_says_what_a_call_is_about(tool_input: dict[str, Any], title: str) -> None:
    assert title_of(tool_input) == title
