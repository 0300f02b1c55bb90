"""What becomes of an engine's answer."""

from typing import Any

import msgspec
import pytest

from gateway.core.decisions.decision import Decision
from gateway.policy.answer import failed, is_too_deep, read_answer, refused_unasked
from tests.support.policies import build_query


def test_whole_answer_becomes_the_decision() -> None:
    reason = {"rule": "a/b", "message": "no"}
    answer = {"allow": False, "reasons": [reason], "shadow": [reason], "obligations": [], "limits": []}
    decision = read_answer(answer, "0a1b")
    assert not decision.allow and decision.message == "a/b: no"
    assert [one.rule for one in decision.shadow] == ["a/b"] and decision.revision == "0a1b"


def test_answer_with_only_an_allow_allows() -> None:
    assert read_answer({"allow": True}, "r") == Decision(allow=True, revision="r")


@pytest.mark.parametrize("answer", [None, True, [], "yes", {}, {"allow": 1}, {"allow": True, "reasons": "no"}])
def test_answer_of_another_shape_is_none(answer: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        read_answer(answer, "r")


def test_denial_without_a_reason_is_a_failure() -> None:
    decision = read_answer({"allow": False}, "r")
    assert decision == failed("the policies deny without a reason", "r")


def test_unknown_obligation_denies_whatever_was_allowed() -> None:
    decision = read_answer({"allow": True, "obligations": [{"kind": "pray"}]}, "r")
    assert not decision.allow and decision.reasons[0].rule == "engine/obligation"


def test_query_too_deep_for_an_engine_is_refused_before_it() -> None:
    deep: Any = 1
    for _ in range(101):
        deep = {"a": deep}
    refused = refused_unasked(build_query({"kind": "tool_call", "tool": "x", "input": deep}), "r")
    assert refused is not None and refused.reasons[0].rule == "engine/depth"
    assert refused_unasked(build_query({"kind": "tool_call", "tool": "x", "input": deep["a"]}), "r") is None


@pytest.mark.parametrize(("levels", "too_deep"), [(0, False), (100, False), (101, True), (5000, True)])
def test_depth_is_counted_in_levels(levels: int, too_deep: bool) -> None:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    assert is_too_deep(value, 100) is too_deep
