"""Nine pairs of shapes, judged by golden files; and the rules one by one."""

import base64
import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from gateway.core.bridging.translate import (
    Outgoing,
    read_betas,
    read_version,
    translate,
    translate_count,
    unwrap_count,
)
from gateway.core.wire.shapes import NEW_VERSION, OLD_VERSION, SHAPES, Shape
from gateway.core.wire.spans import Malformed, members
from gateway.errors import GatewayError, Reason

GOLDEN = Path(__file__).parents[3] / "golden" / "translate"
PAIRS = [(source, target) for source in SHAPES for target in SHAPES]
CASES = ["stream", "whole", "count"]


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def load(source: Shape, target: Shape) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{source}_to_{target}.json").read_text())


def outgoing(body: bytes, *, headers: Sequence[tuple[str, str]] = (), **facts: Any) -> Outgoing:
    told = {"operation": "messages", "model": "m", "stream": False, "version": OLD_VERSION, "betas": ()} | facts
    return Outgoing(body=body, spans=members(body), headers=headers, **told)


def counted(body: bytes) -> bytes:
    """The body inside a CountTokens request, read by hand."""
    return base64.b64decode(json.loads(body)["input"]["invokeModel"]["body"])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_golden_request_becomes_golden_wire(source: Shape, target: Shape, case: str) -> None:
    golden = next(each for each in load(source, target)["cases"] if each["name"] == case)
    told = {name: golden[name] for name in ("operation", "model", "stream", "version")}
    headers = [(name, value) for name, value in golden["request"]["headers"]]
    request = outgoing(compact(golden["request"]["body"]), headers=headers, betas=tuple(golden["betas"]), **told)
    wire = translate(request, source, target)
    body = counted(wire.body) if target == "bedrock" and case == "count" else wire.body
    assert body == compact(golden["wire"]["body"])
    assert wire.headers == [(name, value) for name, value in golden["wire"]["headers"]]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_golden_request_asks_for_its_betas_and_version(source: Shape, target: Shape) -> None:
    for golden in load(source, target)["cases"]:
        body = compact(golden["request"]["body"])
        headers = CIMultiDict(golden["request"]["headers"])
        assert read_betas(source, headers, body, members(body)) == tuple(golden["request"]["betas"])
        assert read_version(source, headers, body, members(body)) == OLD_VERSION


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_golden_answer_of_the_backend_reads_as_the_client_expects(source: Shape, target: Shape) -> None:
    for answer in load(source, target)["answers"]:
        assert translate_count(compact(answer["backend"]), target, source) == compact(answer["client"])


def test_nothing_to_change_gives_the_very_same_body() -> None:
    spaced = b'{ "model" : "claude-\\u006fpus-5-5", "stream":true , "messages":[ ] }'
    betas = (("Anthropic-Beta", "a, b"), ("anthropic-beta", "c"), ("anthropic-version", NEW_VERSION))
    facts = {"model": "claude-opus-5-5", "stream": True, "version": NEW_VERSION, "betas": ("a", "b", "c")}
    request = outgoing(spaced, headers=betas, **facts)
    wire = translate(request, "anthropic", "anthropic")
    assert wire.body is request.body
    assert wire.headers == list(betas)


def test_bedrock_client_that_says_betas_twice_is_relayed_as_sent() -> None:
    body = b'{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":[ "b", "a" ],"messages":[]}'
    headers = [("anthropic-beta", "a"), ("x-amz-date", "20261122T000000Z"), ("Authorization", "AWS4 x")]
    request = outgoing(body, headers=headers, betas=("a", "b"))
    wire = translate(request, "bedrock", "bedrock")
    assert wire.body is request.body
    assert wire.headers == [("anthropic-beta", "a")]


def test_bedrock_beta_dropped_on_the_way_is_in_neither_place() -> None:
    body = b'{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["b","a"],"messages":[]}'
    request = outgoing(body, headers=[("anthropic-beta", "a")], betas=("b",))
    wire = translate(request, "bedrock", "bedrock")
    assert json.loads(wire.body)["anthropic_beta"] == ["b"]
    assert wire.headers == []
    none_left = translate(outgoing(body, headers=[("anthropic-beta", "a")]), "bedrock", "bedrock")
    assert none_left.body == b'{"anthropic_version":"bedrock-2023-05-31","messages":[]}'


def test_list_of_betas_in_a_foreign_body_does_not_travel_unseen() -> None:
    body = b'{"model":"m","anthropic_beta":["smuggled"],"messages":[]}'
    for target in ("bedrock", "vertex"):
        told = json.loads(translate(outgoing(body, betas=()), "anthropic", target).body)
        assert "anthropic_beta" not in told
    vertex = b'{"anthropic_version":"vertex-2023-10-16","anthropic_beta":["smuggled"],"messages":[]}'
    assert read_betas("vertex", CIMultiDict(), vertex, members(vertex)) == ("smuggled",)
    assert b"smuggled" not in translate(outgoing(vertex), "vertex", "vertex").body


