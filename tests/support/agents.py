"""Records of agents for tests of what keeps them."""

from typing import Any

import msgspec

from gateway.core.agents.lineage import AgentRecord

NOW = 1_795_356_000_000


def agent_record(agent: str = "main", session: str = "s", credential: str = "laptop", **more: Any) -> AgentRecord:
    """An agent that has counted nothing yet."""
    fields: dict[str, Any] = {"session": session, "agent": agent, "credential": credential, "user": "alice"}
    fields |= {"client": "claude-cli", "inferred": False, "first_seen_ms": NOW, "last_seen_ms": NOW, "depth": 0}
    fields |= dict.fromkeys(("parent", "agent_type", "model", "workspace"))
    counts = ("requests", "tool_calls", "denials", "output_tokens", "total_tokens", "cost_nanousd")
    return msgspec.convert(fields | dict.fromkeys(counts, 0) | more, AgentRecord)
