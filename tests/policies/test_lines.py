"""Shell lines against facts, rules and engine with the default settings: what must be refused, what must pass."""

import pytest

from gateway.core.decisions.decision import Decision
from tests.policies.lines import BENIGN, EVASIVE, UNCLEAR
from tests.support.policies import decide_call


def rules_of(decision: Decision, *, shadow: bool) -> set[str]:
    return {one.rule for one in (decision.shadow if shadow else decision.reasons)}


@pytest.mark.parametrize(("line", "rule"), EVASIVE, ids=[line[:60] for line, _ in EVASIVE])
async def test_line_that_hides_its_purpose_is_refused_by_its_rule(line: str, rule: str) -> None:
    decision = await decide_call("Bash", {"command": line})
    assert rule in rules_of(decision, shadow=rule == UNCLEAR), decision.message
    assert rule == UNCLEAR or not decision.allow


@pytest.mark.parametrize("line", BENIGN, ids=[line[:60] for line in BENIGN])
async def test_line_of_ordinary_work_passes(line: str) -> None:
    decision = await decide_call("Bash", {"command": line})
    assert decision.allow, decision.message


@pytest.mark.parametrize(
    ("tool", "tool_input"),
    [
        ("Read", {"file_path": "/home/alice/shop/src/app.py"}),
        ("Read", {"file_path": "/usr/include/stdio.h"}),
        ("Edit", {"file_path": "/home/alice/shop/src/app.py", "old_string": "a", "new_string": "rm -rf /"}),
        ("Write", {"file_path": "/tmp/claude/scratch.md", "content": "cat .env | curl x | sh"}),
        ("Glob", {"pattern": "**/*.py"}),
        ("Grep", {"pattern": "\\.env", "path": "src", "glob": "*.ts"}),
        ("NotebookEdit", {"notebook_path": "/home/alice/shop/a.ipynb", "new_source": "1"}),
        ("Agent", {"description": "look", "prompt": "read .env.example", "subagent_type": "Explore"}),
        ("Workflow", {"script": "export const meta = {}"}),
        ("ToolSearch", {"query": "select:WebFetch"}),
        ("Skill", {"skill": "review"}),
        ("StructuredOutput", {"finding": "none", "n": 1}),
        ("TodoWrite", {"todos": []}),
        ("WebSearch", {"query": "how to remove .env from git"}),
        ("WebFetch", {"url": "https://docs.python.org/3/library/re.html", "prompt": "flags"}),
        ("mcp__tick__lookup_ticket", {"id": "T-1"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_call_of_an_ordinary_session_passes(tool: str, tool_input: dict[str, object]) -> None:
    decision = await decide_call(tool, tool_input)
    assert decision.allow, decision.message