@pytest.mark.parametrize(
    ("source", "body", "changed"),
    [
        ("anthropic", b'{"model":"client","messages":[]}', b'{"model":"m","messages":[]}'),
        ("vertex", b'{"model":"client","messages":[]}', b'{"model":"m","messages":[]}'),
    ],
)
def test_upstream_id_replaces_the_client_id_where_the_body_names_it(source: Shape, body: bytes, changed: bytes) -> None:
    assert translate(outgoing(body, operation="count_tokens"), source, source).body == changed


@pytest.mark.parametrize(
    ("body", "stream", "changed"),
    [
        (b'{"stream":true,"messages":[]}', False, b'{"messages":[]}'),
        (b'{"messages":[]}', True, b'{"stream":true,"messages":[]}'),
        (b'{"stream":null,"messages":[]}', False, b'{"stream":null,"messages":[]}'),
    ],
)
def test_vertex_body_is_made_to_agree_with_what_was_decided(body: bytes, stream: bool, changed: bytes) -> None:
    assert translate(outgoing(body, stream=stream), "vertex", "vertex").body == changed


@pytest.mark.parametrize(
    ("shape", "place"), [("anthropic", None), ("bedrock", "bedrock-2023-05-31"), ("vertex", "vertex-2023-10-16")]
)
def test_downgraded_version_is_written_as_the_shape_writes_it(shape: Shape, place: str | None) -> None:
    headers = [("anthropic-version", NEW_VERSION)] if place is None else []
    body = b'{"model":"m","messages":[]}' if place is None else b'{"anthropic_version":"2026-10-21","messages":[]}'
    wire = translate(outgoing(body, headers=headers), shape, shape)
    assert json.loads(wire.body).get("anthropic_version") == place
    assert wire.headers == ([("anthropic-version", OLD_VERSION)] if place is None else [])


@pytest.mark.parametrize(
    ("shape", "sent", "read"),
    [
        ("anthropic", "2023-06-01", OLD_VERSION),
        ("anthropic", None, OLD_VERSION),
        ("anthropic", "2026-10-21", NEW_VERSION),
        ("anthropic", "2027-01-01", "2027-01-01"),
        ("bedrock", "bedrock-2023-05-31", OLD_VERSION),
        ("bedrock", "2026-10-21", NEW_VERSION),
        ("bedrock", None, OLD_VERSION),
        ("vertex", "vertex-2023-10-16", OLD_VERSION),
        ("vertex", "vertex-2027-01-01", "vertex-2027-01-01"),
    ],
)
def test_version_reads_as_the_claude_api_writes_it(shape: Shape, sent: str | None, read: str) -> None:
    headers = CIMultiDict({"Anthropic-Version": sent} if sent and shape == "anthropic" else {})
    body = compact({"anthropic_version": sent} if sent and shape != "anthropic" else {})
    assert read_version(shape, headers, body, members(body)) == read


@pytest.mark.parametrize("order", list(permutations(["model", "stream", "max_tokens"])))
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n ", " : ")])
def test_removed_members_leave_valid_json_wherever_they_stood(
    order: Sequence[str], separators: tuple[str, str]
) -> None:
    values = {"model": "m", "stream": False, "max_tokens": 5}
    body = json.dumps({name: values[name] for name in order}, separators=separators).encode()
    told = json.loads(translate(outgoing(body, version="v", betas=()), "anthropic", "bedrock").body)
    assert told == {"anthropic_version": "v", "max_tokens": 5}


@pytest.mark.parametrize("body", [b"{}", b"{ }", b'{"model":"m"}', b'{ "model":"m", "stream":true }'])
def test_object_with_nothing_that_stays_is_still_an_object(body: bytes) -> None:
    wire = translate(outgoing(body, stream=True), "anthropic", "bedrock")
    assert json.loads(wire.body) == {"anthropic_version": "bedrock-2023-05-31"}
    back = translate(outgoing(wire.body, stream=True), "bedrock", "anthropic")
    assert json.loads(back.body) == {"model": "m", "stream": True}


@pytest.mark.parametrize(
    ("shape", "headers", "body"),
    [
        ("bedrock", {}, b'{"anthropic_beta":"one"}'),
        ("bedrock", {}, b'{"anthropic_beta":[1]}'),
        ("bedrock", {}, b'{"anthropic_beta":["a,b"]}'),
        ("bedrock", {}, b'{"anthropic_beta":["a\\r\\nx-api-key: k"]}'),
        ("vertex", {}, b'{"anthropic_beta":{}}'),
        ("anthropic", {"anthropic-beta": "caf\u00e9"}, b"{}"),
    ],
)
def test_betas_of_a_wrong_kind_are_refused_with_the_place(shape: Shape, headers: Any, body: bytes) -> None:
    with pytest.raises(Malformed, match="anthropic.beta"):
        read_betas(shape, CIMultiDict(headers), body, members(body))


