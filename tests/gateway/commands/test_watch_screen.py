"""The screen of a watched run: what keys do, and what fits."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from gateway.commands.run_rows import AgentRow, RunRow
from gateway.commands.watch_screen import Order, Screen, draw
from tests.gateway.commands.test_run_rows import RUN

PHASES = [{"title": title, "total": 3, "agents": {"done": 1, "running": 2}} for title in ("Scan", "Fix")]


def screen(state: str = "running", agents: int = 6, **more: Any) -> Screen:
    record = RUN | {"state": state, "status": {"text": state}, "phases": PHASES, "agents": {"total": agents}} | more
    states = ("done", "running", "queued")
    rows = [AgentRow(n, states[3 * n // agents], f"agent {n}", "Scan" if n % 2 else "Fix") for n in range(agents)]
    return Screen(run=msgspec.convert(record, RunRow), agents=rows)


def text_of(lines: list[Text]) -> str:
    return "\n".join(line.plain for line in lines)


def press(on: Screen, *keys: str) -> Order | None:
    order = None
    for key in keys:
        order = on.press(key)
    return order


@pytest.mark.parametrize(("state", "path"), [("running", "/pause"), ("paused", "/resume")])
def test_p_pauses_a_running_run_and_lets_a_paused_one_go_on(state: str, path: str) -> None:
    order = press(screen(state), "p")
    assert order is not None and order.path == path


def test_p_says_why_it_does_nothing() -> None:
    ended = screen("failed")
    assert press(ended, "p") is None and "a run that is failed" in ended.notice
    assert press(ended, "j") is None and ended.notice == ""


def test_x_asks_before_it_stops_the_run() -> None:
    on = screen()
    assert press(on, "x") is None and on.question is not None and "whole run" in on.question.text
    assert press(on, "n") is None and on.question is None
    order = press(on, "x", "y")
    assert order is not None and order.path == "/stop"


def test_x_asks_about_the_agent_that_is_pointed_at() -> None:
    on = screen()
    press(on, "j", "down", "x")
    assert on.question is not None and "stop agent 1 (agent 1)" in on.question.text
    order = press(on, "y")
    assert order is not None and order.path == "/agents/1/stop"


def test_any_other_answer_is_no() -> None:
    for key in ("x", "q", "", "Y"):
        on = screen()
        assert press(on, "x", key) is None and on.question is None and not on.quitting


def test_r_restarts_only_a_running_agent() -> None:
    on = screen()
    assert press(on, "r") is None and "point at a running agent" in on.notice
    on.cursor = 0
    assert press(on, "r") is None
    on.cursor = 2
    assert press(on, "r") == Order("/agents/2/restart", "agent 2 begins anew")


def test_s_saves_and_q_leaves() -> None:
    on = screen()
    order = press(on, "s")
    assert order is not None and order.path == "/save" and not on.quitting
    assert press(on, "q") is None and on.quitting


def test_f_goes_through_the_phases_and_back_to_all() -> None:
    on = screen()
    seen: list[tuple[str | None, int]] = []
    for _ in range(3):
        press(on, "f")
        seen.append((on.focus, len(on.shown)))
    assert seen == [("Fix", 3), ("Scan", 3), (None, 6)]


def test_cursor_stays_within_the_agents_that_are_shown() -> None:
    on = screen()
    press(on, "f", "k", "k")
    assert on.cursor is None
    press(on, *["j"] * 9)
    assert on.cursor == 4 and on.pointed is not None and on.pointed.phase == "Fix"
    press(on, "f")
    assert on.cursor is None


def test_run_is_told_in_its_first_lines() -> None:
    usage = {"new": {"total_tokens": 12_345, "cost_nanousd": 2_500_000_000}}
    agents = {"total": 6, "done": 2, "running": 2, "error": 1}
    lines = draw(screen(usage=usage, agents=6), 100, 24, since_ms=5_000)
    assert lines[0].plain == "audit  running  wf_000001"
    on = screen(usage=usage)
    on.run = msgspec.structs.replace(on.run or msgspec.convert(RUN, RunRow), agents=agents)
    assert draw(on, 100, 24, since_ms=5_000)[1].plain == (
        "3m10s  2/6 agents done, 1 failed, 2 running  12.3k tokens  $2.50"
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"state": "pending_approval"}, "it waits for a person: ringfence runs approve wf_000001"),
        (
            {"state": "paused", "pauses": [{"reason": "budget", "message": "cap reached"}]},
            "paused: budget: cap reached",
        ),
        ({"failure": {"type": "t", "detail": "script_threw", "message": "no x"}}, "script_threw: no x"),
        ({"size_warning": "Large workflow"}, "Large workflow"),
    ],
    ids=["approval", "paused", "failed", "large"],
)
def test_one_thing_to_know_stands_in_the_third_line(more: dict[str, Any], said: str) -> None:
    on = screen(**more)
    assert draw(on, 100, 24)[2].plain == said
    on.connected = False
    assert "the connection is gone" in draw(on, 100, 24)[2].plain


@pytest.mark.parametrize(("state", "shown"), [("running", "1m01s "), ("paused", "1m01s "), ("completed", "1s ")])
def test_elapsed_time_counts_pauses_too_and_ends_with_the_run(state: str, shown: str) -> None:
    assert draw(screen(state, elapsed_ms=1_000), 80, 24, since_ms=60_000)[1].plain.startswith(shown)


def test_time_of_what_works_goes_on_between_two_looks() -> None:
    on = screen(phases=[{"title": "Scan", "total": 2, "agents": {"running": 1, "done": 1}}])
    on.agents = [AgentRow(0, "running", "silent", "Scan"), AgentRow(1, "done", "quick", "Scan", elapsed_ms=2_000)]
    shown = draw(on, 100, 24, since_ms=40_000)
    assert [line.plain.split()[-1] for line in shown if "Scan" in line.plain or "silent" in line.plain] == ["40s"] * 2
    assert next(line.plain for line in shown if "quick" in line.plain).endswith(" 2s")


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (AgentRow(0, "running"), "no answer"),
        (AgentRow(0, "running", answering=True), "answering"),
        (AgentRow(0, "done", model="claude-opus-5-5"), "opus-5-5"),
        (AgentRow(0, "error", model="claude-opus-5-5", reason="stalled"), "stalled"),
        (AgentRow(0, "queued"), "-"),
    ],
    ids=["silent", "answering", "done", "failed", "queued"],
)
def test_agent_is_told_by_what_matters_in_its_state(agent: AgentRow, said: str) -> None:
    on = screen()
    on.agents = [agent]
    assert f" {agent.state:<8} {said:<12} " in text_of(draw(on, 100, 24))


def test_narrow_terminal_keeps_state_time_and_keys() -> None:
    on = screen(usage={"new": {"total_tokens": 12_345, "cost_nanousd": 2_500_000_000}})
    lines = [line.plain for line in draw(on, 40, 24)]
    assert lines[0] == "audit  running  wf_000001" and "$2.50" in lines[1] and "p x r s f" in lines[-1]
    row = next(line for line in lines if "agent 2" in line)
    assert "running" in row and row.endswith("0s")


def test_what_was_refused_is_read_to_its_end_on_a_narrow_terminal() -> None:
    on = screen("paused", pauses=[{"reason": "budget", "message": "the run has cost $2.00 of its $2.00; raise it"}])
    on.notice = "your library has another script named audit; replace it, or choose a name"
    lines = draw(on, 40, 24)
    assert len(lines) == 24 and "raise it" in text_of(lines[:5]) and lines[-1].plain.endswith("choose a name")


def test_agent_that_a_person_stopped_has_not_failed() -> None:
    on = screen()
    on.run = msgspec.structs.replace(
        on.run or msgspec.convert(RUN, RunRow), agents={"total": 2, "done": 1, "stopped": 1}
    )
    assert "1/2 agents done, 0 failed, 1 stopped, 0 running" in draw(on, 100, 24)[1].plain


def test_window_of_agents_follows_the_work_or_the_cursor() -> None:
    on = screen(agents=300)
    shown = text_of(draw(on, 80, 24))
    assert "agent 199" in shown and "agent 200" not in shown and "of 300" in shown
    on.cursor = 5
    shown = text_of(draw(on, 80, 24))
    assert ">    5 agent 5" in shown and "agent 199" not in shown


def test_last_notes_and_the_keys_are_at_the_bottom() -> None:
    on = screen()
    on.notes.extend(["first", "log  auditing", "log  two", "log  three"])
    lines = draw(on, 80, 24)
    assert [line.plain for line in lines[-4:-1]] == ["  log  auditing", "  log  two", "  log  three"]
    assert "q quit" in lines[-1].plain and "p pause" in lines[-1].plain
    on.press("x")
    assert draw(on, 80, 24)[-1].plain == "stop the whole run? y/n"


def test_w177_texts_of_scripts_and_models_are_cleaned() -> None:
    evil = "\x1b[2J[red]\u202edraw\r\n"
    on = screen(name=evil, warnings=[evil], phases=[{"title": evil, "total": 1}])
    on.agents = [AgentRow(0, "running", evil, evil, evil)]
    on.notes.append(evil)
    press(on, "j", "x")
    shown = text_of(draw(on, 120, 24))
    assert not {"\x1b", "\u202e", "\r"} & set(shown) and "[red]" in shown and len(shown.split("\n")) == 24


def test_nothing_read_yet_is_said() -> None:
    assert "reading the run" in text_of(draw(Screen(), 80, 24))


@given(
    agents=st.integers(1, 40),
    width=st.integers(20, 200),
    height=st.integers(5, 60),
    name=st.text(max_size=90),
    keys=st.lists(st.sampled_from(["j", "k", "f", "x", "p", "r", "y"]), max_size=8),
)
def test_screen_always_fits(agents: int, width: int, height: int, name: str, keys: list[str]) -> None:
    on = screen(agents=agents, name=name)
    on.agents[0] = msgspec.structs.replace(on.agents[0], label=name + "\u6f22\u5b57" * 20)
    on.notes.extend([name] * 5)
    press(on, *keys)
    lines = draw(on, width, height)
    assert len(lines) <= height and all(line.cell_len <= width for line in lines)
