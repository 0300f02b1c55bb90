"""The engine: fails closed, never answers stale, and a reload is another object."""

import json
import re
from typing import Any

import pytest

from gateway.core.decisions.decision import OBLIGATIONS, Query
from gateway.policy.ruletests import BASE_QUERY
from tests.support.policies import POLICIES, build_engine, build_query, packaged_engine

INFER = {"kind": "infer"}
HEAD = "package ringfence.rules.test.probe\n\nimport data.ringfence.lib\n\n"


def probe(body: str) -> dict[str, str]:
    """One more rule folder with `body` as its rule."""
    return {"rules/test/probe/rule.rego": HEAD + body}


def infer(**changes: Any) -> Query:
    return build_query({**INFER, **changes})


async def test_ordinary_request_is_allowed_with_the_revision() -> None:
    engine = packaged_engine()
    decision = await engine.decide(infer())
    assert decision.allow and decision.reasons == ()
    assert decision.revision == engine.revision and len(engine.revision) == 12


async def test_refused_request_names_rule_and_way_out() -> None:
    decision = await packaged_engine().decide(infer(model="gpt-5"))
    assert not decision.allow
    assert decision.message == 'models/allowlist: model "gpt-5" is not allowed for you; use one of: claude-*'


async def test_closed_engine_denies_also_what_it_remembered() -> None:
    engine = build_engine()
    before = (await engine.decide(infer())).allow
    engine.close()
    after = await engine.decide(infer())
    assert before and not after.allow and after.reasons[0].rule == "engine/failed"


async def test_rule_that_fails_denies() -> None:
    engine = build_engine(extra=probe("violations contains x if x := 1 / (input.time.hour - input.time.hour)\n"))
    decision = await engine.decide(infer())
    assert not decision.allow and decision.reasons[0].rule == "engine/failed"
    assert "backtrace" not in decision.message.lower()


@pytest.mark.parametrize("answer", ['"yes"', "{}", '{"allow": "true"}', '{"allow": 1}', "[]", '{"allow": false}'])
async def test_answer_of_the_wrong_shape_denies(answer: str) -> None:
    engine = build_engine(extra={"main.rego": f"package ringfence\n\ndecision := {answer}\n"})
    decision = await engine.decide(infer())
    assert not decision.allow and decision.reasons[0].rule == "engine/failed"


async def test_undefined_answer_denies() -> None:
    engine = build_engine(extra={"main.rego": "package ringfence\n\ndecision := 1 if input.nothing\n"})
    decision = await engine.decide(infer())
    assert not decision.allow and decision.reasons[0].rule == "engine/failed"


async def test_allow_with_reasons_denies() -> None:
    answer = '{"allow": true, "reasons": [{"rule": "a/b", "message": "no"}]}'
    engine = build_engine(extra={"main.rego": f"package ringfence\n\ndecision := {answer}\n"})
    assert not (await engine.decide(infer())).allow


async def test_unknown_obligation_denies() -> None:
    engine = build_engine(extra=probe('obligations contains {"kind": "pray", "value": 1} if true\n'))
    decision = await engine.decide(infer())
    assert not decision.allow and decision.reasons[0].rule == "engine/obligation"
    assert "pray" in decision.message


@pytest.mark.parametrize("kind", sorted(OBLIGATIONS))
async def test_known_obligation_is_passed_on(kind: str) -> None:
    engine = build_engine(extra=probe(f'obligations contains {{"kind": "{kind}", "value": 7}} if true\n'))
    decision = await engine.decide(infer())
    assert decision.allow and [(one.kind, one.value) for one in decision.obligations] == [(kind, 7)]


async def test_limit_of_a_rule_is_passed_on() -> None:
    limit = '{"account": "user:alice", "meter": "cost", "window": "daily", "max": 5, "on_reach": "refuse"}'
    decision = await build_engine(extra=probe(f"limits contains {limit} if true\n")).decide(infer())
    assert [(one.account, one.max) for one in decision.limits] == [("user:alice", 5)]


async def test_limits_of_the_documentation_are_set_for_whom_it_says() -> None:
    page = (POLICIES.parent / "docs" / "policies.md").read_text().partition("### Limits of a rule")[2]
    (body,) = re.findall(r"```rego\n(.*?)```", page, re.DOTALL)
    engine = build_engine(extra=probe(body))
    night, day = ({"unix_ms": 1, "weekday": "monday", "hour": hour} for hour in (22, 14))
    intern = {"user": "ivy", "team": "interns"}
    decision = await engine.decide(build_query(INFER, principal=intern, time=night))
    rows = {limit.meter: limit.row() for limit in decision.limits}
    assert decision.allow and {row.account for row in rows.values()} == {"user:ivy"}
    assert (rows["cost"].max, rows["cost"].strict, rows["requests"].max) == (5_000_000_000, True, 20)
    assert (await engine.decide(build_query(INFER, principal=intern, time=day))).limits == ()


@pytest.mark.parametrize(
    "wrong", ['"max": -1', '"max": 1.5', '"max": "5"', '"on_reach": "stop"', '"meter": "dollars"', '"per": "user"']
)
async def test_limit_that_is_not_written_as_it_must_be_denies(wrong: str) -> None:
    limit = {"account": "user:alice", "meter": "cost", "window": "daily", "max": 5} | json.loads(f"{{{wrong}}}")
    decision = await build_engine(extra=probe(f"limits contains {json.dumps(limit)} if true\n")).decide(infer())
    assert not decision.allow and decision.reasons[0].rule == "engine/failed"


