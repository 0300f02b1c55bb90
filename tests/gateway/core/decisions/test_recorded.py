"""What the trail keeps of a query, and the query that comes back."""

from typing import Any

import msgspec
import pytest

from gateway.core.decisions.decision import Decision, Obligation, Query
from gateway.core.decisions.recorded import (
    ACTION_BYTES_MAX,
    DecisionRecord,
    Unreplayable,
    keep_action,
    query_fields,
    query_of,
)
from tests.support.policies import build_query

QUIET = Decision(allow=True)
DIGEST = "3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea"
FULL = Decision(allow=True, obligations=(Obligation("log_full"),))


def kept(query: Query, decision: Decision = QUIET) -> DecisionRecord:
    """As a line of the trail would bring it back."""
    fields = {
        "at_ms": query.time.unix_ms,
        "id": "dec_1",
        "kind": query.action.__struct_config__.tag,
        "allow": decision.allow,
        "principal": query.principal,
        "lineage": query.lineage,
        **query_fields(query, decision),
    }
    return msgspec.json.decode(msgspec.json.encode(fields), type=DecisionRecord)


@pytest.mark.parametrize(
    "action",
    [
        {"kind": "infer", "tools": ["Bash"], "mcp_servers": ["https://mcp.example/sse"]},
        {"kind": "spawn", "agent_type": "Explore", "label": "look around", "workflow": True, "prompt_sha256": DIGEST},
        {"kind": "run", "profile": {"valid": True, "fan_out": 4, "phases": ["a"]}, "script_sha256": DIGEST},
    ],
    ids=lambda action: action["kind"],
)
def test_query_comes_back_whole(action: dict[str, Any]) -> None:
    query = build_query(action, meters={"session": {"agents": 7}})
    record = kept(query)
    assert query_of(record, query.time) == query
    assert (record.unrecorded, record.masked) == ((), 0)


def test_tool_call_comes_back_without_its_input_and_with_its_facts() -> None:
    query = build_query({"kind": "tool_call", "tool": "Bash", "input": {"command": "cd src && git push"}})
    record = kept(query)
    again = query_of(record, query.time)
    assert again.action == msgspec.structs.replace(query.action, input={})
    assert record.unrecorded == ("action.input",) and record.masked == 0


def test_secrets_of_facts_are_masked_and_counted() -> None:
    query = build_query({"kind": "tool_call", "tool": "Bash", "input": {"command": "mysql --password hunter2"}})
    fields = query_fields(query, QUIET)
    assert b"hunter2" not in msgspec.json.encode(fields)
    assert fields["masked"] == 1


def test_secret_in_the_address_of_a_server_is_masked() -> None:
    query = build_query({"kind": "infer", "mcp_servers": ["https://mcp.example/sse?token=hunter2"]})
    assert kept(query).masked == 1 and "hunter2" not in str(kept(query))


def test_log_full_keeps_all_and_masks_nothing() -> None:
    query = build_query({"kind": "tool_call", "tool": "Bash", "input": {"command": "mysql --password hunter2"}})
    record = kept(query, FULL)
    assert query_of(record, query.time) == query
    assert (record.unrecorded, record.masked) == ((), 0)


def test_long_part_is_left_out_and_named() -> None:
    many = [f"mcp__server__{number:0100}" for number in range(ACTION_BYTES_MAX // 100)]
    record = kept(build_query({"kind": "infer", "tools": many}))
    assert record.unrecorded == ("action.tools",)
    assert record.action is not None and "tools" not in record.action and record.action["model"]


def test_header_that_is_no_text_is_kept_as_it_is() -> None:
    action = msgspec.structs.replace(build_query({"kind": "infer"}).action, betas=("half \udc80",))
    assert keep_action(action, full=False).action == action


def test_record_without_a_query_says_so() -> None:
    query = build_query({"kind": "infer"})
    record = msgspec.structs.replace(kept(query), action=None)
    with pytest.raises(Unreplayable, match="before queries were kept"):
        query_of(record, query.time)


def test_record_of_another_form_says_what_is_wrong() -> None:
    query = build_query({"kind": "spawn"})
    record = msgspec.structs.replace(kept(query), action={"kind": "spawn", "via": "magic"})
    with pytest.raises(Unreplayable, match=r"not readable.*via"):
        query_of(record, query.time)
