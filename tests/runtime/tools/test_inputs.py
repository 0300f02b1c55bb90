"""Tools are called by the names and fields that Claude Code uses, and by nothing else."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runtime.tools.inputs import TOOL_NAMES, GrepInput, definition_of, parse_input
from runtime.tools.refusal import Refused

RECORDED = json.loads((Path(__file__).parents[2] / "golden" / "runtime" / "tool_schemas.json").read_text())
VALID: dict[str, dict[str, Any]] = {
    "Read": {"file_path": "a", "offset": 1, "limit": 2},
    "Glob": {"pattern": "*", "path": "a"},
    "Grep": {"pattern": "x", "-A": 1, "-B": 1, "-C": 1, "-i": True, "-n": False, "output_mode": "content"},
    "Edit": {"file_path": "a", "old_string": "a", "new_string": "b", "replace_all": True},
    "Write": {"file_path": "a", "content": ""},
    "Bash": {"command": "true", "timeout": 1_000, "description": "nothing"},
}


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda tool: tool["name"])
def test_fields_are_those_of_the_recorded_client(recorded: dict[str, Any]) -> None:
    schema = definition_of(recorded["name"])["input_schema"]
    assert schema["required"] == recorded["input_schema"]["required"]
    for name, field in schema["properties"].items():
        assert field["type"] == recorded["input_schema"]["properties"][name]["type"]


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_schema_is_one_and_takes_what_the_parser_takes(name: str) -> None:
    schema = definition_of(name)["input_schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(VALID[name], schema)
    assert parse_input(name, VALID[name])


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_unknown_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(Refused, match="dangerouslyDisableSandbox"):
        parse_input(name, VALID[name] | {"dangerouslyDisableSandbox": True})


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_missing_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(Refused, match="missing required field"):
        parse_input(name, {})


def test_background_is_not_offered_and_refused() -> None:
    assert "run_in_background" not in definition_of("Bash")["input_schema"]["properties"]
    with pytest.raises(Refused, match="run_in_background"):
        parse_input("Bash", {"command": "true", "run_in_background": True})


@pytest.mark.parametrize(
    "change", [{"pattern": 3}, {"pattern": ""}, {"-A": -1}, {"-A": "2"}, {"output_mode": "all"}, {"-n": 1}], ids=str
)
def test_field_of_another_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="does not fit"):
        parse_input("Grep", {"pattern": "x"} | change)


def test_dashed_fields_are_read() -> None:
    parsed = parse_input("Grep", VALID["Grep"])
    assert isinstance(parsed, GrepInput)
    assert (parsed.after, parsed.before, parsed.around, parsed.ignore_case, parsed.numbers) == (1, 1, 1, True, False)
