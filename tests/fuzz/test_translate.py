"""Whatever a body holds: it stays valid JSON, and what does not move comes back byte for byte."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.core.bridging.translate import Outgoing, read_betas, read_version, translate, translate_count, unwrap_count
from gateway.core.wire.shapes import NEW_VERSION, OLD_VERSION, SHAPES, Shape
from gateway.core.wire.spans import Malformed, members
from gateway.errors import GatewayError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
MOVED = ("model", "stream", "anthropic_version", "anthropic_beta")
NAMES = st.text("abcdefghij-0123456789", min_size=1, max_size=8)
BETAS = st.lists(NAMES, max_size=3, unique=True)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")])
SHAPE = st.sampled_from(SHAPES)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An object with any members, and with any of those that move, in any order."""
    others = draw(st.dictionaries(st.text(max_size=6).filter(lambda name: name not in MOVED), JSON, max_size=4))
    known = {
        "model": NAMES,
        "stream": st.sampled_from([True, False, None]),
        "anthropic_version": st.sampled_from(["bedrock-2023-05-31", "vertex-2023-10-16", NEW_VERSION, None]),
        "anthropic_beta": st.none() | BETAS,
    }
    moved = {name: draw(value) for name, value in known.items() if draw(st.booleans())}
    items = draw(st.permutations(list((others | moved).items())))
    return json.dumps(dict(items), separators=draw(SEPARATORS), ensure_ascii=draw(st.booleans())).encode()


FACTS = st.fixed_dictionaries(
    {"stream": st.booleans(), "version": st.sampled_from([OLD_VERSION, NEW_VERSION]), "betas": BETAS.map(tuple)}
)


def send(body: bytes, source: Shape, target: Shape, facts: dict[str, Any]) -> bytes:
    request = Outgoing(operation="messages", body=body, spans=members(body), model="claude-x", headers=(), **facts)
    return translate(request, source, target).body


def staying(body: bytes) -> list[tuple[str, bytes]]:
    """What does not move, in order, byte for byte."""
    return [(name, body[slice(*span)]) for name, span in members(body).items() if name not in MOVED]


@given(bodies(), SHAPE, SHAPE, FACTS)
def test_what_does_not_move_goes_there_and_back_untouched(
    body: bytes, source: Shape, target: Shape, facts: dict[str, Any]
) -> None:
    there = send(body, source, target, facts)
    back = send(there, target, source, facts)
    assert isinstance(json.loads(there), dict) and isinstance(json.loads(back), dict)
    assert staying(there) == staying(back) == staying(body)


@given(bodies(), SHAPE, SHAPE, FACTS)
def test_upstream_reads_what_was_decided(body: bytes, source: Shape, target: Shape, facts: dict[str, Any]) -> None:
    request = Outgoing(operation="messages", body=body, spans=members(body), model="claude-x", headers=(), **facts)
    wire = translate(request, source, target)
    told, headers = json.loads(wire.body), CIMultiDict(wire.headers)
    assert read_betas(target, headers, wire.body, members(wire.body)) == facts["betas"]
    assert read_version(target, headers, wire.body, members(wire.body)) == facts["version"]
    assert target == "bedrock" or bool(told.get("stream")) == facts["stream"]
    assert target != "anthropic" or told["model"] == "claude-x"
    assert source == target or target == "anthropic" or "model" not in told


@given(bodies(), SHAPE, FACTS)
def test_second_translation_of_the_same_kind_changes_nothing(body: bytes, shape: Shape, facts: dict[str, Any]) -> None:
    request = Outgoing(operation="messages", body=body, spans=members(body), model="claude-x", headers=(), **facts)
    first = translate(request, shape, shape)
    again = Outgoing(
        operation="messages",
        body=first.body,
        spans=members(first.body),
        model="claude-x",
        headers=first.headers,
        **facts,
    )
    second = translate(again, shape, shape)
    assert second.body is first.body and second.headers == first.headers
    assert translate(msgspec.structs.replace(again, as_read=True), shape, shape) == second


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_count_or_our_error(raw: bytes) -> None:
    try:
        unwrap_count(raw)
    except Malformed:
        pass
    try:
        assert isinstance(json.loads(translate_count(raw, "bedrock", "vertex")), dict)
    except GatewayError:
        pass
