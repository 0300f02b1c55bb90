"""The demo agent's tools work in their folder and nowhere else, and run no command."""

from pathlib import Path

import pytest

from gateway.commands.demo.workspace import TOOLS, ToolFailed, use_tool


def test_edit_replaces_the_one_place_and_read_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Helo")
    use_tool(tmp_path, "Edit", {"file_path": str(path), "old_string": "Helo", "new_string": "Hello"})
    assert use_tool(tmp_path, "Read", {"file_path": str(path)}) == "Hello"


def test_edit_of_an_ambiguous_text_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("aa")
    with pytest.raises(ToolFailed, match="2 times"):
        use_tool(tmp_path, "Edit", {"file_path": str(path), "old_string": "a", "new_string": "b"})
    assert path.read_text() == "aa"


@pytest.mark.parametrize("outside", ["/etc/hostname", "{}/../x", "{}/link", "", None])
def test_file_outside_the_workspace_is_not_touched(tmp_path: Path, outside: str | None) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(ToolFailed, match="not a file of the workspace"):
        use_tool(tmp_path, "Read", {"file_path": outside and outside.format(tmp_path)})


def test_listing_is_the_only_command(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert use_tool(tmp_path, "Bash", {"command": "ls"}) == "notes.txt"
    with pytest.raises(ToolFailed, match="no other command"):
        use_tool(tmp_path, "Bash", {"command": "touch ran"})
    assert not (tmp_path / "ran").exists()


def test_unknown_tool_is_answered_as_clients_do(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="No such tool available: ringfence_denied"):
        use_tool(tmp_path, "ringfence_denied", {})
    assert [tool["name"] for tool in TOOLS] == ["Read", "Edit", "Bash", "Agent"]
