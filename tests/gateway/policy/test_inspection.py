"""Static checks: each fault that a policy author can make is found, with its place and a suggestion."""

from collections.abc import Mapping

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.inspection import IMPURE, inspect_bundle
from gateway.policy.settings import Problem, merge_settings
from tests.support.policies import packaged_bundle

RULE = "rules/spawn/limits/rule.rego"
HEAD = "package ringfence.rules.spawn.limits\n\nimport data.ringfence.lib\nimport data.ringfence.settings\n\n"


def inspect(changes: Mapping[str, str | None]) -> list[Problem]:
    files = {**packaged_bundle().files, **changes}
    bundle = Bundle({name: text for name, text in files.items() if text is not None})
    merged, _ = merge_settings(packaged_bundle(), {})
    return inspect_bundle(bundle, merged)


def of_rule(body: str) -> list[str]:
    found = inspect({RULE: HEAD + "violations contains 1 if input.action.kind\n" + body + "\n"})
    return [f"{one.line}: {one.message}; {one.suggestion}" for one in found if one.file == RULE]


def test_packaged_policies_have_no_problem() -> None:
    assert inspect({}) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("x if startwith(input.action.kind, `a`)", "7: there is no function startwith; did you mean startswith?"),
        ("x if input.acton.kind", "7: input.acton.kind is never there; did you mean action?"),
        ("x if input.action.modle", "7: input.action.modle is never there; did you mean model?"),
        ("x if settings.spawn.dept", "7: there is no setting spawn.dept; did you mean depth?"),
        ("x if lib.match([], ``)", "7: data.ringfence.lib.match is not defined; did you mean matches?"),
        ("x if lib.shown with input as {}", "7: `with input` outside a test; pass the value as an argument"),
    ],
)
def test_fault_in_a_rule_is_found_with_its_line(body: str, problem: str) -> None:
    assert problem in of_rule(body)


@pytest.mark.parametrize("name", sorted(IMPURE - {"print", "net.lookup_ip_addr"}))
def test_impure_function_is_refused(name: str) -> None:
    assert any(f"{name} is not pure" in one for one in of_rule(f"x := {name}(1)"))


def test_member_of_an_open_mapping_is_known() -> None:
    assert (
        of_rule("x if input.principal.tags.anything\ny if input.action.input.command\nz if input.meters.user.cost")
        == []
    )


@pytest.mark.parametrize("file", ["rule_test.rego", "README.md"])
def test_incomplete_folder_is_refused(file: str) -> None:
    found = inspect({f"rules/spawn/limits/{file}": None})
    assert [one.message for one in found] == [f"{file} is missing"]


@pytest.mark.parametrize("kind", ["allow", "deny", "missing"])
def test_folder_without_an_example_of_each_kind_is_refused(kind: str) -> None:
    gone = {name: None for name in packaged_bundle().files if name.startswith(f"rules/spawn/limits/examples/{kind}")}
    assert [one.message for one in inspect(gone)] == [f"examples/{kind}*.json is missing"]


def test_package_that_is_not_its_folder_is_refused() -> None:
    text = packaged_bundle().files[RULE].replace("rules.spawn.limits", "rules.spawn.limit", 1)
    assert any("does not match the folder" in one.message for one in inspect({RULE: text}))


def test_rule_that_says_nothing_is_refused() -> None:
    found = [one.message for one in inspect({RULE: HEAD + "violation contains 1 if true\n"})]
    assert "defines none of violations, obligations, limits" in found


def test_syntax_error_has_file_and_line() -> None:
    found = inspect({RULE: HEAD + "x if {\n"})
    assert [(one.file, one.line > 5) for one in found] == [(RULE, True)] and found[0].message.startswith("syntax: ")


def test_old_syntax_is_refused() -> None:
    assert any(
        one.message.startswith("syntax") for one in inspect({RULE: HEAD + 'allow { input.action.kind == "x" }\n'})
    )


def test_policies_without_a_rule_are_refused() -> None:
    gone = {name: None for name in packaged_bundle().files if name.startswith("rules/")}
    assert any("there is no rule" in one.message for one in inspect(gone))


def test_absent_schema_is_refused() -> None:
    assert any("schema" in one.message for one in inspect({"schema/input.json": None}))
