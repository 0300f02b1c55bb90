"""The simulated backend through its port: what it answers to requests, also to recorded ones of the real client."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError, Reason
from gateway.ports import UpstreamAnswer, UpstreamRequest
from gateway.upstreams.simulated import SimulatedUpstream
from gateway.upstreams.simulation.reading import load_scenario, parse_scenario
from gateway.upstreams.simulation.scenario import Scenario
from tests.support.clock import FakeClock

GOLDEN = Path(__file__).parent.parent.parent / "golden" / "anthropic"


class Sleeps:
    """Sleeps that take no time and are remembered."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def simulated(scenario: str = "", *, sleeps: Sleeps | None = None) -> SimulatedUpstream:
    read = parse_scenario(scenario, "test") if scenario else Scenario()
    return SimulatedUpstream("sim", read, sleep=sleeps or Sleeps(), monotonic=FakeClock().monotonic)


def body(prompt: str, **fields: Any) -> dict[str, Any]:
    document = {"model": "claude-opus-5-5", "max_tokens": 1000, "stream": True, **fields}
    return {"messages": [{"role": "user", "content": prompt}], **document}


async def ask(
    upstream: SimulatedUpstream, document: dict[str, Any], headers: Sequence[tuple[str, str]] = ()
) -> UpstreamAnswer:
    return await upstream.send(
        UpstreamRequest("/v1/messages?beta=true", headers, json.dumps(document).encode(), "m", True)
    )


async def read(answer: UpstreamAnswer) -> bytes:
    return b"".join([chunk async for chunk in answer.chunks()])


def events(stream: bytes) -> list[dict[str, Any]]:
    frames = [frame.split(b"\n") for frame in stream.split(b"\n\n") if frame]
    decoded = [json.loads(lines[1].removeprefix(b"data: ")) for lines in frames]
    assert [lines[0] for lines in frames] == [f"event: {event['type']}".encode() for event in decoded]
    return decoded


def blocks(stream: bytes) -> list[dict[str, Any]]:
    """Content blocks as a client puts them together."""
    found: list[dict[str, Any]] = []
    for event in events(stream):
        if event["type"] == "content_block_start":
            found.append(dict(event["content_block"], json=""))
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            for key in ("text", "thinking", "signature"):
                if key in delta:
                    found[-1][key] += delta[key]
            found[-1]["json"] += delta.get("partial_json", "")
    return [dict(block, input=json.loads(block["json"])) if block["type"] == "tool_use" else block for block in found]


async def test_unscripted_prompt_is_echoed_in_several_deltas() -> None:
    stream = await read(await ask(simulated(), body("Hello there")))
    decoded = events(stream)
    assert decoded[0]["type"] == "message_start"
    assert decoded[-1] == {"type": "message_stop"}
    assert {"type": "ping"} in decoded
    assert blocks(stream)[0]["text"] == "Simulated answer to: Hello there"
    assert sum(event["type"] == "content_block_delta" for event in decoded) >= 2


async def test_thinking_is_written_only_when_enabled_and_signed() -> None:
    shown = blocks(await read(await ask(simulated(), body("x", thinking={"type": "adaptive"}))))[0]
    omitted = {"type": "adaptive", "display": "omitted"}
    hidden = blocks(await read(await ask(simulated(), body("x", thinking=omitted))))[0]
    assert shown["type"] == hidden["type"] == "thinking"
    assert shown["thinking"] and shown["signature"]
    assert hidden["thinking"] == "" and hidden["signature"] == shown["signature"]


async def test_json_message_has_the_content_of_the_stream() -> None:
    streamed = blocks(await read(await ask(simulated(), body("x"))))
    answer = await ask(simulated(), body("x", stream=False))
    message = json.loads(await read(answer))
    assert ("content-type", "application/json") in answer.headers
    assert message["content"][0]["text"] == streamed[0]["text"]
    assert (message["stop_reason"], message["usage"]["output_tokens"] > 1) == ("end_turn", True)


