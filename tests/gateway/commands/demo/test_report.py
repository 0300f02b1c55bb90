"""The table shows what was recorded, and never less money than was spent."""

import io

from rich.console import Console

from gateway.commands.demo.narration import Check
from gateway.commands.demo.report import broken_promises, build_json, build_table
from gateway.commands.demo.scenes import Scene
from tests.gateway.commands.demo.records import USD, row

KEPT = Check("it holds", True, "yes")
BROKEN = Check("it ends", False, "it went on")


def scene(*checks: Check, peak: int = USD) -> Scene:
    return Scene(4, "Money", "a client", row(peak=peak, spent=900_000_001), checks)


def rendered(one: Scene) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(build_table([one]))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_shows_counts_causes_and_money_rounded_up() -> None:
    line = next(line for line in rendered(scene()).splitlines() if "Money" in line)
    assert line.split() == "4. Money 3 2 1 2 fuse_blown, shell/pipe_to_shell $1.00 $0.9001 $1.00 never".split()


def test_table_says_when_the_cap_was_passed() -> None:
    assert "YES" in rendered(scene(peak=USD + 1)) and "never" not in rendered(scene(peak=USD + 1))


def test_broken_promises_are_named_with_their_scene() -> None:
    assert broken_promises([scene(KEPT), scene(KEPT, BROKEN)]) == ["scene 4: it ends: it went on"]
    assert broken_promises([scene(KEPT)]) == []


def test_json_says_whether_all_was_kept() -> None:
    assert build_json([scene(KEPT)])["ok"] is True
    told = build_json([scene(BROKEN)])
    assert told["ok"] is False and told["scenes"][0]["checks"][0]["found"] == "it went on"
