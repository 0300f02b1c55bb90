"""Running of rule tests and examples: what fails is reported with its name."""

import json

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.ruletests import Failure, complete_query, run_rule_tests
from tests.support.policies import packaged_bundle

RULE = "spawn/limits"
TESTS = f"rules/{RULE}/rule_test.rego"
OBLIGED = '\nobligations contains {"kind": "notice", "value": "x"} if true\n'
EXAMPLE = f"rules/{RULE}/examples/deny_depth.json"


def failures(changes: dict[str, str]) -> list[Failure]:
    results = run_rule_tests(Bundle({**packaged_bundle().files, **changes}))
    return [one for result in results for one in result.failures]


def test_failing_test_is_named_with_its_line() -> None:
    [failure] = failures({TESTS: packaged_bundle().files[TESTS] + "\ntest_moon_is_cheese if 1 == 2\n"})
    assert failure.name == "test_moon_is_cheese" and failure.detail == "is not true" and failure.line > 10


def test_test_that_fails_to_run_is_a_failure() -> None:
    failure, *_ = failures({TESTS: packaged_bundle().files[TESTS] + "\ntest_division if 1 / 0 == 1\n"})
    assert failure.name == "test_division" and "zero" in failure.detail


def test_two_tests_of_one_name_are_a_failure() -> None:
    twice = "\ntest_twice if true\n\ntest_twice if 1 == 1\n"
    [failure] = failures({TESTS: packaged_bundle().files[TESTS] + twice})
    assert failure.detail == "another test has the same name"


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"expect": {"allow": True}}, "allow is False, expected True"),
        ({"expect": {"rules": ["a/b"]}}, "rules is ['spawn/limits'], expected ['a/b']"),
        ({"expect": {"shadow": ["a/b"]}}, "shadow is [], expected ['a/b']"),
        ({"expect": {"obligations": [{"kind": "notice"}]}}, "obligations is [], expected [{'kind': 'notice'}]"),
        ({"query": {"action": {"kind": "spawn", "via": "magic"}}}, "Invalid enum value 'magic'"),
        ({"query": {}}, "'action'"),
        ({"settings": {"spawn": {"dept": 1}}}, "spawn.dept: there is no such setting"),
        ({"without": ["action.nothing"]}, "'nothing'"),
    ],
)
def test_example_that_goes_otherwise_is_named(change: dict[str, object], detail: str) -> None:
    example = {**json.loads(packaged_bundle().files[EXAMPLE]), **change}
    [failure] = failures({EXAMPLE: json.dumps(example)})
    assert failure.file == EXAMPLE and detail in failure.detail


def test_example_that_is_not_json_is_named() -> None:
    [failure] = failures({EXAMPLE: "{"})
    assert failure.file == EXAMPLE and "cannot be read" in failure.detail


def test_query_is_completed_as_the_gateway_would_send_it() -> None:
    action = {"kind": "tool_call", "tool": "mcp__a__read", "input": {"path": "/etc/x"}}
    query = complete_query({"query": {"action": action}, "without": ["time.hour"]})
    assert query["action"]["server"] == "mcp:a" and query["action"]["facts"]["paths"][0]["path"] == "/etc/x"
    assert query["principal"]["groups"] == [] and "hour" not in query["time"]


def test_examples_are_about_the_obligations_of_their_own_rule() -> None:
    clamp = """package ringfence.rules.house.clamp

violations contains "never" if false

obligations contains {"kind": "clamp_max_tokens", "value": 8} if input.action.kind == "infer"
"""
    assert failures({"rules/house/clamp/rule.rego": clamp}) == []
    own = "rules/notices/standing/rule.rego"
    details = [failure.detail for failure in failures({own: packaged_bundle().files[own] + OBLIGED})]
    assert any(detail.startswith("obligations is") for detail in details)
