"""What the fuses section may say."""

from pathlib import Path
from typing import get_args

import pytest

from gateway.config import Config, ConfigInvalid, parse_config
from gateway.config.model import LOOP_FUSES
from gateway.core.fuses.fuse import METERS, WARN_PERCENT, Rating, Scope

UPSTREAM = "upstreams: [{id: sim, backend: simulated}]\n"


def load(text: str) -> Config:
    return parse_config(UPSTREAM + text, Path("/ringfence.yaml"), {})


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as raised:
        load(text)
    return [f"{problem.message} ({problem.suggestion})" for problem in raised.value.problems]


def test_plain_number_is_a_limit_and_cost_is_in_nano_dollars() -> None:
    fuses = load("fuses: {agent: {cost_usd: 5.25, requests: 300}, session: {depth: 0}}").fuses
    assert fuses.of("agent") == {"cost": Rating(5_250_000_000), "requests": Rating(300)}
    assert fuses.of("session") == {"depth": Rating(0)} and fuses.of("run") == fuses.of("user") == {}


def test_rating_says_when_a_fuse_warns_and_what_it_does() -> None:
    text = "fuses: {run: {cost_usd: {limit: 100, warn_at: 70, on_blow: wrap_up}, agents: {limit: 8}}}"
    assert load(text).fuses.of("run") == {
        "cost": Rating(100_000_000_000, 70, "wrap_up"),
        "agents": Rating(8, WARN_PERCENT, "refuse"),
    }


def test_on_blow_of_the_section_holds_for_every_fuse_that_says_none() -> None:
    text = "fuses: {on_blow: end_turn, user: {sessions_per_hour: 30, active_agents: {limit: 9, on_blow: refuse}}}"
    fuses = load(text).fuses
    assert fuses.of("user") == {
        "sessions_per_hour": Rating(30, on_blow="end_turn"),
        "active_agents": Rating(9, on_blow="refuse"),
    }
    assert {rating.on_blow for rating in fuses.of("agent").values()} == {"end_turn"}


@pytest.mark.parametrize("text", ["", "fuses: {session: {agents: 200}}", "fuses: {}"])
def test_loops_are_ended_when_nothing_is_said_of_agents(text: str) -> None:
    assert load(text).fuses.of("agent") == {meter: Rating(limit) for meter, limit in LOOP_FUSES.items()}


def test_no_fuse_of_agents_can_be_asked_for() -> None:
    assert load("fuses: {agent: {}}").fuses.of("agent") == {}


@pytest.mark.parametrize("scope", get_args(Scope))
def test_every_meter_of_a_scope_can_be_limited(scope: Scope) -> None:
    meters = ["cost_usd" if meter == "cost" else meter for meter in METERS[scope]]
    config = load(f"fuses: {{{scope}: {{{', '.join(f'{meter}: 3' for meter in meters)}}}}}")
    assert list(config.fuses.of(scope)) == list(METERS[scope]) and config.warnings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{agent: {agents: 3}}", "unknown meter fuses.agent.agents"),
        ("{agent: {request: 3}}", "did you mean requests?"),
        ("{agent: {cost: 3}}", "did you mean cost_usd?"),
        ("{user: {cost_usd: 3}}", "unknown meter fuses.user.cost_usd"),
        ("{session: {identical_tool_calls: 3}}", "unknown meter fuses.session.identical_tool_calls"),
        ("{run: {context_growth: 3}}", "unknown meter fuses.run.context_growth"),
        ("{agent: {requests: 0}}", "fuses.agent.requests is '0'"),
        ("{agent: {requests: {limit: 0}}}", "fuses.agent.requests.limit is '0'"),
        ("{agent: {requests: {warn_at: 50}}}", "fuses.agent.requests has no limit"),
        ("{agent: {requests: {limit: 5, warn_at: 0}}}", "fuses.agent.requests.warn_at is '0'"),
        ("{agent: {requests: {limit: 5, warn_at: 101}}}", "fuses.agent.requests.warn_at is '101'"),
        ("{agent: {requests: {limit: 5, on_blow: wrapup}}}", "did you mean wrap_up?"),
        ("{agent: {requests: {limit: 5, warn: 50}}}", "did you mean warn_at?"),
        ("{agent: {requests: [5]}}", "fuses.agent.requests must be a single value"),
        ("{agent: {cost_usd: nan}}", "fuses.agent.cost_usd is 'nan'"),
        ("{on_blow: stop}", "fuses.on_blow is 'stop'"),
        ("{agents: {requests: 1}}", "unknown key fuses.agents (did you mean agent?)"),
    ],
)
def test_faulty_fuse_is_a_problem_that_names_it(text: str, said: str) -> None:
    found = problems(f"fuses: {text}")
    assert len(found) == 1 and said in found[0]


def test_every_problem_is_told_at_once() -> None:
    found = problems("fuses: {on_blow: stop, agent: {requests: 0, x: 1}, run: {cost_usd: {warn_at: 0}}}")
    assert len(found) == 5
