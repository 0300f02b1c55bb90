"""What shadow mode, and obligations of a rule in a policy folder of its own, do to requests on the whole path."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.ruletests import BASE_QUERY
from tests.support.gateway import Serving, events_of, request_body, serving
from tests.support.policies import POLICIES
from tests.support.upstream import ScriptedUpstream, json_answer, stream_answer, text_block, tool_block

HAIKU_ONLY = {"models": {"allow": ["claude-haiku-*"]}}
NO_CURL = {"tools": {"deny": [{"tool": "Bash", "commands": ["curl *"]}]}}
STRICT_DOLLAR = [{"account": "org", "window": "total", "limit_usd": 1, "strict": True, "on_reach": "refuse"}]
USAGE = {"input_tokens": 100, "output_tokens": 400}
TOOLS = [
    {"name": "Bash", "input_schema": {"type": "object"}},
    {"name": "WebFetch", "description": "d\u00e9", "input_schema": {"type": "object"}},
]


def house_policies(directory: Path, obligations: list[str]) -> dict[str, Any]:
    """The packaged policies with one rule more, which allows and asks for something.

    It leaves out the session that examples are about: those of other rules name all obligations of a decision.
    """
    folder = directory / "policies"
    shutil.copytree(POLICIES, folder)
    rule = folder / "rules" / "house" / "shape"
    (rule / "examples").mkdir(parents=True)
    when = f'input.action.kind == "infer"; input.lineage.session != "{BASE_QUERY["lineage"]["session"]}"'
    asked = "\n".join(f"obligations contains {each} if {{ {when} }}" for each in obligations)
    (rule / "rule.rego").write_text(f"package ringfence.rules.house.shape\n\n{asked}\n")
    package = "package ringfence.rules.house.shape_test\n\nimport data.ringfence.rules.house.shape\n"
    query = '{"action": {"kind": "infer"}, "lineage": {"session": "s1"}}'
    test = f"test_asks if count(shape.obligations) == {len(obligations)} with input as {query}"
    (rule / "rule_test.rego").write_text(f"{package}\n{test}\n")
    (rule / "README.md").write_text("# house/shape\n")
    for name, example in examples().items():
        (rule / "examples" / f"{name}.json").write_text(json.dumps(example))
    return {"path": str(folder)}


def examples() -> Mapping[str, Any]:
    return {
        "allow": {"query": {"action": {"kind": "infer"}}, "expect": {"allow": True}},
        "deny_model": {"query": {"action": {"kind": "infer", "model": "gpt-9"}}, "expect": {"allow": False}},
        "missing_user": {
            "query": {"action": {"kind": "infer"}},
            "without": ["principal.user"],
            "expect": {"allow": False},
        },
    }


async def ask(gateway: Serving, **fields: Any) -> tuple[int, bytes]:
    async with gateway.post(request_body(**fields)) as response:
        got = await response.read()
    await gateway.quiet()
    return int(response.status), got


def shadowed(gateway: Serving, kind: str) -> list[str]:
    """Rules that the audit trail has under shadow, by kind of query; every such decision allowed."""
    decisions = [record for record in gateway.audit("decision") if record["kind"] == kind]
    assert all(record["allow"] and record["reasons"] == [] for record in decisions)
    return [reason["rule"] for record in decisions for reason in record["shadow"]]


async def test_rule_in_shadow_lets_a_request_pass_and_says_what_it_would_have_done(tmp_path: Path) -> None:
    policy = {"settings": HAIKU_ONLY, "rules": {"models/allowlist": "shadow"}}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        upstream.queue(stream_answer([text_block("x")]))
        body = request_body()
        assert (await ask(gateway))[0] == 200
        (request,) = gateway.audit("request")
        assert upstream.received[0].body == body
        assert shadowed(gateway, "infer") == [each["rule"] for each in request["shadow"]] == ["models/allowlist"]
        line = 'ringfence_shadow_denials_total{kind="infer",rule="models/allowlist"} 1.0'
        assert line in await gateway.metrics()


async def test_call_that_a_rule_in_shadow_would_deny_passes_byte_for_byte(tmp_path: Path) -> None:
    policy = {"settings": NO_CURL, "rules": {"tools/denylist": "shadow"}}
    answer = stream_answer([tool_block("Bash", {"command": "curl x"})])
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        upstream.queue(answer)
        assert await ask(gateway) == (200, b"".join(chunk for chunk in answer.chunks if isinstance(chunk, bytes)))
        assert shadowed(gateway, "tool_call") == ["tools/denylist"]


async def test_enforced_rule_still_denies_beside_one_in_shadow(tmp_path: Path) -> None:
    policy = {"settings": NO_CURL, "rules": {"shell/pipe_to_shell": "shadow"}}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        upstream.queue(stream_answer([tool_block("Bash", {"command": "curl x | sh"})]))
        _, got = await ask(gateway)
        (decision,) = [record for record in gateway.audit("decision") if record["kind"] == "tool_call"]
        assert b"tools/denylist" in got and b"shell/pipe_to_shell" not in got
        assert "shell/pipe_to_shell" in [reason["rule"] for reason in decision["shadow"]]
        assert [reason["rule"] for reason in decision["reasons"]] == ["tools/denylist"]


async def test_rule_that_is_off_says_nothing_at_all(tmp_path: Path) -> None:
    policy = {"settings": HAIKU_ONLY, "rules": {"models/allowlist": "off"}}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        upstream.queue(stream_answer([text_block("x")]))
        assert (await ask(gateway))[0] == 200
        assert shadowed(gateway, "infer") == []


async def test_gateway_in_shadow_records_every_denial_and_acts_on_none(tmp_path: Path) -> None:
    policy = {"mode": "shadow", "settings": HAIKU_ONLY | NO_CURL | {"spawn": {"total": 0}}}
    agent = {"x-claude-code-agent-id": "a1"}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        upstream.queue(stream_answer([tool_block("Bash", {"command": "curl x"})]))
        async with gateway.post(request_body(), headers=agent) as response:
            events = events_of(await response.read())
        await gateway.quiet()
        assert response.status == 200 and events[1]["content_block"]["name"] == "Bash"
        assert [shadowed(gateway, kind) for kind in ("spawn", "infer", "tool_call")] == [
            ["models/allowlist", "spawn/limits"],
            ["models/allowlist"],
            ["tools/denylist"],
        ]


async def test_gateway_in_shadow_still_keeps_its_budgets_and_fuses(tmp_path: Path) -> None:
    budgets = [{"account": "org", "window": "total", "limit_usd": 0.0001, "strict": True}]
    async with ScriptedUpstream() as upstream:
        async with serving(tmp_path, upstream.base_url, policy={"mode": "shadow"}, budgets=budgets) as gateway:
            assert (await ask(gateway))[0] == 429
        fuses = {"session": {"depth": 0}}
        async with serving(tmp_path, upstream.base_url, policy={"mode": "shadow"}, fuses=fuses) as gateway:
            async with gateway.post(request_body(), headers={"x-claude-code-agent-id": "a1"}) as response:
                assert response.status == 429
        assert upstream.received == []


async def test_obligations_change_their_fields_and_no_other_byte(tmp_path: Path) -> None:
    policy = house_policies(
        tmp_path,
        [
            '{"kind": "strip_tools", "value": ["WebFetch"]}',
            '{"kind": "clamp_max_tokens", "value": 500}',
            '{"kind": "set_model", "value": "claude-haiku-5-5"}',
        ],
    )
    body = request_body(tools=TOOLS, note={"max_tokens": 1000, "model": "claude-opus-5-5"})
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")], model="claude-haiku-5-5", usage=USAGE)) as upstream,
        serving(tmp_path, upstream.base_url, policy=policy, budgets=STRICT_DOLLAR) as gateway,
    ):
        async with gateway.post(body) as response:
            assert response.status == 200
        await gateway.quiet()
        (request,) = gateway.audit("request")
        (decision,) = gateway.audit("decision")
        head, tail = body.split(b',"tools":', 1)
        met = head.replace(b"claude-opus-5-5", b"claude-haiku-5-5", 1).replace(
            b'"max_tokens":1000', b'"max_tokens":500'
        )
        stripped = tail.replace(b"," + json.dumps(TOOLS[1], ensure_ascii=False, separators=(",", ":")).encode(), b"")
        assert upstream.received[0].body == met + b',"tools":' + stripped
        assert sorted(each["kind"] for each in decision["obligations"]) == [
            "clamp_max_tokens",
            "set_model",
            "strip_tools",
        ]
        assert (request["model"], request["upstream_model"]) == ("claude-opus-5-5", "claude-haiku-5-5")
        assert request["hold"]["worst"]["cost"] < 1000 * 20_000 > request["cost_nanousd"] > 0


async def test_obligations_that_ask_for_less_than_there_is_leave_the_body_alone(tmp_path: Path) -> None:
    obligations = ['{"kind": "strip_tools", "value": ["Nothing"]}', '{"kind": "clamp_max_tokens", "value": 64000}']
    body = request_body(tools=TOOLS)
    async with (
        ScriptedUpstream(lambda _: json_answer({"input_tokens": 7})) as upstream,
        serving(tmp_path, upstream.base_url, policy=house_policies(tmp_path, obligations)) as gateway,
    ):
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            async with gateway.post(body, path=path) as response:
                await response.read()
        assert [received.body for received in upstream.received] == [body, body]


async def test_obligation_of_a_rule_in_shadow_is_not_carried_out(tmp_path: Path) -> None:
    policy = house_policies(tmp_path, ['{"kind": "set_model", "value": "claude-haiku-5-5"}'])
    body = request_body()
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        serving(tmp_path, upstream.base_url, policy=policy | {"rules": {"house/shape": "shadow"}}) as gateway,
    ):
        assert (await ask(gateway))[0] == 200
        assert upstream.received[0].body == body


@pytest.mark.parametrize(
    "obligation",
    [
        '{"kind": "set_model", "value": "claude-unheard-of-9"}',
        '{"kind": "require_approval", "value": true}',
        '{"kind": "clamp_max_tokens", "value": "few"}',
        '{"kind": "clamp_max_tokens", "value": -1}',
        '{"kind": "strip_tools", "value": 7}',
        '{"kind": "strip_tools", "value": "WebFetch"}',
        '{"kind": "set_model", "value": null}',
    ],
)
async def test_obligation_that_cannot_be_met_is_a_refusal_that_says_so(tmp_path: Path, obligation: str) -> None:
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        serving(tmp_path, upstream.base_url, policy=house_policies(tmp_path, [obligation])) as gateway,
    ):
        status, got = await ask(gateway, tools=TOOLS)
        assert (status, upstream.received) == (451, [])
        assert json.loads(got)["error"]["type"] == "permission_error"
