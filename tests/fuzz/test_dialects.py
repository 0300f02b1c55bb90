"""However a client spells a request: what was decided is what the upstream reads, or it is refused."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

import gateway
from gateway.core.bridging.translate import Outgoing, read_betas, read_version, translate
from gateway.core.money.prices import parse_prices
from gateway.core.wire.body import Ask, peek
from gateway.core.wire.errorbody import FAULT_BYTES_MAX
from gateway.core.wire.redaction import redact
from gateway.core.wire.shapes import SHAPES, Asked, Shape
from gateway.core.wire.spans import Malformed

CATALOGUE = parse_prices(yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text())).catalogue
READ: dict[str, Any] = {
    "model": ["claude-a", "claude-b"],
    "stream": [True, False, None],
    "anthropic_version": ["bedrock-2023-05-31", "vertex-2023-10-16", "2026-10-21", "2023-06-01"],
    "anthropic_beta": [["a-2025-01-01"], ["b-2025-01-01", "c-2025-01-01"], []],
    "tools": [[{"name": "A"}], [{"type": "web_search_20250305", "name": "web_search"}], []],
    "mcp_servers": [[{"url": "https://a.test"}], []],
    "max_tokens": [1, 1_000_000],
    "messages": [[], [{"role": "user", "content": "hi"}]],
}
ASKED: dict[Shape, Asked] = {
    "anthropic": Asked("messages"),
    "bedrock": Asked("messages", "claude-p", stream=True),
    "vertex": Asked("messages", "claude-p", stream=False),
}


def escaped(name: str, at: int) -> str:
    return f"{name[:at]}\\u{ord(name[at]):04x}{name[at + 1 :]}"


@st.composite
def members_as_spelt(draw: st.DrawFn) -> bytes:
    """An object whose members may occur twice, in other case and with escapes."""
    name = st.sampled_from(sorted(READ))
    names = [*draw(st.lists(name, max_size=6)), "messages", *(["model"] if draw(st.booleans()) else [])]
    spelt: list[str] = []
    for each in draw(st.permutations(names)):
        value = json.dumps(draw(st.sampled_from(READ[each])))
        how = draw(st.integers(0, 9))
        key = escaped(each, draw(st.integers(0, len(each) - 1))) if how == 0 else each.upper() if how == 1 else each
        spelt.append(f'"{key}": {value}')
    return ("{" + draw(st.sampled_from([",", " , ", ",\n"])).join(spelt) + "}").encode()


def reading(keep: Callable[[dict[str, Any], str], bool]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for name, value in found:
            if keep(read, name):
                read[name] = value
        return read

    return pairs


LAST = reading(lambda _read, _name: True)
FIRST = reading(lambda read, name: name not in read)


def decided(ask: Ask) -> tuple[Any, ...]:
    return ask.max_tokens, ask.tools, ask.server_tools, ask.mcp_servers


def told(body: dict[str, Any]) -> tuple[Any, ...]:
    tools: list[dict[str, Any]] = body.get("tools") or []
    return (
        body.get("max_tokens"),
        tuple(tool["name"] for tool in tools),
        tuple(tool["type"] for tool in tools if "type" in tool),
        tuple(server["url"] for server in body.get("mcp_servers") or []),
    )


@given(members_as_spelt(), st.sampled_from(SHAPES), st.sampled_from(SHAPES), st.sampled_from(["", "x-1, y-1"]))
def test_decoders_that_keep_the_first_or_the_last_key_read_what_was_decided(
    body: bytes, source: Shape, target: Shape, header: str
) -> None:
    headers = CIMultiDict({"anthropic-beta": header} if header else {})
    try:
        ask = peek(body, ASKED[source])
        betas = read_betas(source, headers, body, ask.spans)
        version = read_version(source, headers, body, ask.spans)
    except Malformed:
        return
    wire = translate(
        Outgoing(
            operation="messages",
            body=body,
            spans=ask.spans,
            model=ask.model,
            stream=ask.stream,
            version=version,
            betas=betas,
            headers=list(headers.items()),
        ),
        source,
        target,
    )
    for pairs in (FIRST, LAST):
        read = json.loads(wire.body, object_pairs_hook=pairs)
        assert told(read) == decided(ask)
        assert read.get("model") == (ask.model if target == "anthropic" else None)
        assert target == "bedrock" or bool(read.get("stream")) == ask.stream
        listed = set() if target == "anthropic" else set(read.get("anthropic_beta") or ())
        sent = {each.strip() for each in CIMultiDict(wire.headers).get("anthropic-beta", "").split(",")} - {""}
        assert listed | sent == set(betas)


KNOWN = st.sampled_from(["claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-4-5-20250929", "claude-opus-4-5"])
BEFORE = st.sampled_from(
    ["", "us.", "anthropic.", "us.anthropic.", "global.anthropic.", "claude-haiku-5-5/", "arn:aws:bedrock:::", "x"]
    + [
        f"arn:aws:bedrock:us-east-1:1:{kind}/us.anthropic."
        for kind in ("inference-profile", "application-inference-profile")
    ]
)
AFTER = st.sampled_from(
    [
        "",
        "-v1:0",
        "-v1",
        "-v1:0-v1:0",
        "@default",
        "-latest",
        "@20250929",
        "/../claude-haiku-5-5",
        ":0",
        "?x",
        " ",
        "\u0660",
    ]
)
_line = re.compile(r"claude-[a-z]+-\d+(?:-\d(?!\d))?")


@given(BEFORE, KNOWN, AFTER)
def test_name_never_becomes_another_models(before: str, known: str, after: str) -> None:
    spelt = before + known + after
    canonical = CATALOGUE.canonical(spelt)
    assert canonical == spelt or set(_line.findall(canonical)) == set(_line.findall(spelt))
    assert CATALOGUE.canonical(canonical) == canonical


HOSTILE = [
    ".10.1.1.1.",
    "a.",
    "a@.",
    "a.-@",
    "arn:aws",
    "eyJa.-",
    "project a-",
    "AKIA-",
    "client id: ",
    "/subscriptions/",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_longest_error_that_is_looked_at_is_redacted_in_little_time(piece: str) -> None:
    began = time.process_time()
    redact(piece * (FAULT_BYTES_MAX // len(piece)))
    assert time.process_time() - began < 2
