"""Agents as the store keeps them. The living ones are `nodes.py`."""

import msgspec

from gateway.core.gate.notices import Notice


class AgentRecord(msgspec.Struct, frozen=True):
    """One agent, and what one gateway counted of it. Fields with a default were added later: old records lack them."""

    session: str
    agent: str
    credential: str
    """The credential that first used the session."""
    user: str
    client: str
    parent: str | None
    depth: int
    agent_type: str | None
    model: str | None
    workspace: str | None
    inferred: bool
    first_seen_ms: int
    last_seen_ms: int
    requests: int
    tool_calls: int
    denials: int
    output_tokens: int
    total_tokens: int
    cost_nanousd: int
    stream_ms: int = 0
    spawned_by: str | None = None
    background: bool | None = None
    prompt_sha256: str | None = None
    parent_inferred: bool = False
    unasked: bool = False
    workflow: bool = False
    run: str | None = None
    run_inferred: bool = False
    forked_from: str | None = None
    resumes: int = 0
    routed_model: str | None = None
    prompt_tokens_base: int | None = None
    prompt_tokens: int = 0
    active: bool = False
    admitted: bool = True
    first_token: bool = True
    notices: tuple[Notice, ...] | None = None
    """What it has been told, and where."""


class Claimed(msgspec.Struct, frozen=True):
    """What the store knows of a session and an agent of it."""

    credential: str
    """Whose the session is: the credential that first used it."""
    user: str
    agents: int
    """Agents of the session other than main, the claimed one included, on all gateways."""
    seen: AgentRecord | None = None
    """The agent as another gateway, or an earlier process, last wrote it; None: nobody has seen it."""
