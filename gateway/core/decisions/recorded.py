"""What the audit trail keeps of a query, and the query made of it again. Not the record's file (`telemetry/audit.py`).

Kept is all that rules read, but of a tool's input only the facts, their secrets masked. What a record lacks it names
itself in `unrecorded`, as paths of the query, so that a reader can tell whether a rule would have looked there.
"""

from typing import Any, cast

import msgspec

from gateway.core.decisions.decision import (
    Action,
    Decision,
    Infer,
    Limit,
    Lineage,
    Meters,
    Obligation,
    Principal,
    Query,
    RuleReason,
    Run,
    Spawn,
    Time,
    ToolCall,
)
from gateway.core.decisions.masking import Masking
from gateway.core.money.showback import Moment

ACTION_BYTES_MAX = 16 * 1024
"""Of a recorded action; the part of a longer one that is long is left out."""
LONG_PARTS = {"infer": "tools", "tool_call": "facts", "run": "profile", "spawn": "label"}
INPUT = "action.input"
DIGESTS = frozenset({"script_sha256", "prompt_sha256"})
"""Of our own making, and what records are joined by; they look like secrets."""


class Unreplayable(ValueError):
    """The record does not hold the query."""


class Kept(msgspec.Struct, frozen=True):
    """An action as it is recorded."""

    action: Any
    """JSON values, with `kind`."""
    unrecorded: tuple[str, ...] = ()
    """Paths of the query that are left out."""
    masked: int = 0
    """Texts that were masked or cut."""


class DecisionRecord(msgspec.Struct, frozen=True):
    """A `decision` line of the audit trail, read back. `action` is None in trails that kept no queries."""

    at_ms: Moment
    id: str
    kind: str
    allow: bool
    principal: Principal
    lineage: Lineage
    request: str = ""
    reasons: tuple[RuleReason, ...] = ()
    shadow: tuple[RuleReason, ...] = ()
    obligations: tuple[Obligation | str, ...] = ()
    limits: tuple[Limit, ...] = ()
    revision: str = ""
    """Empty: no policy was asked."""
    action: dict[str, Any] | None = None
    meters: Meters = {}
    unrecorded: tuple[str, ...] = ()
    masked: int = 0
    tool: str | None = None
    input_sha256: str | None = None
    input_bytes: int | None = None
    input: Any = None


def keep_action(action: Action, *, full: bool) -> Kept:
    """What is recorded of an action; `full`: whole and with nothing masked. A tool's input has a field of its own."""
    masking = Masking()
    if full:
        return Kept(_without(action, "input"))
    kept = _masked(action, masking)
    unrecorded = [INPUT] if isinstance(action, ToolCall) else []
    if _length_bytes(kept) > ACTION_BYTES_MAX:
        long = LONG_PARTS[str(action.__struct_config__.tag)]
        kept = _without(kept, long)
        unrecorded.append(f"action.{long}")
    return Kept(kept, tuple(unrecorded), masking.changed)


def _masked(action: Action, masking: Masking) -> Any:
    """Only parts that can hold a secret are copied: model requests are many, and seldom have any."""
    match action:
        case ToolCall():
            plain = _without(action, "input")
            return {**plain, "facts": masking.value(plain["facts"])}
        case Infer():
            return masking.value(_plain(action)) if action.mcp_servers else action
        case Spawn() | Run():
            plain = _plain(action)
            return {name: value if name in DIGESTS else masking.value(value) for name, value in plain.items()}


def _plain(action: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.to_builtins(action))


def _without(action: Any, part: str) -> dict[str, Any]:
    return {name: value for name, value in _plain(action).items() if name != part}


def _length_bytes(kept: Any) -> int:
    try:
        return len(msgspec.json.encode(kept))
    except UnicodeEncodeError:
        # A header may hold bytes that are no UTF-8.
        return len(str(_plain(kept)).encode("utf-8", "replace"))


def query_fields(query: Query, decision: Decision) -> dict[str, Any]:
    """The fields of a decision's record that hold its query, and what it obliges and limits."""
    full = any(obligation.kind == "log_full" for obligation in decision.obligations)
    kept = keep_action(query.action, full=full)
    whole = {"input": query.action.input} if full and isinstance(query.action, ToolCall) else {}
    return {
        "action": kept.action,
        "meters": query.meters,
        "unrecorded": kept.unrecorded,
        "masked": kept.masked,
        "obligations": decision.obligations,
        "limits": decision.limits,
        **whole,
    }


def query_of(record: DecisionRecord, time: Time) -> Query:
    """The query as far as it was kept; what is unrecorded is empty. `time` is that of `at_ms`.

    Raises `Unreplayable` when the record holds none.
    """
    if record.action is None:
        raise Unreplayable("the record was written before queries were kept")
    action = dict(record.action)
    if record.kind == "tool_call":
        action["input"] = {} if record.input is None else record.input
    try:
        typed = msgspec.convert(action, Action)
    except msgspec.ValidationError as error:
        raise Unreplayable(f"the recorded query is not readable: {error}") from None
    return Query(typed, record.principal, record.lineage, record.meters, time)
