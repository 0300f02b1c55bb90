"""Fuzz of bridging: what an upstream gets is a request that it takes, every word kept, and nothing else touched."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.backends import BACKENDS
from gateway.core.bridging import Bridgeable, Bridged, bridge
from gateway.core.wire.shapes import OLD_VERSION
from gateway.core.wire.spans import members
from gateway.errors import Refused
from tests.support.capabilities import NEW, OLD, TABLE, support
from tests.support.clouds import bedrock, strict, vertex
from tests.support.features import CALL, RESULT, SAMPLES, TOOL

JUDGES: Mapping[str, strict.Rules] = {"bedrock": bedrock.RULES, "vertex": vertex.RULES}
SUPPORTS = {backend: support(backend) for backend in BACKENDS}
COMBINABLE = sorted(name for name, sample in SAMPLES.items() if not {"messages", "tools"} & sample.fields.keys())

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
tempting = st.sampled_from(["scope", "system", "role", "cache_control", "source", "type", "url", "tool_addition"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | words | tempting,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | tempting, inner, max_size=3),
    max_leaves=8,
)
inputs = st.dictionaries(words | tempting, json_values, max_size=4)
caches = st.sampled_from([{}, {"cache_control": {"type": "ephemeral", "scope": "global"}}])
texts = st.builds(lambda said, cache: {"type": "text", "text": said, **cache}, words, caches)
contents = words | st.lists(texts, min_size=1, max_size=3)
entries = st.builds(lambda content: {"role": "system", "content": content}, contents)
layouts = st.tuples(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]), st.booleans())
models = st.sampled_from([NEW, OLD, "claude-sonnet-5", "claude-opus-4-7"])
clouds = st.sampled_from(sorted(JUDGES))


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A history as the API takes it, that ends with the user or with system entries after the user."""
    history: list[dict[str, Any]] = [{"role": "user", "content": draw(contents)}]
    for turn in range(draw(st.integers(0, 4))):
        history += draw(st.lists(entries, max_size=2))
        calls = [
            {**CALL, "id": f"toolu_{turn}_{each}", "input": draw(inputs)} for each in range(draw(st.integers(0, 2)))
        ]
        history.append({"role": "assistant", "content": [*draw(st.lists(texts, min_size=1, max_size=2)), *calls]})
        results = [{**RESULT, "tool_use_id": call["id"], **draw(caches)} for call in calls]
        said = draw(st.lists(texts, min_size=0 if results else 1, max_size=2))
        history.append({"role": "user", "content": [*results, *said]})
    return history + draw(st.lists(entries, max_size=1))


def fitted(body: Mapping[str, Any], backend: str, model: str, *, layout: Any = ((",", ":"), False)) -> Bridged:
    separators, ascii_only = layout
    raw = json.dumps(body, separators=separators, ensure_ascii=ascii_only).encode()
    return bridge(Bridgeable(raw, members(raw), (), OLD_VERSION, model), SUPPORTS[backend])


def said_in(content: Any) -> Iterator[str]:
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if block["type"] == "text":
            yield block["text"].removeprefix("<operator-note>\n").removesuffix("\n</operator-note>")


@given(conversations(), clouds, models, layouts)
def test_cloud_takes_every_bridged_conversation(history: list[Any], backend: str, model: str, layout: Any) -> None:
    body = {"model": model, "max_tokens": 1, "messages": history, "tools": [TOOL]}
    found = fitted(body, backend, model, layout=layout)
    read = json.loads(found.body)
    assert strict.problems(strict.Judged(read, found.betas, found.version, model), JUDGES[backend]) == []
    assert found.spans == members(found.body)
    assert {**read, "messages": history} == body


@given(conversations(), clouds, models)
def test_every_word_and_call_is_kept(history: list[Any], backend: str, model: str) -> None:
    read = json.loads(fitted({"messages": history}, backend, model).body)["messages"]
    assert sorted(word for entry in read for word in said_in(entry["content"])) == sorted(
        word for entry in history for word in said_in(entry["content"])
    )
    assert [block for entry in read if entry["role"] == "assistant" for block in calls_in(entry)] == [
        block for entry in history if entry["role"] == "assistant" for block in calls_in(entry)
    ]


