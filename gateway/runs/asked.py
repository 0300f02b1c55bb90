"""What a runtime asks of the gateway about a run or one of its agents, and what it is answered. Values only."""

from dataclasses import dataclass, field

from gateway.core.decisions.decision import Principal

RUNTIME_CLIENT = "ringfence-runtime"
"""The client of a session that begins with a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAsked:
    """A run that somebody wants to start or to take up again."""

    principal: Principal
    session: str
    run: str
    name: str
    script: str = field(repr=False)
    """As it was checked and hashed."""
    script_sha256: str
    args: bytes | None = field(default=None, repr=False)
    """JSON; None: it is given nothing."""
    resume_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAsked:
    """An agent that a run wants to bring to life."""

    principal: Principal
    session: str
    run: str
    run_name: str
    agent: str
    prompt: str = field(repr=False)
    model: str | None = None
    agent_type: str | None = None
    label: str | None = None
    phase: str | None = None
    isolation: str | None = None
    workspace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`ask` set: it is allowed once a person has approved it, for that reason. `decision` is in the audit trail."""

    allow: bool
    message: str = ""
    ask: str | None = None
    decision: str = ""
