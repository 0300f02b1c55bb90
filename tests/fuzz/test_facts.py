"""Whatever the input of a tool, facts are found without an error, within their limits, and the engine can read them."""

import json

import jsonschema
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.facts import HOSTS_MAX, PATHS_MAX, UNCLEAR_CHARS_MAX, UNCLEAR_MAX, describe
from gateway.policy.shell import COMMANDS_MAX
from tests.policies.lines import EVASIVE
from tests.support.policies import POLICIES

SCHEMA = json.loads((POLICIES / "schema" / "input.json").read_text())
FACTS = jsonschema.Draft202012Validator({"$ref": "#/$defs/facts", "$defs": SCHEMA["$defs"]})
SHORT = [line for line, _ in EVASIVE if len(line) < 200]
PIECES = [
    "rm",
    "-rf",
    "/",
    " ",
    "\n",
    ";",
    "|",
    "&&",
    "$(",
    ")",
    "`",
    "'",
    '"',
    "<<E",
    "E",
    "\\",
    "{",
    "}",
    "$X",
    "X=",
    "<(",
    "\x00",
]
TOOLS = st.sampled_from(
    ["Bash", "Read", "Write", "Grep", "WebFetch", "str_replace_based_edit_tool", "mcp__a__run", "x", ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["command", "file_path", "path", "url", "glob", "paths", "script", "notebook_path"])


def check(tool: str, tool_input: object, workspace: str | None) -> None:
    facts = describe(tool, tool_input, workspace)
    assert len(facts.commands) <= COMMANDS_MAX and len(facts.paths) <= PATHS_MAX and len(facts.hosts) <= HOSTS_MAX
    assert len(facts.unclear) <= UNCLEAR_MAX and all(len(one) <= UNCLEAR_CHARS_MAX for one in facts.unclear)
    assert not any("facts failed" in one for one in facts.unclear), facts.unclear
    FACTS.validate(json.loads(msgspec.json.encode(facts)))


@given(st.text())
def test_any_text_as_a_line_gives_facts(line: str) -> None:
    check("Bash", {"command": line}, "/w")


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_shell_pieces_in_any_order_give_facts(pieces: list[str]) -> None:
    check("Bash", {"command": "".join(pieces)}, None)


@given(st.sampled_from(SHORT), st.integers(0, 200), st.integers(0, 200), st.sampled_from(PIECES))
def test_damaged_line_gives_facts(line: str, start: int, end: int, piece: str) -> None:
    check("Bash", {"command": line[:start] + piece + line[end:]}, "/home/a/w")


@given(TOOLS, JSON, st.none() | st.text())
def test_any_json_as_an_input_gives_facts(tool: str, tool_input: object, workspace: str | None) -> None:
    check(tool, tool_input, workspace)


@given(TOOLS, st.dictionaries(FIELDS, JSON | st.lists(st.text()), max_size=4))
def test_any_value_in_a_known_field_gives_facts(tool: str, tool_input: dict[str, object]) -> None:
    check(tool, tool_input, "/w")
