"""Models that a request lets the upstream run beside the asked one."""

import json
from typing import Any

import pytest

from gateway.core.wire.body import peek
from gateway.core.wire.spans import Malformed
from gateway.core.wire.substitutes import ANY_MODEL, SUBSTITUTES_MAX, Substitute, substitutes

OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"


def found(**fields: Any) -> tuple[Substitute, ...]:
    return read(json.dumps({"model": HAIKU, "max_tokens": 10, "messages": []} | fields).encode())


def read(body: bytes) -> tuple[Substitute, ...]:
    ask = peek(body)
    return substitutes(ask, body, max_tokens=ask.max_tokens)


def test_fallback_has_the_settings_of_the_request_unless_it_has_its_own() -> None:
    own = {"model": OPUS, "max_tokens": 99, "speed": "fast"}
    assert found(fallbacks=[{"model": OPUS}, own]) == (Substitute(OPUS, 10, None), Substitute(OPUS, 99, "fast"))
    assert found(fallbacks=[{"model": OPUS}], speed="fast") == (Substitute(OPUS, 10, "fast"),)


def test_fallbacks_of_the_upstreams_choice_are_one_that_is_not_known() -> None:
    assert found(fallbacks="default") == (Substitute(ANY_MODEL, 10, None),)


@pytest.mark.parametrize(
    "fields", [{}, {"fallbacks": None}, {"fallbacks": []}, {"tools": [{"name": "a", "model": OPUS}]}]
)
def test_request_without_any_names_none(fields: dict[str, Any]) -> None:
    assert found(**fields) == ()


def test_tool_that_the_upstream_runs_may_ask_a_model_for_its_longest_answer() -> None:
    tool = {"type": "advisor_20260301", "name": "advisor", "model": OPUS}
    assert found(tools=[{"name": "a"}, tool]) == (Substitute(OPUS, None, None),)
    assert found(tools=[tool | {"max_tokens": 7}]) == (Substitute(OPUS, 7, None),)


@pytest.mark.parametrize(
    "written",
    [
        b'[{"model":"claude-haiku-5-5","model":"claude-opus-5-5"}]',
        b'{"model":"claude-opus-5-5"}',
        b'[{"max_tokens":5}]',
        b'[{"model":"claude-opus-5-5","max_tokens":"5"}]',
        b"[" + b",".join([b'{"model":"a"}'] * (SUBSTITUTES_MAX + 1)) + b"]",
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all_is_refused(written: bytes) -> None:
    with pytest.raises(Malformed, match="fallbacks"):
        read(b'{"model":"claude-haiku-5-5","max_tokens":10,"messages":[],"fallbacks":' + written + b"}")