async def test_count_tokens_is_what_usage_says() -> None:
    document = body("x" * 400)
    upstream = simulated()
    counting = UpstreamRequest("/v1/messages/count_tokens", (), json.dumps(document).encode(), "m", False)
    counted = json.loads(await read(await upstream.send(counting)))
    started = events(await read(await ask(upstream, document)))[0]
    assert counted == {"input_tokens": started["message"]["usage"]["input_tokens"]}


async def test_directive_prescribes_turn_after_turn() -> None:
    prompt = """Do it.
```simulate
- reply:
    - text: First.
    - tool_use: {name: Bash, input: {command: ls}}
    - tool_use: {name: Read, input: {file_path: /a}}
- reply: [{text: "It said {{tool_result}}."}]
```"""
    upstream = simulated()
    first = blocks(await read(await ask(upstream, body(prompt))))
    calls = [{key: block[key] for key in ("type", "id", "name", "input")} for block in first[1:]]
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "ok"} for call in calls]
    history = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": [{"type": "text", "text": "First."}, *calls]},
        {"role": "user", "content": results},
    ]
    second = await read(await ask(upstream, body("", messages=history)))
    assert [(call["name"], call["input"]) for call in calls] == [
        ("Bash", {"command": "ls"}),
        ("Read", {"file_path": "/a"}),
    ]
    assert blocks(second)[0]["text"] == "It said ok\nok."
    assert len({call["id"] for call in calls}) == 2


async def test_directive_line_indented_by_a_harness_still_counts() -> None:
    prompt = '[Harness] The task:\n  simulate: {reply: [{text: "Yes."}]}'
    assert blocks(await read(await ask(simulated(), body(prompt))))[0]["text"] == "Yes."


async def test_wrong_directive_is_a_400_with_every_problem() -> None:
    answer = await ask(simulated(), body("simulate: {reply: [{tex: a}], pase: 0}"))
    message = json.loads(await read(answer))["error"]["message"]
    assert answer.status == 400
    assert "did you mean `text`" in message and "did you mean `pace`" in message


async def test_half_a_character_in_a_directive_is_written_as_a_replacement() -> None:
    prompt = (
        'simulate: {reply: [{thinking: "\\ud800"}, {text: "\\ud800"}, {tool_use: {name: a, input: {b: "\\ud800"}}}]}'
    )
    found = blocks(await read(await ask(simulated(), body(prompt, thinking={"type": "adaptive"}))))
    assert [block["type"] for block in found] == ["thinking", "text", "tool_use"]
    assert found[1]["text"] == "?"


async def test_structured_output_tool_gets_an_object_for_its_schema() -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 3}}}
    tools = [{"name": "Bash", "input_schema": {}}, {"name": "StructuredOutput", "input_schema": schema}]
    call = blocks(await read(await ask(simulated(), body("x", tools=tools))))[0]
    assert (call["name"], call["input"]) == ("StructuredOutput", {"n": 3})


async def test_forced_tool_and_output_format_are_honoured() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    tools = [{"name": "Report", "input_schema": schema}]
    forced = blocks(await read(await ask(simulated(), body("x", tools=tools, tool_choice={"type": "any"}))))
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    text = blocks(await read(await ask(simulated(), body("x", output_config=wanted))))[0]["text"]
    assert forced[0]["name"] == "Report"
    assert json.loads(text) == forced[0]["input"] == {"title": "simulated"}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"model": "m"}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": "m", "messages": [{"role": "assistant", "content": "x"}]}, "messages.0.role"),
        ({"model": "m", "messages": ["x"]}, "messages"),
        ({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": -1}, "max_tokens"),
    ],
)
async def test_request_the_api_refuses_is_refused_with_its_place(document: dict[str, Any], place: str) -> None:
    answer = await ask(simulated(), document)
    error = json.loads(await read(answer))
    assert (answer.status, error["error"]["type"]) == (400, "invalid_request_error")
    assert error["error"]["message"].startswith(f"{place}:")


async def test_history_with_an_unanswered_call_is_refused() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    history = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [call]}]
    unanswered = await ask(simulated(), body("", messages=[*history, {"role": "user", "content": "go on"}]))
    result = {"type": "tool_result", "tool_use_id": "toolu_2", "content": ""}
    strange = await ask(simulated(), body("", messages=[*history[:1], {"role": "user", "content": [result]}]))
    assert (unanswered.status, strange.status) == (400, 400)
    assert b"toolu_1" in await read(unanswered)