def calls_in(entry: Mapping[str, Any]) -> list[Any]:
    return [block for block in entry["content"] if block["type"] == "tool_use"]


@given(conversations(), clouds, models, layouts)
def test_bridging_again_changes_nothing(history: list[Any], backend: str, model: str, layout: Any) -> None:
    once = fitted({"messages": history}, backend, model, layout=layout)
    again = bridge(Bridgeable(once.body, once.spans, once.betas, once.version, model), SUPPORTS[backend])
    assert again.body is once.body and again.changes == ()


@given(conversations(), clouds, models)
def test_longer_history_leaves_the_earlier_bytes(history: list[Any], backend: str, model: str) -> None:
    whole = entries_of(fitted({"messages": history}, backend, model).body)
    for length in range(1, len(history) + 1):
        if history[length - 1]["role"] == "assistant":
            continue
        part = entries_of(fitted({"messages": history[:length]}, backend, model).body)
        assert part[:-1] == whole[: len(part) - 1]
        assert is_beginning(json.loads(part[-1]), json.loads(whole[len(part) - 1]))


def entries_of(body: bytes) -> list[bytes]:
    """The bytes of each message."""
    raw = body[slice(*members(body)["messages"])]
    decoder = json.JSONDecoder()
    text = raw.decode()
    found: list[bytes] = []
    at = 1
    while text[at : at + 1] == "{":
        _, end = decoder.raw_decode(text, at)
        found.append(text[at:end].encode())
        at = end + 1
    return found


def is_beginning(part: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """The last message may grow: the blocks that it had are the first of those that it gets."""
    had, got = (blocks_of(entry["content"]) for entry in (part, whole))
    return part["role"] == whole["role"] and got[: len(had)] == had


def blocks_of(content: str | Sequence[Any]) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


@given(st.sets(st.sampled_from(COMBINABLE), max_size=8), clouds, models, layouts)
def test_any_mix_of_features_is_taken_or_refused_by_name(
    mix: set[str], backend: str, model: str, layout: tuple[tuple[str, str], bool]
) -> None:
    names = sorted(mix)
    body = {key: value for name in names for key, value in SAMPLES[name].request(model).items()}
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], **body}
    betas = tuple(dict.fromkeys(beta for name in names for beta in SAMPLES[name].betas))
    version = max((SAMPLES[name].version for name in names), default=OLD_VERSION)
    raw = json.dumps(body, separators=layout[0], ensure_ascii=layout[1]).encode()
    try:
        found = bridge(Bridgeable(raw, members(raw), betas, version, model), SUPPORTS[backend])
    except Refused as refusal:
        lacking = {name for name in names if not SUPPORTS[backend].has(name, model)}
        assert any(refusal.message.startswith(f"capability_rejected: {name}:") for name in lacking)
        return
    read = json.loads(found.body)
    assert strict.problems(strict.Judged(read, found.betas, found.version, model), JUDGES[backend]) == []
    assert {change.feature for change in found.changes} <= {feature.id for feature in TABLE.features}


@given(inputs, st.sampled_from(sorted(BACKENDS)), layouts)
def test_unknown_fields_and_inputs_stay_byte_for_byte(value: Any, backend: str, layout: Any) -> None:
    call = {"role": "assistant", "content": [{**CALL, "input": value}]}
    body = {"messages": [{"role": "user", "content": "x"}, call], "speed": "fast", "x_new": value, "tools": [TOOL]}
    found = fitted(body, backend, OLD, layout=layout)
    raw = json.dumps(body, separators=layout[0], ensure_ascii=layout[1]).encode()
    for name in ("messages", "x_new", "tools"):
        assert found.body[slice(*found.spans[name])] == raw[slice(*members(raw)[name])]
    assert ("speed" in found.spans) == SUPPORTS[backend].has("fast_mode", OLD)
