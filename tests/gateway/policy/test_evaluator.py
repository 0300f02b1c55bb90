"""Words for what the evaluator says when it fails."""

import pytest

from gateway.policy.evaluator import build_evaluator, first_line, place_of


def failure(text: str, rule: str | None = None) -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        evaluator = build_evaluator({"a.rego": text}, "{}")
        evaluator.set_input_json("{}")
        evaluator.eval_rule(rule or "")
    return caught.value


def test_syntax_error_has_file_and_line() -> None:
    error = failure("package a\n\nx if {\n\t1 +\n}\n")
    assert place_of(error) == ("a.rego", 5)
    assert first_line(error) and "backtrace" not in first_line(error)


def test_fault_of_a_rule_is_one_line() -> None:
    error = failure("package a\n\nx := 1 / 0\n", "data.a.x")
    assert "\n" not in first_line(error) and place_of(error) == ("a.rego", 3)


def test_message_without_a_place_has_none() -> None:
    assert place_of(RuntimeError("odd")) == ("", 0) and first_line(RuntimeError("odd")) == "odd"
    assert first_line(RuntimeError("")) == "RuntimeError"