async def test_unknown_path_and_broken_json_are_errors_not_exceptions() -> None:
    upstream = simulated()
    missing = await upstream.send(UpstreamRequest("/v1/other", (), b"{}", "m", False))
    broken = await upstream.send(UpstreamRequest("/v1/messages", (), b"{", "m", False))
    assert (missing.status, broken.status) == (404, 400)


async def test_max_tokens_bounds_output_and_sets_the_stop_reason() -> None:
    scenario = "turns: [{reply: [{text: aaaaaaaaaaaaaaaaaaaa}], usage: {output_tokens: 50}}]"
    decoded = events(await read(await ask(simulated(scenario), body("x", max_tokens=3))))
    delta = decoded[-2]
    assert (delta["delta"]["stop_reason"], delta["usage"]["output_tokens"]) == ("max_tokens", 3)
    nothing = events(await read(await ask(simulated(), body("x", max_tokens=0))))
    assert [event["type"] for event in nothing] == ["message_start", "message_delta", "message_stop"]


async def test_usage_override_is_reported_in_both_forms() -> None:
    scenario = "turns: [{reply: [{text: a}], usage: {input_tokens: 7, output_tokens: 9, cache_read_input_tokens: 8}}]"
    streamed = events(await read(await ask(simulated(scenario), body("x"))))
    whole = json.loads(await read(await ask(simulated(scenario), body("x", stream=False))))
    for usage in (streamed[-2]["usage"], whole["usage"]):
        assert (usage["input_tokens"], usage["output_tokens"], usage["cache_read_input_tokens"]) == (7, 9, 8)


async def test_pace_is_kept_and_pace_zero_never_sleeps() -> None:
    slow, none = Sleeps(), Sleeps()
    reply = "turns: [{reply: [{text: aaaaaaaaaaaaaaaa}]}]"
    await read(
        await ask(simulated(f"pace: {{first_token_seconds: 2, tokens_per_second: 4}}\n{reply}", sleeps=slow), body("x"))
    )
    await read(await ask(simulated(f"pace: 0\n{reply}", sleeps=none), body("x")))
    assert slow.seconds[0] == 2
    assert sum(slow.seconds[1:]) == pytest.approx(1.0)
    assert none.seconds == []


async def test_slow_tool_input_keeps_its_block_open() -> None:
    sleeps = Sleeps()
    scenario = "pace: 0\nturns: [{reply: [{text: a}, {tool_use: {name: Bash, input: {command: ls}, seconds: 60}}]}]"
    await read(await ask(simulated(scenario, sleeps=sleeps), body("x")))
    assert sum(sleeps.seconds) == pytest.approx(60)


async def test_status_fault_is_an_error_answer_with_headers() -> None:
    scenario = "turns: [{fault: {status: {code: 529, type: overloaded_error, headers: {retry-after: 3}}}}]"
    answer = await ask(simulated(scenario), body("x"))
    error = json.loads(await read(answer))
    assert answer.status == 529
    assert ("retry-after", "3") in answer.headers
    assert (error["error"]["type"], error["request_id"]) == ("overloaded_error", dict(answer.headers)["request-id"])


async def test_error_fault_ends_the_stream_after_its_blocks() -> None:
    scenario = "turns: [{reply: [{text: a}, {text: b}], fault: {error: {type: overloaded_error, after_blocks: 1}}}]"
    decoded = events(await read(await ask(simulated(scenario), body("x"))))
    assert [event["type"] for event in decoded[-2:]] == ["content_block_stop", "error"]
    assert (await ask(simulated(scenario), body("x", stream=False))).status == 529


