"""The gate in its throw-away process."""

from pathlib import Path
from shutil import copytree

import pytest

from gateway.errors import GatewayError
from gateway.policy.loadcheck import check_policies, inspect_here, run_policy_tests
from tests.support.policies import POLICIES, packaged_bundle

RULE = "rules/spawn/limits/rule.rego"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return Path(copytree(POLICIES, tmp_path / "policies"))


def test_packaged_policies_pass() -> None:
    report = run_policy_tests(POLICIES, {})
    assert report.ok and report.passed > 150 and report.failed == 0
    assert {result.rule for result in report.results} == {*packaged_bundle().rules, "main"}


def test_failed_test_is_a_problem_with_its_place(policies: Path) -> None:
    with (policies / "rules/spawn/limits/rule_test.rego").open("a") as file:
        file.write("\ntest_moon_is_cheese if 1 == 2\n")
    [problem] = check_policies(policies, {})
    assert problem.file == "rules/spawn/limits/rule_test.rego" and problem.line > 1
    assert problem.message == "test_moon_is_cheese: is not true" and "spawn/limits" in problem.suggestion


def test_all_problems_are_named_at_once(policies: Path) -> None:
    (policies / "rules/spawn/limits/README.md").unlink()
    (policies / RULE).write_text((policies / RULE).read_text() + "\nx if input.acton\n\ny := time.now_ns()\n")
    messages = [one.message for one in check_policies(policies, {"spawn": {"dept": 1}})]
    assert len(messages) == 4 and "spawn.dept: there is no such setting" in messages


def test_setting_of_the_operator_does_not_fail_the_rules_own_tests() -> None:
    assert check_policies(POLICIES, {"modes": {"spawn/limits": "off"}, "spawn": {"depth": 1}}) == []


def test_rule_that_recurses_is_refused(policies: Path) -> None:
    (policies / RULE).write_text((policies / RULE).read_text() + '\nviolations contains "x" if a\n\na if b\n\nb if a\n')
    assert check_policies(policies, {}) != []


def test_absent_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GatewayError):
        check_policies(tmp_path, {})


def test_gate_in_this_process_finds_the_same() -> None:
    assert inspect_here(packaged_bundle(), {}) == run_policy_tests(POLICIES, {})
