"""Trails as a gateway writes them: real queries, decided by the real engine, recorded by the real audit log."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway.commands.policy_kit.probe import Probe
from gateway.config import Config, parse_config
from gateway.core.decisions.decision import Decision
from gateway.core.decisions.recorded import DecisionRecord
from gateway.policy.policyset import PolicySet
from gateway.policy.settings import merge_settings
from gateway.telemetry.audit import AuditLog, decision_fields
from tests.gateway.telemetry.test_audit import context
from tests.support.policies import build_query, packaged_bundle

PUSH = {"kind": "tool_call", "tool": "Bash", "input": {"command": "git push origin main"}}
LIST = {"kind": "tool_call", "tool": "Bash", "input": {"command": "ls src"}}
REMOVE = {"kind": "tool_call", "tool": "Bash", "input": {"command": "rm -rf /"}}
DATABASE = {"kind": "tool_call", "tool": "mcp__db__query", "input": {"query": "drop table users"}}
SPAWN = {"kind": "spawn", "agent_type": "Explore"}
INFER = {"kind": "infer"}
NO_PUSH = {"tools": {"deny": [{"tool": "Bash", "commands": ["git push *"]}]}}
NO_DROP = {"tools": {"deny": [{"tool": "mcp__db__*", "input": {"query": "(?i)drop"}}]}}
NO_OTHERS: Mapping[int, Decision] = {}


def probe_of(settings: Mapping[str, Any] | None = None, modes: Mapping[str, str] | None = None) -> Probe:
    """The packaged policies with settings over the defaults."""
    return _probe(json.dumps({**(settings or {}), "modes": dict(modes or {})}, sort_keys=True))


@cache
def _probe(over: str) -> Probe:
    merged, problems = merge_settings(packaged_bundle(), json.loads(over))
    assert not problems, problems
    return Probe(PolicySet(packaged_bundle(), merged))


def record_of(action: dict[str, Any], probe: Probe | None = None, id: str = "dec_1.1", **parts: Any) -> DecisionRecord:
    """What the trail holds of a decision of these policies."""
    query = build_query(action, **parts)
    decision = (probe or probe_of()).ask(query).decision
    fields = decision_fields(context(), query, decision, decision_id=id)
    return msgspec.json.decode(msgspec.json.encode(fields), type=DecisionRecord)


def write_trail(path: Path, actions: Sequence[dict[str, Any]], decisions: Mapping[int, Decision] = NO_OTHERS) -> None:
    """Decisions `dec_1`, `dec_1.1`, `dec_1.2`, ... of the packaged policies; some may be others."""
    probe, audit = probe_of(), AuditLog(str(path), 10_000_000, 3)
    audit.record("request", {"at_ms": 1, "id": "dec_1"})
    for number, action in enumerate(actions):
        query = build_query(action)
        decision = decisions.get(number) or probe.ask(query).decision
        audit.decision(context(), query, decision, decision_id=f"dec_1.{number}" if number else "dec_1")
    audit.close()


def configured(folder: Path, policy: Mapping[str, Any] | None = None) -> Config:
    """A configuration whose trail is `audit.jsonl` in the folder."""
    document = {
        "upstreams": [{"id": "main", "backend": "simulated"}],
        "audit": {"path": str(folder / "audit.jsonl")},
        "policy": dict(policy or {}),
    }
    return parse_config(json.dumps(document), folder / "ringfence.yaml", {})
