"""Definitions of agent types in a hostile repository: unusable, at once, whatever they say."""

import time
from pathlib import Path

import pytest

from runtime.agents.kinds import KindUnusable, find_kind
from runtime.tools.inputs import TOOL_NAMES

STEPS = zip("abcdefgh", "bcdefghi", strict=True)
DOUBLED = "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in STEPS)
FRONTS = {
    "aliases that double": f"a: &a [x, x, x, x, x, x, x, x, x]\n{DOUBLED}tools: *i",
    "list without an end": "x: " + "[" * 20_000,
    "number of a page": "x: " + "9" * 60_000,
    "names in names": "tools: [[Bash]]",
    "numbered names": "tools: {Bash: Bash}",
}


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS.keys())
def test_w51_hostile_front_matter_is_unusable(tmp_path: Path, front: str) -> None:
    folder = tmp_path / ".claude" / "agents"
    folder.mkdir(parents=True)
    (folder / "worker.md").write_text(f"---\nname: worker\n{front}\n---\nDo it.")
    with pytest.raises(KindUnusable):
        find_kind(str(tmp_path), "worker")


@pytest.mark.parametrize("front", ["tools: [[2020-99-99]]", "? [a]\n: b\ntools: {Bash: 1}"], ids=["date", "key"])
def test_w51_front_matter_that_no_yaml_is_gives_no_tool_that_there_is(tmp_path: Path, front: str) -> None:
    folder = tmp_path / ".claude" / "agents"
    folder.mkdir(parents=True)
    (folder / "worker.md").write_text(f"---\nname: worker\n{front}\n---\nDo it.")
    tools = find_kind(str(tmp_path), "worker").tools
    assert tools is not None and tools.isdisjoint(TOOL_NAMES)


def test_w51_folder_full_of_long_front_matter_is_looked_through_in_time(tmp_path: Path) -> None:
    folder = tmp_path / ".claude" / "agents"
    folder.mkdir(parents=True)
    for number in range(500):
        (folder / f"a{number:03}.md").write_text("---\nname: a\n" + "k: [a, b, {c: d}]\n" * 3_000 + "---\n")
    began = time.process_time()
    with pytest.raises(KindUnusable):
        find_kind(str(tmp_path), "worker")
    assert time.process_time() - began < 10.0
