"""Scenarios are read strictly: all problems at once, each with its place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.simulation.reading import PACKAGED, find_directive, load_scenario, parse_scenario
from gateway.upstreams.simulation.scenario import AT_ONCE, CutFault, Pace, ScenarioInvalid, StatusFault, Text, ToolUse

FAULTY = """pase: 1
turns:
  - when: {promt: x, turn: -1, prompt: "("}
    reply: [{text: a, thinking: b}, {tool_use: {nam: 1, times: 0}}, {text: [1]}]
  - {}
  - fault: {status: {code: 200, headers: 1}, silence: {}, cut: {}}
  - reply: [{tool_use: {name: a, input: [1]}}, {tool_use: {name: a, input: {x: .nan}}}]
    pace: fast
"""


def test_faulty_scenario_reports_every_problem_with_its_place() -> None:
    with pytest.raises(ScenarioInvalid) as failure:
        parse_scenario(FAULTY, "f.yaml")
    places = {problem.place.removeprefix("f.yaml:").split(":")[0] for problem in failure.value.problems}
    assert places == {"1", "3", "4", "5", "6", "7", "8"}
    assert len(failure.value.problems) >= 14
    assert "did you mean `pace`?" in str(failure.value)


def test_scenario_is_read_as_written() -> None:
    scenario = parse_scenario(
        "pace: 0\nturns:\n"
        "  - when: {prompt: a, tool_error: true, turn: 2, model: 'claude-*', tool: Bash}\n"
        "    reply: [{text: hi}, {tool_use: {name: Bash, input: {when: 2026-01-01}, times: 2, seconds: 1.5}}]\n"
        "    pace: {first_token_seconds: 1}\n"
        "    fault: {status: {code: 429, headers: {retry-after: 5}}, cut: {after_bytes: 3}}\n",
        "f",
    )
    turn = scenario.turns[0]
    assert scenario.pace == AT_ONCE
    assert turn.reply == (Text("hi"), ToolUse("Bash", {"when": "2026-01-01"}, 2, 1.5))
    assert turn.pace == Pace(1, Pace().tokens_per_second)
    assert turn.faults == (
        StatusFault(429, "api_error", "Simulated error.", (("retry-after", "5"),)),
        CutFault(after_bytes=3),
    )


@pytest.mark.parametrize("text", ["", "a: [", "turns: &a [*a]", "turns: {}", "- turns", "turns: [{reply: 1}]", "\x00"])
def test_text_that_is_no_scenario_is_refused(text: str) -> None:
    with pytest.raises(ScenarioInvalid) as failure:
        parse_scenario(text, "f.yaml")
    assert all(problem.place.startswith("f.yaml") for problem in failure.value.problems)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    for name in ("missing.yaml", "binary.yaml"):
        with pytest.raises(ScenarioInvalid, match=name):
            load_scenario(tmp_path / name)


def test_every_packaged_scenario_is_valid() -> None:
    names = [file.stem for file in PACKAGED.glob("*.yaml")]
    assert "demo" in names
    assert all(load_scenario(Path(name)).turns for name in names)


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        ("nothing", None),
        ("say ```simulate inline``` only", None),
        ("simulate: {reply: [{text: a}]}", 1),
        ("  ```simulate\n  - reply: [{text: a}]\n  - reply: [{text: b}]\n  ```\nmore", 2),
        ("```simulate\nreply:\n- tool_use: {name: Agent, input: {prompt: 'simulate: {}'}}\n```", 1),
    ],
)
def test_directive_is_found_in_a_prompt(prompt: str, turns: int | None) -> None:
    found = find_directive(prompt)
    assert (None if found is None else len(found)) == turns


@given(st.text("turns:[]{}-wheplytxo_useamin01 \n\"'!&*|>#,?", max_size=200))
def test_any_text_is_a_scenario_or_refused_with_places(text: str) -> None:
    try:
        parse_scenario(text, "f.yaml")
    except ScenarioInvalid as error:
        assert error.problems
        assert all(problem.place.startswith("f.yaml") for problem in error.problems)


def test_many_opened_fences_are_read_in_one_pass() -> None:
    assert find_directive("```simulate\n" * 50_000) is None
