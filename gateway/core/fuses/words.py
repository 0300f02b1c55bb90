"""What an agent is told of fuses: that one is near its limit, and why one ended its work. For models, not for people.

A sentence is the same until the fuse changes its state, so that it can be told once and stand unchanged in the prompt.
"""

from collections.abc import Mapping

from gateway.core.fuses.evidence import few_words
from gateway.core.fuses.fuse import FuseRecord, Scope, amount_text
from gateway.core.money.nearing import FINISH

_WHO: Mapping[Scope, str] = {
    "agent": "you",
    "session": "this session's agents together",
    "run": "this run's agents together",
    "user": "all agents of this user together",
}
_ENDS = "your work is ended: do it another way, or say what hinders you and stop"
_NEAR: Mapping[str, str] = {
    "cost": "{percent} % of the {limit} that {who} may spend is spent; {finish}.",
    "requests": "{percent} % of the {limit} requests that {who} may make are made; {finish}.",
    "tool_calls": "{percent} % of the {limit} tool calls that {who} may make are made; {finish}.",
    "denials": "{percent} % of the {limit} denials after which {who} must stop have happened; ask for what is allowed.",
    "output_tokens": "{percent} % of the {limit} output tokens that {who} may use are used; {finish}.",
    "total_tokens": "{percent} % of the {limit} tokens that {who} may use are used; {finish}.",
    "seconds": "{percent} % of the {limit} that {who} may work are over; {finish}.",
    "stream_seconds": "{percent} % of the {limit} that answers for {who} may take are over; {finish}.",
    "context_growth": "This conversation has grown by {percent} % of the {limit} tokens that it may grow by; {finish}.",
    "depth": "Agents are nested {percent} % as deep as they may be; do the work yourself, start no agent for it.",
    "agents": "{percent} % of the {limit} agents that {who} may start are started; start no more than you must.",
    "active_agents": "{percent} % of the {limit} agents that {who} may have at work at once are at work; "
    "wait for some to end before you start more.",
    "agents_per_minute": "Agents are started at {percent} % of the pace of {limit} a minute that {who} may keep; "
    "slow down.",
    "identical_tool_calls": "You make the same tool call again and again. After {limit} in a row {ends}.",
    "similar_tool_calls": "You make nearly the same tool call again and again, and it returns nearly the same. "
    "After {limit} in a row {ends}.",
    "alternating_tool_calls": "You go round in a circle of the same tool calls. After {limit} such calls {ends}.",
    "consecutive_errors": "Your last tool calls have all failed. After {limit} failures in a row {ends}.",
    "rounds_without_progress": "Your last tool calls brought nothing new. After {limit} such rounds {ends}.",
}
"""Nothing is said of `sessions_per_hour`: no agent can act on it."""


def warning(record: FuseRecord, percent: int) -> str | None:
    """What an agent is told of a fuse that has passed `percent` of its limit; None: nothing it could act on."""
    words = _NEAR.get(record.meter)
    if words is None:
        return None
    limit = amount_text(record.meter, record.limit)
    return words.format(percent=percent, limit=limit, who=_WHO[record.scope], finish=FINISH, ends=_ENDS)


def why(record: FuseRecord) -> str:
    """Why an agent's work ends, as part of a sentence."""
    value, limit = (amount_text(record.meter, amount) for amount in (record.value - record.baseline, record.limit))
    repeats = f" ({few_words(record.evidence)})" if record.evidence is not None else ""
    meter = record.meter.replace("_", " ")
    return f"the limit on {meter} of this {record.scope} is reached: {value}{repeats}, of {limit} that are allowed"


def closing_words(record: FuseRecord) -> str:
    """What stands in place of an answer when the turn is ended."""
    return (
        f"Ringfence ended this turn: {why(record)}. It stays so until an operator replaces fuse {record.id}: "
        f"ringfence fuses replace {record.id} --reason '...'"
    )
