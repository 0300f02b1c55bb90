"""Other data under the same modules, and words for what the evaluator says when it fails."""

import pytest

from gateway.policy.evaluator import build_evaluator, first_line, over_other_data, place_of


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


def test_other_data_replace_the_first_in_the_copy_only() -> None:
    first = build_evaluator({"a.rego": "package a\n\nx := [data.kept, data.limit]\n"}, '{"kept": 1, "limit": 1}')
    assert first.eval_rule("data.a.x") == [1, 1]
    other = over_other_data(first, '{"kept": 2, "limit": 2}')
    assert (other.eval_rule("data.a.x"), first.eval_rule("data.a.x")) == ([2, 2], [1, 1])


def test_data_that_the_other_has_not_are_gone() -> None:
    first = build_evaluator({"a.rego": 'package a\n\nx := object.get(data, "limit", 0)\n'}, '{"limit": 1}')
    assert first.eval_rule("data.a.x") == 1
    assert over_other_data(first, "{}").eval_rule("data.a.x") == 0
