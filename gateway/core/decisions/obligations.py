"""What an infer decision obliges us to do to the request: its obligations read as one set of changes.

An obligation whose value cannot be met means deny, as one that is not known does (`decider.py`).
"""

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from gateway.core.decisions.decision import Obligation
from gateway.core.gate.notices import NOTICE_CHARS_MAX
from gateway.errors import Reason, Refused

INFER_OBLIGATIONS = frozenset({"strip_tools", "clamp_max_tokens", "set_model", "notice", "log_full"})
"""Those of an infer decision that can be met."""


class Duties(msgspec.Struct, frozen=True):
    """What is to be done."""

    strip_tools: frozenset[str] = frozenset()
    max_tokens: int | None = None
    """Most that may be asked for."""
    model: str | None = None
    notices: tuple[str, ...] = ()


def duties_of(obligations: Iterable[Obligation]) -> Duties:
    """Several of one kind: all tools, all notices, the smallest `max_tokens`, the last model.

    Raises `Refused(POLICY_FAILED)` when the value of one cannot be met.
    """
    duties = Duties()
    for obligation in obligations:
        duties = _with(duties, obligation)
    return duties


def _with(duties: Duties, obligation: Obligation) -> Duties:
    value: Any = obligation.value
    match obligation.kind:
        case "strip_tools" if _are_texts(value):
            return msgspec.structs.replace(duties, strip_tools=duties.strip_tools.union(value))
        case "set_model" if isinstance(value, str) and value:
            return msgspec.structs.replace(duties, model=value)
        case "clamp_max_tokens" if type(value) is int and value >= 1:
            return msgspec.structs.replace(duties, max_tokens=min(value, duties.max_tokens or value))
        case "notice" if isinstance(value, str) and 0 < len(value) <= NOTICE_CHARS_MAX:
            return msgspec.structs.replace(duties, notices=(*duties.notices, value))
        case "log_full":
            return duties
        case kind:
            message = f"engine/obligation: a rule asks for '{kind}' with a value that cannot be met; tell the operator"
            raise Refused(Reason.POLICY_FAILED, message)


def model_of(obligations: Iterable[Obligation]) -> str | None:
    """The model that a spawn decision routes the agent to. Raises as `duties_of`."""
    return duties_of(each for each in obligations if each.kind == "set_model").model


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in cast("list[object]", value))