@pytest.mark.parametrize(
    ("cut", "expected"), [("after_blocks: 0", b"message_start"), ("after_blocks: 1", b"content_block_stop")]
)
async def test_cut_after_blocks_breaks_off_behind_them(cut: str, expected: bytes) -> None:
    answer = await ask(
        simulated(f"turns: [{{reply: [{{text: a}}, {{text: b}}], fault: {{cut: {{{cut}}}}}}}]"), body("x")
    )
    got = b""
    with pytest.raises(GatewayError) as failure:
        async for chunk in answer.chunks():
            got += chunk
    assert failure.value.reason is Reason.UPSTREAM_BROKE
    assert events(got)[-1]["type"].encode() == expected


@pytest.mark.parametrize("stream", [True, False])
async def test_cut_after_bytes_breaks_off_at_that_byte(stream: bool) -> None:
    answer = await ask(
        simulated("turns: [{reply: [{text: a}], fault: {cut: {after_bytes: 25}}}]"), body("x", stream=stream)
    )
    got = b""
    with pytest.raises(GatewayError):
        async for chunk in answer.chunks():
            got += chunk
    assert len(got) == 25


async def test_silence_sleeps_without_a_ping() -> None:
    sleeps = Sleeps()
    scenario = "pace: 0\nturns: [{reply: [{text: a}], fault: {silence: {seconds: 400, after_blocks: 1}}}]"
    stream = await read(await ask(simulated(scenario, sleeps=sleeps), body("x")))
    assert sleeps.seconds == [400]
    assert events(stream)[-1]["type"] == "message_stop"


async def test_closed_answer_sends_nothing_more() -> None:
    answer = await ask(simulated(), body("x"))
    chunks = answer.chunks()
    await anext(chunks)
    await answer.close()
    assert [chunk async for chunk in chunks] == []


async def test_same_request_of_two_agents_gets_the_same_words_and_other_ids() -> None:
    upstream = simulated("turns: [{reply: [{tool_use: {name: Bash, input: {}}}]}]")
    answers = [await read(await ask(upstream, body("x"), [("X-Claude-Code-Agent-Id", agent)])) for agent in "ab"]
    first, second = (blocks(answer)[0] for answer in answers)
    assert first["input"] == second["input"]
    assert first["id"] != second["id"]


@pytest.mark.parametrize("name", ["b_tool", "d_workflow"])
async def test_recorded_requests_of_the_real_client_are_answered(name: str) -> None:
    upstream = simulated()
    for recorded in json.loads((GOLDEN / f"{name}.json").read_text())["requests"]:
        answer = await ask(upstream, recorded["body"])
        reply = blocks(await read(answer))
        assert answer.status == 200
        wants_object = any(tool["name"] == "StructuredOutput" for tool in recorded["body"]["tools"])
        assert (reply[-1].get("name") == "StructuredOutput") == wants_object


async def test_demo_denied_call_makes_the_agent_take_another_way() -> None:
    upstream = SimulatedUpstream("sim", load_scenario(Path("demo")), sleep=Sleeps())
    prompt = "Install the linter, please."
    first = blocks(await read(await ask(upstream, body(prompt))))
    call = {key: first[-1][key] for key in ("type", "id", "name", "input")}
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "denied by policy", "is_error": True}
    history = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    second = blocks(await read(await ask(upstream, body("", messages=history))))
    assert "| sh" in call["input"]["command"]
    assert (second[-1]["name"], second[-1]["input"]["command"]) == ("Bash", "ls")


async def test_demo_wave_asks_for_four_agents_in_one_message() -> None:
    upstream = SimulatedUpstream("sim", load_scenario(Path("demo")), sleep=Sleeps())
    calls = blocks(await read(await ask(upstream, body("Audit every module"))))[1:]
    assert [call["name"] for call in calls] == ["Agent"] * 4
    assert calls[3]["input"]["description"] == "Audit part 1.4"
    assert blocks(await read(await ask(upstream, body(calls[3]["input"]["prompt"]))))[0]["text"].startswith("Part 1.4")


async def test_demo_report_costs_fifteen_thousand_output_tokens() -> None:
    upstream = SimulatedUpstream("sim", load_scenario(Path("demo")), sleep=Sleeps())
    decoded = events(await read(await ask(upstream, body("Write the long report", max_tokens=15000))))
    assert decoded[-2]["usage"]["output_tokens"] == 15000
    assert decoded[-2]["delta"]["stop_reason"] == "end_turn"
