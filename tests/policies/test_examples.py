"""Every example of every rule: through the typed query, the schema and the engine; and the rules' own tests.

An example that takes a field out cannot be a typed query: `run_rule_tests` sends it as it is.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from gateway.core.decision import Query
from gateway.policy.ruletests import BASE_ACTIONS, BASE_QUERY, complete_query, run_rule_tests
from tests.support.policies import POLICIES, build_engine, packaged_bundle

EXAMPLES = sorted((POLICIES / "rules").glob("*/*/examples/*.json"))
SCHEMA = json.loads((POLICIES / "schema" / "input.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def name_of(path: Path) -> str:
    return "/".join(path.relative_to(POLICIES / "rules").with_suffix("").parts)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_all_rule_tests_and_examples_go_as_they_say() -> None:
    results = run_rule_tests(packaged_bundle())
    assert [failure for result in results for failure in result.failures] == []
    assert all(result.passed >= 4 for result in results), [result.rule for result in results if result.passed < 4]


@pytest.mark.parametrize("path", [one for one in EXAMPLES if not read(one).get("without")], ids=name_of)
async def test_example_decided_by_the_engine_goes_as_it_says(path: Path) -> None:
    example = read(path)
    decision = await build_engine(example.get("settings")).decide(msgspec.convert(complete_query(example), Query))
    assert decision.allow == example["expect"]["allow"], decision.message
    assert {one.rule for one in decision.reasons} == set(example["expect"]["rules"])


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_example_matches_the_schema_unless_it_lacks_a_field(path: Path) -> None:
    example = read(path)
    errors = [error.message for error in VALIDATOR.iter_errors(complete_query(example))]
    assert bool(errors) == (bool(example.get("without")) and example["without"] != ["meters.session"]), errors


@pytest.mark.parametrize("kind", sorted(BASE_ACTIONS))
def test_field_that_the_schema_does_not_know_is_refused(kind: str) -> None:
    action = {"kind": kind, "tool": "Read", "input": {}} if kind == "tool_call" else {"kind": kind}
    query = complete_query({"query": {"action": action}})
    query["action"]["unheard_of"] = 1
    assert list(VALIDATOR.iter_errors(query))


def test_schema_names_exactly_the_fields_of_the_typed_query() -> None:
    whole = msgspec.json.decode(
        msgspec.json.encode(
            msgspec.convert({**BASE_QUERY, "action": {"kind": "infer", **BASE_ACTIONS["infer"]}}, Query)
        )
    )
    assert set(SCHEMA["properties"]) == set(whole)
    for part in ("principal", "lineage", "time"):
        assert set(SCHEMA["properties"][part]["properties"]) == set(whole[part])
    assert set(SCHEMA["$defs"]["infer"]["properties"]) == set(whole["action"])


def test_every_message_says_what_is_allowed_instead() -> None:
    texts = [path.read_text() for path in (POLICIES / "rules").glob("*/*/rule.rego")]
    heads = sum(text.count("violations contains") for text in texts)
    assert heads > 30 and heads == sum(text.count("violations contains lib.violation(") for text in texts)
