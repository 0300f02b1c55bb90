"""Limits that a policy decision adds to a request, on the whole path: who is held to them, and what denies instead."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Serving, request_body, serving
from tests.support.policies import POLICIES
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block, tool_block

BOB = {"x-api-key": "rf_bob_0123456789abcdefghijklmnopqrstuvwxyz"}
USAGE = {"input_tokens": 100, "output_tokens": 15_000}
COST_NANOUSD = 15_000 * 20_000 + 100 * 4_000
HALF_DOLLAR = {"account": "user:alice", "meter": "cost", "window": "total", "max": 500_000_000, "strict": True}
RULE = """\
# METADATA
# title: Trial
# description: What is under test.
package ringfence.rules.spend.trial

violations contains "not on a test's day" if {{
	input.action.kind == "infer"
	input.principal.user == "nobody"
}}

limits contains {limit} if {{
	input.action.kind == "{kind}"
}}
"""
TEST = """\
package ringfence.rules.spend.trial_test

import data.ringfence.rules.spend.trial

test_nobody_is_refused if {
	count(trial.violations) == 1 with input as {"action": {"kind": "infer"}, "principal": {"user": "nobody"}}
}
"""
INFER = {"kind": "infer", "model": "claude-opus-5-5"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "allow": {"query": {"action": INFER}, "expect": {"allow": True}},
    "deny": {
        "query": {"action": INFER, "principal": {"user": "nobody"}},
        "expect": {"allow": False, "rules": ["spend/trial"]},
    },
    "missing": {
        "query": {"action": INFER},
        "without": ["principal.user"],
        "expect": {"allow": False, "rules": ["engine/query"]},
    },
}


def policy(directory: Path, limit: dict[str, Any], *, kind: str = "infer", mode: str = "enforce") -> dict[str, Any]:
    """The packaged policies and one more rule, which sets `limit` whenever an action of `kind` is decided."""
    shutil.copytree(POLICIES, directory / "policies")
    rule = directory / "policies" / "rules" / "spend" / "trial"
    (rule / "examples").mkdir(parents=True)
    (rule / "rule.rego").write_text(RULE.format(limit=json.dumps(limit), kind=kind))
    (rule / "rule_test.rego").write_text(TEST)
    (rule / "README.md").write_text("# spend/trial\n\nWhat is under test.\n")
    for name, example in EXAMPLES.items():
        (rule / "examples" / f"{name}.json").write_text(json.dumps(example))
    return {"path": str(directory / "policies"), "rules": {"spend/trial": mode}}


def thirty_cents(_: object) -> Any:
    return stream_answer([text_block("x")], usage=USAGE)


async def ask(gateway: Serving, headers: dict[str, str] | None = None, **fields: Any) -> tuple[int, str]:
    """Status, and what a refusal says."""
    async with gateway.post(request_body(**({"max_tokens": 15_000} | fields)), headers=headers) as response:
        got = await response.read()
        refusal = json.loads(got)["error"] if response.status != 200 else {}
        return int(response.status), refusal.get("message", "")


async def test_user_is_held_to_the_limit_that_a_rule_sets_and_others_are_not(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(thirty_cents) as upstream,
        serving(tmp_path, upstream.base_url, policy=policy(tmp_path, HALF_DOLLAR)) as gateway,
    ):
        assert await ask(gateway) == (200, "")
        status, told = await ask(gateway)
        assert status == 429 and "total limit of $0.50 of user:alice" in told
        assert [await ask(gateway, BOB | {"x-claude-code-session-id": f"bob-{number}"}) for number in range(2)] == [
            (200, "")
        ] * 2
        await gateway.quiet()
        reasons = [record["reason"] for record in gateway.audit("request")]
        assert reasons == ["completed", "budget_exhausted", "completed", "completed"]
        assert len(upstream.received) == 3


async def test_limit_of_a_rule_counts_what_was_spent_before_there_was_one(tmp_path: Path) -> None:
    async with ScriptedUpstream(thirty_cents) as upstream:
        async with serving(tmp_path, upstream.base_url) as gateway:
            assert [(await ask(gateway))[0] for _ in range(2)] == [200, 200]
        async with serving(tmp_path, upstream.base_url, policy=policy(tmp_path, HALF_DOLLAR)) as gateway:
            status, told = await ask(gateway)
        assert status == 429 and "has $0.6008 spent" in told


async def test_limit_of_a_rule_on_counts_paces_and_one_of_the_configuration_holds_beside_it(tmp_path: Path) -> None:
    pace = {"account": "session:one", "meter": "requests", "window": "rolling 1m", "max": 2}
    budgets = [{"account": "org", "window": "total", "limit_usd": 0.7, "strict": True, "on_reach": "refuse"}]
    one, two = ({"x-claude-code-session-id": name} for name in ("one", "two"))
    async with (
        ScriptedUpstream(thirty_cents) as upstream,
        serving(tmp_path, upstream.base_url, budgets=budgets, policy=policy(tmp_path, pace)) as gateway,
    ):
        assert [(await ask(gateway, one, max_tokens=100))[0] for _ in range(2)] == [200, 200]
        async with gateway.post(request_body(max_tokens=100), headers=one) as response:
            refusal = await response.json()
            assert (response.status, refusal["error"]["type"]) == (429, "rate_limit_error")
            assert 0 < int(response.headers["retry-after"]) <= 61 and "x-should-retry" not in response.headers
        status, told = await ask(gateway, two)  # two answers were $0.6008
        assert status == 429 and "limit of $0.70 of org" in told


async def test_limit_of_a_rule_that_clamps_lowers_max_tokens(tmp_path: Path) -> None:
    clamps = HALF_DOLLAR | {"max": 100_000_000, "on_reach": "clamp"}
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        serving(tmp_path, upstream.base_url, policy=policy(tmp_path, clamps)) as gateway,
    ):
        assert await ask(gateway) == (200, "")
        await gateway.quiet()
        (record,) = gateway.audit("request")
        sent = json.loads(upstream.received[0].body)["max_tokens"]
        assert record["clamped_from"] == 15_000 and 1_024 <= sent < 100_000_000 // 20_000
        assert record["hold"]["worst"]["cost"] <= 100_000_000


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"window": "yearly"}, "'yearly' is no window"),
        ({"account": "user"}, "'user' is no account"),
        ({"max": -1}, "could not be evaluated"),
        ({"stric": True}, "could not be evaluated"),
    ],
)
async def test_limit_that_cannot_be_counted_denies(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    async with (
        ScriptedUpstream(thirty_cents) as upstream,
        serving(tmp_path, upstream.base_url, policy=policy(tmp_path, HALF_DOLLAR | wrong)) as gateway,
    ):
        status, told = await ask(gateway)
        assert status == 451 and said in told
        assert upstream.received == []


async def test_limit_of_a_rule_in_shadow_holds_nobody(tmp_path: Path) -> None:
    nothing = HALF_DOLLAR | {"max": 0}
    async with (
        ScriptedUpstream(thirty_cents) as upstream,
        serving(tmp_path, upstream.base_url, policy=policy(tmp_path, nothing, mode="shadow")) as gateway,
    ):
        assert await ask(gateway) == (200, "")


async def test_limit_on_a_tool_call_denies_the_call(tmp_path: Path) -> None:
    calls = stream_answer([tool_block("Bash", {"command": "ls"})])
    async with (
        ScriptedUpstream(lambda _: calls) as upstream,
        serving(tmp_path, upstream.base_url, policy=policy(tmp_path, HALF_DOLLAR, kind="tool_call")) as gateway,
    ):
        async with gateway.post(request_body()) as response:
            got = (await response.read()).decode()
        await gateway.quiet()
        (decision,) = [record for record in gateway.audit("decision") if record["kind"] == "tool_call"]
        assert "ringfence_denied" in got
        assert (decision["allow"], decision["reasons"][0]["rule"]) == (False, "engine/obligation")
        assert "only a model request can be held to" in decision["reasons"][0]["message"]
