"""What a sandbox says is believed only when a sandbox could have said it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.limits import ARGS_BYTES_MAX, LOG_CHARS_MAX, PROMPT_BYTES_MAX
from runtime.core.program import AgentOp, Returned, WorkflowOp
from runtime.sandbox.judge import OPS_OF_THE_PRELUDE, OPS_PER_DRAIN_MAX, Disbelieved, Judge

AGENT: dict[str, Any] = {"op": "agent", "id": 0, "scope": "", "prompt": "x", "options": {}, "nested": 0}
WORKFLOW: dict[str, Any] = {"op": "workflow", "id": 0, "scope": "", "name": "sub"}


def said(*ops: Any, end: Any = None, cpu: Any = 0.1) -> bytes:
    return msgspec.json.encode({"ops": ops, "end": end, "cpu_seconds": cpu})


def test_honest_drain_is_believed() -> None:
    drained = Judge().drained(said(AGENT, {**WORKFLOW, "id": 1, "args": {"k": [1]}}, end=None))
    agent, workflow = drained.ops
    assert isinstance(agent, AgentOp) and agent.prompt == "x"
    assert isinstance(workflow, WorkflowOp) and workflow.args is not None and bytes(workflow.args) == b'{"k":[1]}'


def test_returned_value_stays_as_it_was_written() -> None:
    drained = Judge().drained(b'{"ops":[],"end":{"end":"returned","value":{"b":1, "a":[2]}},"cpu_seconds":0}')
    assert isinstance(drained.end, Returned)
    assert bytes(drained.end.value) == b'{"b":1, "a":[2]}'


LIES: dict[str, bytes] = {
    "no json": b"nonsense",
    "not utf-8": b'{"ops":[],"end":{"end":"returned","value":"\xff"},"cpu_seconds":0}',
    "half a character in a result": b'{"ops":[],"end":{"end":"returned","value":"\\ud800"},"cpu_seconds":0}',
    "half a character in a prompt": said(AGENT).replace(b'"x"', b'"\\ud800"'),
    "result too deep for us": b'{"ops":[],"end":{"end":"returned","value":' + b"[" * 90_000 + b"]" * 90_000 + b"}}",
    "unknown operation": said({"op": "spawn", "id": 0}),
    "unknown end": said(end={"end": "paused"}),
    "id out of order": said({**AGENT, "id": 1}),
    "id twice": said(AGENT, AGENT),
    "negative id": said({**AGENT, "id": -1}),
    "unasked nested workflow": said({**AGENT, "nested": 1}),
    "empty prompt": said({**AGENT, "prompt": "  "}),
    "prompt too long": said({**AGENT, "prompt": "x" * (PROMPT_BYTES_MAX + 1)}),
    "effort unknown": said({**AGENT, "options": {"effort": "extreme"}}),
    "schema is a list": said({**AGENT, "options": {"schema": []}}),
    "retries too many": said({**AGENT, "options": {"retries": 6}}),
    "turns below one": said({**AGENT, "options": {"maxTurns": 0}}),
    "cost below nothing": said({**AGENT, "options": {"maxCostUsd": -1}}),
    "label too long": said({**AGENT, "options": {"label": "x" * 1_025}}),
    "tools too many": said({**AGENT, "options": {"tools": ["x"] * 513}}),
    "branch too long": said({**AGENT, "scope": "/0.0" * 3_000}),
    "workflow without name": said({**WORKFLOW, "name": None}),
    "workflow with two names": said({**WORKFLOW, "script_path": "a.js"}),
    "args too long": said({**WORKFLOW, "args": "x" * ARGS_BYTES_MAX}),
    "timer too long": said({"op": "timer", "id": 0, "ms": 600_001, "scope": ""}),
    "timer in the past": said({"op": "timer", "id": 0, "ms": -1, "scope": ""}),
    "clears a later timer": said({"op": "clear", "id": 0}),
    "phase without title": said({"op": "phase", "title": "", "nested": 0}),
    "line too long": said({"op": "log", "text": "x" * (LOG_CHARS_MAX + 1)}),
    "group of none": said({"op": "group", "scope": "", "group": "/0", "items": 0}),
    "group of too many": said({"op": "group", "scope": "", "group": "/0", "items": 4_097}),
    "group elsewhere": said({"op": "group", "scope": "/1.0", "group": "/0", "items": 1}),
    "warning unknown": said({"op": "warn", "code": "ransom", "message": "pay"}),
    "warning too long": said({"op": "warn", "code": "item_threw", "message": "x" * 4_001}),
    "error too long": said(end={"end": "threw", "message": "x" * 4_001}),
    "code unknown": said(end={"end": "threw", "message": "x", "code": "budget_error"}),
    "time below nothing": said(cpu=-1),
    "time is text": said(cpu="1"),
    "operations too many": said(*[{"op": "phase", "title": "x"}] * (OPS_PER_DRAIN_MAX + OPS_OF_THE_PRELUDE + 1)),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_w30_lie_of_a_sandbox_is_not_believed(lie: bytes) -> None:
    with pytest.raises(Disbelieved, match="^it"):
        Judge().drained(lie)


def test_ids_go_on_from_drain_to_drain() -> None:
    judge = Judge()
    judge.drained(said(AGENT))
    judge.drained(said({**WORKFLOW, "id": 1}))
    judge.drained(said({**AGENT, "id": 2, "nested": 2}))
    with pytest.raises(Disbelieved, match="operation 2 where 3 is next"):
        judge.drained(said({**AGENT, "id": 2}))


@given(st.binary(max_size=200))
def test_any_bytes_are_disbelieved_or_hold_their_bounds(payload: bytes) -> None:
    try:
        drained = Judge().drained(payload)
    except Disbelieved:
        return
    assert drained.cpu_seconds >= 0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(anything, st.sampled_from(["id", "scope", "prompt", "options", "nested"]))
def test_any_field_is_disbelieved_or_of_its_type(value: Any, name: str) -> None:
    try:
        [op] = Judge().drained(said({**AGENT, name: value})).ops
    except Disbelieved:
        return
    assert isinstance(op, AgentOp) and op.id == 0 and op.nested == 0 and op.prompt.strip()
