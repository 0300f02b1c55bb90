"""Every example of every rule: through the typed query, the schema and the engine; and the rules' own tests.

An example that takes a field out cannot be a typed query: `run_rule_tests` sends it as it is.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from gateway.core.decisions.decision import (
    CallSite,
    Client,
    Command,
    Infer,
    Lineage,
    PathUse,
    PlannedPhase,
    Principal,
    Query,
    Registration,
    Run,
    ScriptProfile,
    Spawn,
    Time,
    ToolCall,
    ToolFacts,
    Unbounded,
    Width,
)
from gateway.core.oversight.approvals import demand_of
from gateway.policy.ruletests import BASE_ACTIONS, complete_query, run_rule_tests
from tests.support.policies import POLICIES, build_engine, packaged_bundle

EXAMPLES = sorted((POLICIES / "rules").glob("*/*/examples/*.json"))
SCHEMA = json.loads((POLICIES / "schema" / "input.json").read_text())
PROFILE = SCHEMA["$defs"]["profile"]
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


APPROVED = [one for one in EXAMPLES if "require_approval" in one.read_text() and not read(one).get("without")]


@pytest.mark.parametrize("path", APPROVED, ids=name_of)
async def test_approval_that_an_example_asks_for_can_be_asked_for(path: Path) -> None:
    example = read(path)
    decision = await build_engine(example["settings"]).decide(msgspec.convert(complete_query(example), Query))
    demand = demand_of(decision)
    assert demand is not None and demand.reason


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_example_matches_the_schema_unless_it_lacks_a_field(path: Path) -> None:
    example = read(path)
    errors = [error.message for error in VALIDATOR.iter_errors(complete_query(example))]
    without = example.get("without", [])
    assert bool(errors) == any(not path.startswith("meters.") for path in without), errors


@pytest.mark.parametrize("kind", sorted(BASE_ACTIONS))
def test_field_that_the_schema_does_not_know_is_refused(kind: str) -> None:
    action = {"kind": kind, "tool": "Read", "input": {}} if kind == "tool_call" else {"kind": kind}
    query = complete_query({"query": {"action": action}})
    query["action"]["unheard_of"] = 1
    assert list(VALIDATOR.iter_errors(query))


STRUCTS: list[tuple[type[msgspec.Struct], dict[str, Any]]] = [
    (Query, SCHEMA),
    (Principal, SCHEMA["properties"]["principal"]),
    (Lineage, SCHEMA["properties"]["lineage"]),
    (Client, SCHEMA["properties"]["lineage"]["properties"]["client"]),
    (Time, SCHEMA["properties"]["time"]),
    (Infer, SCHEMA["$defs"]["infer"]),
    (Spawn, SCHEMA["$defs"]["spawn"]),
    (ToolCall, SCHEMA["$defs"]["tool_call"]),
    (ToolFacts, SCHEMA["$defs"]["facts"]),
    (Command, SCHEMA["$defs"]["facts"]["properties"]["commands"]["items"]),
    (PathUse, SCHEMA["$defs"]["facts"]["properties"]["paths"]["items"]),
    (Run, SCHEMA["$defs"]["run"]),
    (Registration, SCHEMA["$defs"]["registration"]),
    (ScriptProfile, PROFILE),
    (PlannedPhase, PROFILE["properties"]["planned"]["items"]),
    (CallSite, PROFILE["properties"]["sites"]["items"]),
    (Width, PROFILE["properties"]["widths"]["items"]),
    (Unbounded, PROFILE["properties"]["unbounded"]["items"]),
]


@pytest.mark.parametrize(("struct", "part"), STRUCTS, ids=[struct.__name__ for struct, _ in STRUCTS])
def test_schema_has_exactly_the_fields_of_the_typed_query(struct: type[msgspec.Struct], part: dict[str, Any]) -> None:
    fields = set(struct.__struct_encode_fields__) | ({"kind"} if struct.__struct_config__.tag else set())
    assert set(part["properties"]) == fields == set(part["required"])
    assert part["additionalProperties"] is False


def test_every_message_says_what_is_allowed_instead() -> None:
    texts = [path.read_text() for path in (POLICIES / "rules").glob("*/*/rule.rego")]
    heads = sum(text.count("violations contains") for text in texts)
    assert heads > 30 and heads == sum(text.count("violations contains lib.violation(") for text in texts)
