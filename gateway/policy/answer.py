"""What an engine's answer must be for it to become a decision; whatever else it is denies. No engine here.

Both engines share it, so that equal answers are equal decisions.
"""

from collections.abc import Iterable
from typing import cast

import msgspec

from gateway.contract import TOOL_INPUT_DEPTH_MAX
from gateway.core.decisions.decision import (
    OBLIGATIONS,
    Decision,
    Limit,
    Obligation,
    Query,
    RuleReason,
    ToolCall,
    denied,
)


class _Answer(msgspec.Struct, frozen=True):
    """What the entry point must answer."""

    allow: bool
    reasons: tuple[RuleReason, ...] = ()
    shadow: tuple[RuleReason, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    limits: tuple[Limit, ...] = ()


def read_answer(answer: object, revision: str) -> Decision:
    """The decision that an answer is. Raises `msgspec.ValidationError` when it has another shape."""
    given = msgspec.convert(answer, _Answer)
    unknown = next((one.kind for one in given.obligations if one.kind not in OBLIGATIONS), None)
    if unknown is not None:
        message = f"a rule asks for {unknown[:80]!r}, which the gateway cannot do; report it to the operator"
        return denied("engine/obligation", message, revision)
    if not given.allow and not given.reasons:
        return failed("the policies deny without a reason", revision)
    return Decision(
        allow=given.allow and not given.reasons,
        reasons=given.reasons,
        shadow=given.shadow,
        obligations=given.obligations,
        limits=given.limits,
        revision=revision,
    )


def failed(what: str, revision: str) -> Decision:
    """The denial when no rule could be heard. `what` is shown to the client: no address, no secret."""
    return denied("engine/failed", f"{what}; report it to the operator of the gateway", revision)


def refused_unasked(query: Query, revision: str) -> Decision | None:
    """The denial of a query that no engine is given: some cannot take a deeper one."""
    if isinstance(query.action, ToolCall) and is_too_deep(query.action.input, TOOL_INPUT_DEPTH_MAX):
        message = f"{query.action.tool}: input nested deeper than {TOOL_INPUT_DEPTH_MAX} levels; send a flatter one"
        return denied("engine/depth", message, revision)
    return None


def is_too_deep(value: object, depth_max: int) -> bool:
    """Whether a JSON value is nested deeper than `depth_max`. No recursion."""
    level = [value]
    for _ in range(depth_max):
        level = [inner for one in level for inner in _members(one) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()
