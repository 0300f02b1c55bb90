"""Agent types: found by name in the workspace or among the built-in ones, read without following a link."""

import os
from pathlib import Path

import pytest

from runtime.agents.kinds import BUILT_IN, FILE_BYTES_MAX, AgentKind, KindUnusable, find_kind, parse_kind

REVIEWER = """\
---
name: reviewer
description: Reviews a change
tools: Read, Grep
model: haiku
---

You review.
"""


def write(folder: Path, name: str, text: str) -> Path:
    place = folder / ".claude" / "agents"
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(text)
    return place / name


def test_w47_type_of_the_workspace_is_read_from_its_file(tmp_path: Path) -> None:
    write(tmp_path, "any-name.md", REVIEWER)
    expected = AgentKind(name="reviewer", prompt="You review.", tools=frozenset({"Read", "Grep"}), model="haiku")
    assert find_kind(str(tmp_path), "reviewer") == expected


@pytest.mark.parametrize("folder", [True, False], ids=["workspace", "none"])
def test_w51_unknown_type_is_named_with_what_there_is(tmp_path: Path, folder: bool) -> None:
    with pytest.raises(KindUnusable, match=r"'reviwer'.*general-purpose"):
        find_kind(str(tmp_path) if folder else None, "reviwer")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no front matter", "front matter"),
        ("---\nname: x\n", "front matter"),
        ("---\ndescription: x\n---\n", "no name"),
        ("---\n- a\n---\n", "not a list of members"),
        ("---\nname: x\ntools: {a: b}\n---\n", "tools"),
        ("---\nname: x\nmodel: [a]\n---\n", "model"),
        (None, "plain file"),
    ],
    ids=["bare", "open", "nameless", "list", "odd-tools", "odd-model", "unreadable"],
)
def test_w51_unusable_definition_says_why(text: str | None, why: str) -> None:
    with pytest.raises(KindUnusable, match=why):
        parse_kind(text)


def test_w51_unusable_file_of_that_name_is_not_replaced_by_a_built_in_type(tmp_path: Path) -> None:
    write(tmp_path, "Explore.md", "broken")
    with pytest.raises(KindUnusable, match=r"Explore\.md"):
        find_kind(str(tmp_path), "Explore")


def test_w51_unusable_file_of_another_name_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "broken")
    write(tmp_path, "b.md", REVIEWER)
    assert find_kind(str(tmp_path), "reviewer").name == "reviewer"


def test_workspace_may_define_a_built_in_type_anew(tmp_path: Path) -> None:
    write(tmp_path, "mine.md", REVIEWER.replace("name: reviewer", "name: Explore"))
    assert find_kind(str(tmp_path), "Explore").prompt == "You review." != BUILT_IN["Explore"].prompt


@pytest.mark.parametrize("name", ["Explore", "Plan"])
def test_w52_built_in_types_that_look_things_up_change_nothing(name: str) -> None:
    assert BUILT_IN[name].tools == {"Read", "Glob", "Grep"}


@pytest.mark.parametrize(
    ("written", "tools"),
    [
        ("Read, Grep", {"Read", "Grep"}),
        ("[Read, Grep]", {"Read", "Grep"}),
        ("\n  - Read\n  - Grep", {"Read", "Grep"}),
        ("'*'", None),
        ("", None),
        ("[]", set()),
        ("Bash(git:*), Read", {"Bash(git:*)", "Read"}),
    ],
    ids=["commas", "flow", "block", "star", "unsaid", "none", "arguments"],
)
def test_w52_tools_are_read_in_every_spelling(written: str, tools: set[str] | None) -> None:
    assert parse_kind(f"---\nname: x\ntools: {written}\n---\n").tools == tools


def test_description_with_colons_is_no_hindrance() -> None:
    text = '---\nname: "x"\ndescription: Use it when: <example>a</example>\ntools: Read\nmodel: inherit\n---\nBody.'
    assert parse_kind(text) == AgentKind(name="x", prompt="Body.", tools=frozenset({"Read"}))


def test_byte_order_mark_and_windows_line_ends_are_read() -> None:
    assert parse_kind("\ufeff" + REVIEWER.replace("\n", "\r\n")).prompt == "You review."


def test_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.md"
    outside.write_text(REVIEWER)
    workspace = tmp_path / "workspace"
    write(workspace, "other.md", "x").unlink()
    os.symlink(outside, workspace / ".claude" / "agents" / "reviewer.md")
    with pytest.raises(KindUnusable, match="no link"):
        find_kind(str(workspace), "reviewer")


@pytest.mark.parametrize("linked", [".claude", ".claude/agents"])
def test_linked_folder_is_not_followed(tmp_path: Path, linked: str) -> None:
    write(tmp_path / "real", "reviewer.md", REVIEWER)
    place = tmp_path / "workspace" / linked
    place.parent.mkdir(parents=True)
    os.symlink(tmp_path / "real" / linked, place)
    with pytest.raises(KindUnusable, match="no agent type"):
        find_kind(str(tmp_path / "workspace"), "reviewer")


def test_pipe_and_large_file_are_unusable(tmp_path: Path) -> None:
    write(tmp_path, "large.md", REVIEWER + "x" * FILE_BYTES_MAX)
    os.mkfifo(tmp_path / ".claude" / "agents" / "pipe.md")
    for name in ("large", "pipe"):
        with pytest.raises(KindUnusable, match="plain file"):
            find_kind(str(tmp_path), name)
