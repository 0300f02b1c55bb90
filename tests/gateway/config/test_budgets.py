"""The `budgets` section: every key, every problem with its place, and what is meant when little is said."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigInvalid, parse_config
from gateway.config.budgets import COUNT_MAX
from gateway.core.money.limits import PER_KINDS, WARN_AT, LimitRow
from gateway.core.money.windows import CALENDAR_WINDOWS

BASE = """\
org: {id: acme, teams: [{id: platform, users: [alice, bob]}]}
identity: {credentials: [{id: bob-ci, secret: bob-secret-0123456789, user: bob}]}
upstreams: [{id: sim, backend: simulated}, {id: claude, backend: anthropic, api_key: fake-key-0123456789}]
"""
BUDGETS_LINE = BASE.count("\n") + 1


def load(*budgets: str) -> Config:
    return parse_config(f"{BASE}budgets: [{', '.join(budgets)}]", Path("/etc/ringfence.yaml"), {})


def row(budget: str) -> LimitRow:
    return load(budget).budgets[0]


def problems(*budgets: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as raised:
        load(*budgets)
    return [f"{problem.message} ({problem.suggestion})" for problem in raised.value.problems]


def of_account(account: str) -> str:
    return f"{{account: '{account}', window: daily, limit_usd: 0.3}}"


def test_least_that_may_be_said_gets_every_default() -> None:
    assert row("{account: org, window: monthly, limit_usd: 0.3}") == LimitRow(
        account="org",
        max=300_000_000,
        window="monthly",
        meter="cost",
        per=None,
        strict=False,
        on_reach="clamp",
        warn_at=WARN_AT,
        models=(),
        backends=(),
        id="budgets[0]",
        source="config",
    )


def test_every_key_is_read() -> None:
    said = (
        "{account: 'team:platform', per: user, meter: output_tokens, window: rolling 5h, limit: 200_000, strict: true, "
        "on_reach: refuse, warn_at: [50, 90, 120], models: ['claude-opus-*'], backends: [anthropic]}"
    )
    assert row(said) == LimitRow(
        account="team:platform",
        max=200_000,
        window="rolling 5h",
        meter="output_tokens",
        per="user",
        strict=True,
        on_reach="refuse",
        warn_at=(50, 90, 120),
        models=("claude-opus-*",),
        backends=("anthropic",),
        id="budgets[0]",
        source="config",
    )


def test_rows_are_named_by_their_place_in_the_list() -> None:
    config = load(of_account("org"), of_account("user"), of_account("team:platform"))
    assert [each.id for each in config.budgets] == ["budgets[0]", "budgets[1]", "budgets[2]"]


@pytest.mark.parametrize(
    "account",
    ["org", "user:bob", "team:platform", "credential:bob-ci", "session:s1", "run:r1", "agent:s1/a1", "agent:s1/a/b"]
    + ["group:nobody-lists-these", "tag:project=x", "tag:a=b=c:d"],
)
def test_known_account_is_one_pool(account: str) -> None:
    config = load(of_account(account))
    assert [(each.account, each.per) for each in config.budgets] == [(account, None)]
    assert config.warnings == ()


@pytest.mark.parametrize("kind", PER_KINDS)
def test_bare_kind_is_for_each_of_the_organisation(kind: str) -> None:
    found = row(of_account(kind))
    assert (found.account, found.per) == ("org", kind)
    assert found == row(of_account("org").replace("window", f"per: {kind}, window"))


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ("user:bbo", "'user:bbo' matches nobody (did you mean user:bob?)"),
        ("user:zzz", "'user:zzz' matches nobody (add the user to org.teams)"),
        ("team:platfrom", "did you mean team:platform?"),
        ("credential:bob-ic", "did you mean credential:bob-ci?"),
        ("usr:bob", "'usr:bob' is no account (did you mean user:bob?)"),
        ("usr", "did you mean user?"),
        ("org:acme", "is no account"),
        ("user:", "is no account"),
        ("group", "is no account"),
        ("tag", "is no account"),
        ("agent:s1", "names no agent (agent:<session>/<agent>)"),
        ("agent:/a1", "names no agent"),
        ("agent:s1/", "names no agent"),
        ("tag:project", "names no tag (tag:<name>=<value>)"),
        ("tag:=x", "names no tag"),
        ("tag:project=", "names no tag"),
    ],
)
def test_account_that_matches_nobody_is_a_problem(account: str, said: str) -> None:
    found = problems(of_account(account))
    assert len(found) == 1 and "budgets[0].account" in found[0] and said in found[0]


def test_credential_that_may_be_in_the_store_is_a_warning() -> None:
    (warning,) = load(of_account("credential:zzz")).warnings
    assert "no configured credential" in warning.message and warning.suggestion == "is it in the store?"


@pytest.mark.parametrize(
    ("account", "per", "said"),
    [
        ("org", "usr", "budgets[0].per is 'usr' (did you mean user?)"),
        ("org", "group", "budgets[0].per is 'group' (one of: team, user, credential, session, run, agent)"),
        ("org", "tag", "budgets[0].per is 'tag'"),
        ("user", "session", "budgets[0].account 'user' is no account"),
        ("user:bob", "team", "there is no team within user:bob (one of: credential, session, run, agent)"),
        ("team:platform", "team", "there is no team within team:platform (one of: user,"),
        ("session:s1", "run", "there is no run within session:s1 (one of: agent)"),
        ("agent:s1/a1", "agent", "there is no agent within agent:s1/a1 (remove it)"),
    ],
)
def test_per_that_is_no_part_of_the_account_is_a_problem(account: str, per: str, said: str) -> None:
    found = problems(f"{{account: '{account}', per: {per}, window: daily, limit_usd: 1}}")
    assert len(found) == 1 and said in found[0]


@pytest.mark.parametrize("window", [*CALENDAR_WINDOWS, "rolling 30m", "rolling 5h", "rolling 62d", "rolling 1m"])
def test_known_window_is_read(window: str) -> None:
    assert row(f"{{account: org, window: {window}, limit_usd: 1}}").window == window


@pytest.mark.parametrize(
    "window", ["never", "yearly", "rolling", "rolling 0h", "rolling 63d", "rolling 5 h", "rolling 1.5h", "5h"]
)
def test_unknown_window_is_a_problem_that_lists_what_there_is(window: str) -> None:
    found = problems(f"{{account: org, window: '{window}', limit_usd: 1}}")
    assert len(found) == 1 and f"budgets[0].window is '{window}'" in found[0]
    assert "total, hourly, daily, weekly, monthly, or rolling 5h" in found[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("window: daily", "budgets[0] has no limit_usd (add limit_usd: 50)"),
        ("limit_usd: 1", "budgets[0] has no window"),
        ("window: daily, limit: 5", "budgets[0].limit is for counts (write limit_usd: 50)"),
        ("window: daily, limit_usd: 0", "budgets[0].limit_usd is '0'"),
        ("window: daily, limit_usd: -1", "budgets[0].limit_usd is '-1'"),
        ("window: daily, meter: cots, limit_usd: 1", "budgets[0].meter is 'cots' (did you mean cost?)"),
        ("window: daily, meter: requests", "budgets[0] has no limit (add limit: the number of requests)"),
        ("window: daily, meter: requests, limit_usd: 5", "limit_usd is for meter cost (write limit: the number of"),
        ("window: daily, meter: requests, limit: 0", "budgets[0].limit is '0'"),
        ("window: daily, meter: requests, limit: 1.5", "budgets[0].limit is '1.5'"),
        (f"window: daily, meter: requests, limit: {COUNT_MAX + 1}", "budgets[0].limit is"),
        ("window: daily, meter: active_requests, limit: 5", "active_requests have no window (remove it"),
        ("window: daily, limit_usd: 1, strict: yes", "budgets[0].strict is 'yes'"),
        ("window: daily, limit_usd: 1, on_reach: clmap", "did you mean clamp?"),
        ("window: daily, limit_usd: 1, warn_at: [95, 75]", "budgets[0].warn_at is not in ascending order"),
        ("window: daily, limit_usd: 1, warn_at: [75, 75]", "budgets[0].warn_at is not in ascending order"),
        ("window: daily, limit_usd: 1, warn_at: [0]", "budgets[0].warn_at[0] is '0'"),
        ("window: daily, limit_usd: 1, warn_at: [1001]", "budgets[0].warn_at[0] is '1001'"),
        ("window: daily, limit_usd: 1, backends: [antropic]", "did you mean anthropic?"),
        ("window: daily, limit_usd: 1, backends: [bedrock]", "no upstream is of the backend 'bedrock'"),
        ("window: daily, limit_usd: 1, models: ['']", "budgets[0].models[0]"),
        ("window: daily, limit_usd: 1, stric: true", "unknown key budgets[0].stric (did you mean strict?)"),
        ("window: daily, limit_usd: 1, max: 5", "unknown key budgets[0].max"),
    ],
)
def test_faulty_limit_is_one_problem_that_names_its_place(fields: str, said: str) -> None:
    found = problems(f"{{account: org, {fields}}}")
    assert len(found) == 1 and said in found[0]


def test_problem_points_at_the_value() -> None:
    with pytest.raises(ConfigInvalid) as raised:
        load(of_account("org"), "{account: user, window: nevr, limit_usd: 1}")
    (problem,) = raised.value.problems
    column = len("budgets: [") + len(of_account("org")) + len(", {account: user, window: ") + 1
    assert problem.place == f"/etc/ringfence.yaml:{BUDGETS_LINE}:{column}"


def test_concurrency_has_no_window() -> None:
    found = row("{account: user, meter: active_requests, limit: 4}")
    assert (found.account, found.per, found.max, found.window) == ("org", "user", 4, "total")


def test_no_warnings_may_be_asked_for() -> None:
    assert row("{account: org, window: daily, limit_usd: 1, warn_at: []}").warn_at == ()


def test_same_limit_twice_is_a_problem() -> None:
    found = problems(of_account("org"), of_account("org").replace("0.3", "5"))
    assert found == ["budgets[1] is a second daily cost limit of org (keep one)"]
    found = problems(of_account("user"), of_account("org").replace("window", "per: user, window"))
    assert found == ["budgets[1] is a second daily cost limit of each user of org (keep one)"]


@pytest.mark.parametrize(
    "other",
    [
        "{account: org, window: weekly, limit_usd: 1}",
        "{account: org, window: daily, meter: requests, limit: 1}",
        "{account: org, per: user, window: daily, limit_usd: 1}",
        "{account: org, window: daily, limit_usd: 1, models: ['claude-opus-*']}",
        "{account: org, window: daily, limit_usd: 1, backends: [anthropic]}",
        "{account: org, window: daily, limit_usd: 1, on_reach: warn}",
    ],
)
def test_limits_that_count_or_do_something_else_stand_side_by_side(other: str) -> None:
    assert len(load(of_account("org"), other).budgets) == 2
