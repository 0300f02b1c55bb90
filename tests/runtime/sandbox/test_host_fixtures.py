"""Workflow scripts as people write them run unchanged, and ask for the same each time."""

import re
from pathlib import Path
from typing import Any

import pytest

from runtime.core.program import AgentOp
from tests.runtime.sandbox.stage import Played, play

FOLDER = Path(__file__).parents[2] / "golden" / "workflows"
META = re.compile(r"^export const meta = \{.*?^\}", re.MULTILINE | re.DOTALL)
ARGS: dict[str, Any] = {
    "01_missing_auth_audit": {"root": "src"},
    "06_port_two_reviewers": {"files": ["a.c", "b.c"], "from": "C", "to": "Rust"},
    "07_fix_until_check_passes": {"command": "make test"},
    "09_schema_fanout_merge": ["x.py", "y.py"],
}
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.js"))


def body_of(name: str) -> str:
    """The script with its meta blanked out, so that lines and columns stay."""
    return META.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), (FOLDER / f"{name}.js").read_text())


def instance(schema: dict[str, Any]) -> Any:
    """A small value of a schema."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {name: instance(inner) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema["items"])] * 2
    return {"string": "text", "integer": schema.get("minimum", 0), "boolean": True}.get(str(kind))


def answer(op: AgentOp) -> Any:
    return "text" if op.options.schema is None else instance(op.options.schema)


async def run(name: str) -> Played:
    saved = {"missing-auth-audit": body_of("01_missing_auth_audit")}
    return await play(body_of(name), ARGS.get(name), answer=answer, saved=saved, budget_total=40_000)


@pytest.mark.parametrize("name", SCRIPTS)
async def test_w15_script_runs_unchanged_and_the_same_each_time(name: str) -> None:
    first, second = await run(name), await run(name)
    assert first.value is not None and first.agents
    assert (first.ops, first.value) == (second.ops, second.value)
