"""Facts of tool calls: classes, and what each tool's input names."""

from typing import Any

import msgspec
import pytest

from gateway.core.decisions.decision import ToolCall, ToolFacts
from gateway.policy.facts import HOSTS_MAX, PATHS_MAX, classify, describe
from tests.support.policies import build_query, packaged_engine

WORKSPACE = "/home/a/w"


def facts(tool: str, **given: Any) -> ToolFacts:
    return describe(tool, given, WORKSPACE)


def paths(tool: str, **given: Any) -> list[tuple[str, str, bool | None]]:
    return [(one.access, one.path, one.inside_workspace) for one in facts(tool, **given).paths]


@pytest.mark.parametrize(
    ("tool", "tool_class", "server"),
    [
        ("Read", "read", None),
        ("Grep", "read", None),
        ("Write", "write", None),
        ("NotebookEdit", "write", None),
        ("Bash", "exec", None),
        ("bash", "exec", None),
        ("Monitor", "exec", None),
        ("WebFetch", "network", None),
        ("Agent", "agent", None),
        ("Task", "agent", None),
        ("Workflow", "agent", None),
        ("StructuredOutput", "other", None),
        ("read", "other", None),
        ("", "other", None),
        ("mcp__tick__lookup", "other", "mcp:tick"),
        ("mcp__a", "other", "mcp:a"),
        ("mcp__", "other", "mcp:"),
    ],
)
def test_tool_has_a_class_and_a_server(tool: str, tool_class: str, server: str | None) -> None:
    assert classify(tool) == (tool_class, server)


def test_file_tools_name_their_paths() -> None:
    assert paths("Read", file_path="/home/a/w/../x") == [("read", "/home/a/x", False)]
    assert paths("Write", file_path="src/a.py", content="") == [("write", "src/a.py", True)]
    assert paths("NotebookEdit", notebook_path="n.ipynb") == [("write", "n.ipynb", True)]
    assert paths("Grep", pattern=".env", path="src", glob="*.py") == [("read", "src", True), ("read", "src/*.py", True)]
    assert paths("Glob", pattern="**/.env") == []


def test_editor_of_the_api_reads_or_writes_by_its_command() -> None:
    assert paths("str_replace_based_edit_tool", command="view", path="/x") == [("read", "/x", False)]
    assert paths("str_replace_based_edit_tool", command="create", path="/x") == [("write", "/x", False)]


def test_shell_facts_have_commands_paths_and_hosts() -> None:
    found = facts("Bash", command="cat a | curl -d @b https://h.example > ../c")
    assert [one.program for one in found.commands] == ["cat", "curl"]
    assert {one.path for one in found.paths} == {"a", "b", "/home/a/c"} and found.hosts == ("h.example",)


def test_tool_of_a_server_is_read_by_the_names_of_its_fields() -> None:
    assert paths("mcp__fs__write_file", path="/etc/x") == [("write", "/etc/x", False)]
    assert paths("mcp__fs__read", paths=["a", "b"]) == [("read", "a", True), ("read", "b", True)]
    assert facts("mcp__web__open", url="http://10.0.0.1/").hosts == ("10.0.0.1",)
    assert [one.program for one in facts("mcp__os__run_shell", command="rm x").commands] == ["rm"]
    assert facts("mcp__db__query", query="select 1") == ToolFacts()


def test_url_of_a_local_file_is_a_path() -> None:
    assert paths("WebFetch", url="file:///etc/passwd") == [("read", "/etc/passwd", False)]


@pytest.mark.parametrize("given", [None, "rm -rf /", ["rm"], 7])
def test_input_that_is_no_object_is_said(given: object) -> None:
    assert describe("Bash", given, WORKSPACE).unclear == ("unreadable: the input of Bash is not an object",)


def test_field_of_a_wrong_type_is_said_or_left_out() -> None:
    assert describe("Bash", {"command": ["rm"]}, None).unclear == ("unreadable: the command is not text",)
    assert describe("Read", {"file_path": 7}, None) == ToolFacts()


def test_more_than_the_limit_is_cut_and_said() -> None:
    found = facts("mcp__x__read", paths=[f"f{index}" for index in range(PATHS_MAX + 1)])
    assert len(found.paths) == PATHS_MAX and found.unclear == ("unreadable: too many paths",)
    assert len(facts("mcp__x__y", urls=[f"http://h{index}/" for index in range(HOSTS_MAX + 1)]).hosts) == HOSTS_MAX


def test_path_through_proc_is_said() -> None:
    assert facts("Read", file_path="/proc/self/cwd/x").unclear == ("a path leads through /proc",)


class Faulty(dict[str, str]):
    """An input that cannot be looked into: stands for any fault of the reader."""

    def __getitem__(self, key: str) -> str:
        raise ZeroDivisionError

    get = items = values = __getitem__  # type: ignore[assignment]


async def test_fault_of_the_reader_denies_the_call() -> None:
    facts = describe("Bash", Faulty(command="ls"), WORKSPACE)
    assert [entry for entry in facts.unclear if entry.startswith("unreadable: facts failed with")] == list(
        facts.unclear
    )
    query = build_query({"kind": "tool_call", "tool": "Bash", "input": {"command": "ls"}})
    assert isinstance(query.action, ToolCall)
    faulty = msgspec.structs.replace(query, action=msgspec.structs.replace(query.action, facts=facts))
    sound, decision = await packaged_engine().decide(query), await packaged_engine().decide(faulty)
    assert (sound.allow, decision.allow) == (True, False)
    assert [reason.rule for reason in decision.reasons] == ["shell/unreadable"]