async def test_rule_in_shadow_records_and_allows() -> None:
    engine = build_engine({"modes": {"models/allowlist": "shadow"}})
    decision = await engine.decide(infer(model="gpt-5"))
    assert decision.allow and [one.rule for one in decision.shadow] == ["models/allowlist"]


async def test_gateway_in_shadow_records_and_allows() -> None:
    decision = await build_engine({"mode": "shadow"}).decide(infer(model="gpt-5"))
    assert decision.allow and [one.rule for one in decision.shadow] == ["models/allowlist"]


async def test_input_nested_too_deep_denies_before_evaluation() -> None:
    deep: Any = 1
    for _ in range(101):
        deep = {"a": deep}
    query = build_query({"kind": "tool_call", "tool": "x", "input": deep})
    decision = await packaged_engine().decide(query)
    assert not decision.allow and decision.reasons[0].rule == "engine/depth"


@pytest.mark.parametrize(
    ("body", "refused", "passed"),
    [
        ('violations contains "late" if input.time.hour > 17\n', 18, 9),
        ('violations contains "late" if input["time"].hour > 17\n', 18, 9),
        ('violations contains "late" if {\n\tt := input.time\n\tt.hour > 17\n}\n', 18, 9),
        ('late(i) if i.time.hour > 17\nviolations contains "late" if late(input)\n', 18, 9),
        ('violations contains "late" if {\n\tsome k in ["time"]\n\tinput[k].hour > 17\n}\n', 18, 9),
        ('violations contains "late" if {\n\tinput[k][j] > 17\n\tk == "time"\n\tj == "hour"\n}\n', 18, 9),
        ('violations contains "late" if not input.time.hour <= 17\n', 18, 9),
        ('hours := [h | h := input.time.hour]\nviolations contains "late" if hours[0] > 17\n', 18, 9),
        ('violations contains "late" if {\n\twalk(input, [p, v])\n\tp[1] == "hour"\n\tv > 17\n}\n', 18, 9),
        ('violations contains "late" if object.get(input, ["time", "hour"], 0) > 17\n', 18, 9),
    ],
)
async def test_rule_that_reads_the_time_is_never_answered_stale(body: str, refused: int, passed: int) -> None:
    engine = build_engine(extra=probe(body))
    for hour in (passed, refused, passed, refused):
        decision = await engine.decide(build_query(INFER, time={"hour": hour}))
        assert decision.allow == (hour == passed), decision.message


async def test_imported_part_of_the_input_is_never_answered_stale() -> None:
    head = "package ringfence.rules.test.probe\n\nimport input.time as clock\n\n"
    body = head + 'violations contains "late" if clock.hour > 17\n'
    engine = build_engine(extra={"rules/test/probe/rule.rego": body})
    assert (await engine.decide(build_query(INFER, time={"hour": 9}))).allow
    assert not (await engine.decide(build_query(INFER, time={"hour": 18}))).allow


async def test_rule_that_reads_the_size_is_never_answered_stale() -> None:
    engine = build_engine(extra=probe('violations contains "big" if input.action.body_bytes > 10\n'))
    assert (await engine.decide(infer(body_bytes=10))).allow
    assert not (await engine.decide(infer(body_bytes=11))).allow


async def test_rule_guarded_by_kind_still_reads_for_that_kind() -> None:
    body = 'violations contains "many" if {\n\tinput.action.kind == "spawn"\n\tinput.meters.session.cost > 10\n}\n'
    engine = build_engine(extra=probe(body))
    meters = {"session": {"cost": 10}}
    assert (await engine.decide(build_query({"kind": "spawn"}, meters=meters))).allow
    assert not (await engine.decide(build_query({"kind": "spawn"}, meters={"session": {"cost": 11}}))).allow


async def test_equal_question_is_answered_from_memory() -> None:
    engine = build_engine()
    first = await engine.decide(build_query(INFER, time={"hour": 1}))
    second = await engine.decide(build_query(INFER, time={"hour": 2}, lineage={"session": "other"}))
    assert first is second and (engine.memo.hits, engine.memo.misses) == (1, 1)


async def test_other_principal_is_asked_anew() -> None:
    engine = build_engine({"models": {"users": {"bob": ["claude-haiku-*"]}}})
    assert (await engine.decide(build_query(INFER))).allow
    assert not (await engine.decide(build_query(INFER, principal={**BASE_QUERY["principal"], "user": "bob"}))).allow


async def test_rule_that_another_one_reads_is_kept_for_every_kind() -> None:
    body = 'violations contains "seen" if data.ringfence.rules.spawn.limits.agent_type == "unknown"\n'
    decision = await build_engine(extra=probe(body)).decide(infer())
    assert [one.rule for one in decision.reasons] == ["test/probe"]


async def test_kinds_share_no_decision() -> None:
    engine = build_engine({"workflows": {"allow": False}})
    assert not (await engine.decide(build_query({"kind": "run"}))).allow
    assert (await engine.decide(build_query(INFER))).allow


def test_setting_changes_the_revision() -> None:
    assert build_engine().revision == packaged_engine().revision
    assert build_engine({"spawn": {"depth": 3}}).revision != packaged_engine().revision
