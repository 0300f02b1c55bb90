"""Fuzz of the gate: chunk boundaries never matter, text is never late, no call passes that was not released."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.contract import DENIED_TOOL
from gateway.core.gate.calls import DenialForm
from gateway.core.gate.denial import Denial
from gateway.core.gate.gate import HELD_BYTES_MAX, HeldCall, gate_message, rewrite_message
from gateway.core.wire.sse import PING
from gateway.errors import GatewayError
from tests.support.streams import (
    DENIAL,
    Decide,
    allow,
    block_start,
    block_stop,
    chop,
    deny,
    golden,
    json_delta,
    message_end,
    message_start,
    new_gate,
    pass_through,
    sdk_message,
    text_block,
    text_delta,
    through,
    tool_block,
    tool_start,
)

GOLDEN = [
    golden(name) for name in ("text.sse", "two_tools.sse", "mcp_tool.sse", "thinking_search.sse", "spaced_crlf.sse")
]
NASTY = [
    b"\n",
    b"\r",
    b"\n\n",
    b"\\u0074",
    b'"type":"tool_use",',
    b'"type":"text",',
    b'"index":0,',
    b"event: ping\n",
    b"data: \n",
    b"NaN",
    b"\xff",
    b"\xef\xbb\xbf",
    b"}",
    tool_start(0),
    tool_start(1, "toolu_x"),
    json_delta(0, '{"a":1}'),
    block_stop(0),
    block_stop(1),
    text_delta(0, "t"),
    message_start(),
    message_end("tool_use"),
    PING,
]

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
inputs = st.dictionaries(words, json_values, max_size=4)
cuts = st.lists(st.integers(0, 20_000), max_size=12)
noise = st.sampled_from([b"", PING, b": note\n\n", b'event: new_event\ndata: {"type":"new_event"}\n\n'])
Block = tuple[str, Any]
blocks = st.lists(
    st.tuples(st.just("text"), st.lists(words, max_size=4))
    | st.tuples(st.just("tool_use"), st.tuples(inputs, cuts))
    | st.tuples(st.just("server_tool_use"), inputs),
    max_size=6,
)


def rendered(index: int, block: Block) -> bytes:
    """A block of a kind as events."""
    kind, content = block
    if kind == "text":
        return text_block(index, *content)
    text = json.dumps(content[0] if kind == "tool_use" else content)
    if kind == "tool_use":
        parts = [part.decode() for part in chop(text.encode(), content[1])]
        return tool_block(index, f"toolu_{index}", "Bash", *parts)
    start = block_start(index, type=kind, id=f"srvtoolu_{index}", name="web_search", input={})
    return start + json_delta(index, text) + block_stop(index)


@st.composite
def messages(draw: Callable[[Any], Any]) -> tuple[bytes, list[Block]]:
    """A valid stream with noise between its blocks, and the blocks."""
    drawn: list[Block] = draw(blocks)
    body = b"".join(draw(noise) + rendered(index, block) for index, block in enumerate(drawn))
    reason = "tool_use" if any(kind == "tool_use" for kind, _ in drawn) else "end_turn"
    return message_start() + body + message_end(reason), drawn


@st.composite
def damaged(draw: Callable[[Any], Any]) -> bytes:
    """A stream with a few faults in it."""
    stream: bytes = draw(st.sampled_from(GOLDEN) | messages().map(lambda message: message[0]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(stream)))
        gone = draw(st.sampled_from([0, 0, 1, 5, 60]))
        stream = stream[:at] + draw(st.sampled_from(NASTY) | st.binary(max_size=3)) + stream[at + gone :]
    return stream


def outcome(chunks: list[bytes], decide: Decide, form: DenialForm = "tool_use") -> tuple[bytes, bool]:
    """What the client is sent before the end or the fault, and whether there was a fault."""
    out: list[bytes] = []
    try:
        for piece in pass_through(new_gate(form), chunks, decide):
            out.append(piece)
    except GatewayError:
        return b"".join(out), True
    return b"".join(out), False


def calls_a_lenient_client_sees(stream: bytes) -> list[str]:
    """Names of tool calls for a client that goes by `type` alone, mends broken UTF-8 and takes NaN."""
    names: list[str] = []
    text = stream.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    for event in text.split("\n\n"):
        lines = [line.removeprefix("\ufeff") for line in event.split("\n")]
        try:
            found = json.loads("\n".join(line[5:] for line in lines if line.startswith("data:")))
            block = found["content_block"] if found["type"] == "content_block_start" else {}
            names += [block["name"]] if block.get("type") == "tool_use" else []
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return names


@given(messages(), cuts)
def test_allowed_stream_is_unchanged_at_any_chunks(message: tuple[bytes, list[Block]], places: list[int]) -> None:
    stream, _ = message
    assert outcome([stream], allow) == (stream, False)
    assert outcome(chop(stream, places), allow) == (stream, False)
    assert outcome([bytes([byte]) for byte in stream], allow) == (stream, False)


@given(messages(), st.sets(st.integers(0, 5)), st.sampled_from(["tool_use", "text"]), cuts)
def test_sdk_sees_released_calls_and_stand_ins_alone(
    message: tuple[bytes, list[Block]], denied: set[int], form: DenialForm, places: list[int]
) -> None:
    stream, drawn = message

    def decide(call: HeldCall) -> Denial | None:
        return DENIAL if call.index in denied else None

    out, broken = outcome(chop(stream, places), decide, form)
    assert not broken
    seen = sdk_message(out)
    for index, (kind, content) in enumerate(drawn):
        block = seen.content[index]
        if kind != "tool_use":
            assert block.type == kind
        elif index not in denied:
            assert (block.name, block.input) == ("Bash", content[0])
        elif form == "text":
            assert block.type == "text"
        else:
            assert (block.name, block.input["input"]) == (DENIED_TOOL, content[0])
    stopped_for_calls = any(block.type == "tool_use" for block in seen.content)
    assert (seen.stop_reason == "tool_use") == stopped_for_calls


@given(damaged(), cuts, st.sampled_from([allow, deny]))
def test_damaged_stream_gives_the_same_at_any_chunks(stream: bytes, places: list[int], decide: Decide) -> None:
    whole = outcome([stream], decide)
    assert outcome(chop(stream, places), decide) == whole
    assert outcome([bytes([byte]) for byte in stream], decide) == whole


@given(damaged() | st.binary(max_size=200))
def test_no_call_passes_that_was_denied(stream: bytes) -> None:
    out, _ = outcome([stream], deny)
    assert set(calls_a_lenient_client_sees(out)) <= {DENIED_TOOL}


@given(damaged())
def test_refusal_after_any_stream_is_whole_events(stream: bytes) -> None:
    gate = new_gate()
    out: list[bytes] = []
    try:
        out.extend(pass_through(gate, [stream], deny))
    except GatewayError:
        out.append(gate.refusal("api_error", "broke"))
    assert not any(out) or b"".join(out).endswith(
        (b"\n\n", b"\r\r", b"\n\r", b"\r\n\r\n", b"\n\r\n", b"\r\n", b"\r", b"\n")
    )
    assert set(calls_a_lenient_client_sees(b"".join(out))) <= {DENIED_TOOL}


@given(messages(), st.integers(0, 20_000), cuts, st.sampled_from(["tool_use", "text"]))
def test_message_finished_anywhere_is_one_that_a_history_may_hold(
    message: tuple[bytes, list[Block]], end: int, places: list[int], form: DenialForm
) -> None:
    stream, _ = message
    gate = new_gate(form)
    out = b""
    for chunk in chop(stream[: end % len(stream)], places):
        for piece in gate.feed(chunk):
            out += piece if isinstance(piece, bytes) else gate.deny(piece, DENIAL)
    if not gate.can_finish:
        assert gate.concluded or b"server_tool_use" in out
        return
    seen = sdk_message(out + gate.finish())
    assert (seen.stop_reason, gate.ended) == ("max_tokens", True)
    assert seen.content[-1].type in ("text", "tool_use")
    assert {block.name for block in seen.content if block.type == "tool_use"} <= {DENIED_TOOL}


@given(messages(), words, st.booleans())
def test_text_is_out_when_its_delta_is_in(message: tuple[bytes, list[Block]], text: str, held: bool) -> None:
    stream, drawn = message
    ending = stream.rindex(b"event: message_delta")
    index = len(drawn)
    late = text_delta(index, text)
    before = block_start(index, type="text", text="") + (tool_start(index + 1, "toolu_held") if held else b"")
    gate = new_gate()
    out = b""
    for piece in gate.feed(stream[:ending] + before + late):
        out += piece if isinstance(piece, bytes) else gate.release(piece)
    assert out.endswith(late)
    assert gate.holding == held


@given(st.lists(st.tuples(st.sampled_from(["Bash", "Read"]), inputs), max_size=4), st.data())
def test_whole_message_changes_in_its_denied_calls_alone(calls: list[tuple[str, Any]], data: st.DataObject) -> None:
    content = [
        {"type": "tool_use", "id": f"t{n}", "name": name, "input": found} for n, (name, found) in enumerate(calls)
    ]
    body = json.dumps({"content": [{"type": "text", "text": "x"}, *content], "stop_reason": "tool_use"}).encode()
    denied = {call.id: DENIAL for call in gate_message(body) if data.draw(st.booleans())}
    out = json.loads(rewrite_message(body, denied))
    for block, (name, found) in zip(out["content"][1:], calls, strict=True):
        if block["id"] in denied:
            assert (block["name"], block["input"]["tool"], block["input"]["input"]) == (DENIED_TOOL, name, found)
        else:
            assert (block["name"], block["input"]) == (name, found)


@given(st.data())
def test_any_whole_body_is_read_or_refused(data: st.DataObject) -> None:
    body = golden("whole_two_tools.json")
    at = data.draw(st.integers(0, len(body)))
    body = (
        body[:at]
        + data.draw(st.sampled_from(NASTY) | st.binary(max_size=3))
        + body[at + data.draw(st.integers(0, 9)) :]
    )
    try:
        calls = gate_message(body)
    except GatewayError:
        return
    out = rewrite_message(body, {call.id: DENIAL for call in calls})
    assert all(call.name == DENIED_TOOL for call in gate_message(out))


def test_memory_stays_bounded_in_an_endless_call() -> None:
    gate = new_gate()
    part = json_delta(0, "x" * 64_000)
    list(gate.feed(message_start() + tool_start(0)))
    tracemalloc.start()
    try:
        for _ in range(400):
            assert list(gate.feed(part)) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * HELD_BYTES_MAX + 2_000_000


def test_golden_streams_denied_keep_no_call() -> None:
    for stream in GOLDEN:
        assert set(calls_a_lenient_client_sees(through(stream, deny))) <= {DENIED_TOOL}