@pytest.mark.parametrize("body", [b'{"anthropic_version":1}', b'{"anthropic_version":"a\\nb"}'])
def test_version_of_a_wrong_kind_is_refused_with_the_place(body: bytes) -> None:
    with pytest.raises(Malformed, match="anthropic.version"):
        read_version("bedrock", CIMultiDict(), body, members(body))


@pytest.mark.parametrize("target", ["anthropic", "vertex"])
def test_count_of_an_invocation_leaves_out_what_only_an_invocation_takes(target: Shape) -> None:
    body = compact({"max_tokens": 1, "temperature": 0, "stop_sequences": ["x"], "system": "s", "messages": []})
    told = json.loads(translate(outgoing(body, operation="count_tokens"), "bedrock", target).body)
    assert set(told) - {"anthropic_version"} == {"model", "system", "messages"}


@pytest.mark.parametrize(("sent", "max_tokens"), [({"messages": []}, 1), ({"max_tokens": 77, "messages": []}, 77)])
def test_count_at_bedrock_is_an_invocation_that_could_be_sent(sent: Any, max_tokens: int) -> None:
    wire = translate(outgoing(compact({"model": "m"} | sent), operation="count_tokens"), "anthropic", "bedrock")
    assert json.loads(counted(wire.body))["max_tokens"] == max_tokens
    assert unwrap_count(wire.body) == counted(wire.body)


def test_count_between_bedrock_and_bedrock_carries_the_inner_body_as_sent() -> None:
    inner = b'{ "messages" : [] }'
    wire = translate(outgoing(inner, operation="count_tokens"), "bedrock", "bedrock")
    assert unwrap_count(wire.body) == inner


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"[]", ""),
        (b"{}", "input"),
        (b'{"input":{}}', "input.invokeModel"),
        (b'{"input":{"invokeModel":{}}}', "input.invokeModel.body"),
        (b'{"input":{"invokeModel":{"body":{}}}}', "input.invokeModel.body"),
        (b'{"input":{"invokeModel":{"body":"e30"}}}', "input.invokeModel.body"),
        (b'{"input":{"invokeModel":{"body":"\xc3\xa9"}}}', "input.invokeModel.body"),
        (b'{"input":{"invokeModel":{"body":"e3!0="}}}', "input.invokeModel.body"),
        (b'{"input":{"converse":{"messages":[]}}}', "input.converse"),
        (b'{"input":{"invokeModel":{"body":"e30="},"invokeModel":{"body":"e30="}}}', "input.invokeModel"),
    ],
)
def test_count_request_of_another_form_is_refused_with_the_place(body: bytes, place: str) -> None:
    with pytest.raises(Malformed) as refused:
        unwrap_count(body)
    assert refused.value.message.startswith(place)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"inputTokens":"5"}', b'{"input_tokens":5}'])
def test_count_answer_that_is_none_is_told_as_the_upstreams_fault(body: bytes) -> None:
    with pytest.raises(GatewayError) as broke:
        translate_count(body, "bedrock", "anthropic")
    assert broke.value.reason == Reason.UPSTREAM_BROKE


@pytest.mark.parametrize(
    ("target", "accept"), [(True, "application/vnd.amazon.eventstream"), (False, "application/json")]
)
def test_bedrock_is_asked_for_the_answer_that_fits(target: bool, accept: str) -> None:
    headers = [("Accept", "*/*"), ("x-app", "cli"), ("anthropic-beta", "a"), ("User-Agent", "u"), ("cookie2", "c")]
    request = outgoing(b'{"model":"m","messages":[]}', headers=headers, stream=target, betas=("a",))
    kept = dict(translate(request, "anthropic", "bedrock").headers)
    assert kept == {"accept": accept, "content-type": "application/json", "User-Agent": "u"}


@pytest.mark.parametrize("shape", ["bedrock", "vertex"])
def test_signature_and_project_of_the_client_end_here(shape: Shape) -> None:
    ending = ["Authorization", "X-Amz-Date", "X-Amz-Security-Token", "x-amz-content-sha256", "X-Goog-User-Project"]
    kept = [("x-amzn-bedrock-trace", "ENABLED"), ("x-goog-api-client", "gl-python"), ("X-App", "cli")]
    headers = [*((name, "client's") for name in ending), *kept]
    assert translate(outgoing(b'{"messages":[]}', headers=headers), shape, shape).headers == kept


def test_headers_of_a_cloud_do_not_reach_the_claude_api() -> None:
    clouds = ["X-Amz-Date", "amz-sdk-request", "X-Amzn-Bedrock-Trace", "x-amzn-trace-id", "x-goog-api-client"]
    headers = [*((name, "v") for name in clouds), ("X-Claude-Code-Session-Id", "s"), ("Anthropic-Version", "odd")]
    wire = translate(outgoing(b'{"messages":[]}', headers=headers, betas=("a", "b")), "bedrock", "anthropic")
    assert wire.headers == [
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("X-Claude-Code-Session-Id", "s"),
        ("Anthropic-Version", OLD_VERSION),
        ("anthropic-beta", "a,b"),
    ]
