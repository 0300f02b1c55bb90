"""Approvals: what waits for a person's word, what that word is bound to, and which later questions it answers.

    state      approve    deny     expire    withdraw    revoke
    waiting    approved   denied   expired   withdrawn   -
    approved   -          -        -         -           approved (but answers nothing any more)

    kind        bound to                          scopes
    tool_call   kind, tool and input              once, session, always
    run         the script's hash                 once, session; always: the registry of scripts (`scripts.py`)
    spawn       type, model and isolation         once, session, always

`once` is this very call, `session` the same again in this session, `always` the same again in this organisation. What
is bound to nothing (a script that the call only names) can be approved once. Waits for nobody and keeps no time.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec

from gateway.core.decisions.decision import (
    Action,
    Decision,
    Infer,
    Lineage,
    Principal,
    RuleReason,
    Run,
    Spawn,
    ToolCall,
    denied,
)
from gateway.core.decisions.exhibit import canonical

OBLIGATION = "require_approval"
_ALLOWING = ("approval/approved", "approval/remembered")
Scope = Literal["once", "session", "always"]
SCOPES: tuple[Scope, ...] = ("once", "session", "always")
"""From the narrowest to the widest."""
State = Literal["waiting", "approved", "denied", "expired", "withdrawn"]
Verdict = Literal["approve", "deny", "expire", "withdraw", "revoke"]
Kind = Literal["tool_call", "spawn", "run", "infer"]

EXPIRES_SECONDS_MAX = 86_400
REASON_CHARS_MAX = 1_000
WHY_CHARS_MAX = 1_000

TRANSITIONS: Mapping[tuple[State, Verdict], State] = {
    ("waiting", "approve"): "approved",
    ("waiting", "deny"): "denied",
    ("waiting", "expire"): "expired",
    ("waiting", "withdraw"): "withdrawn",
    ("approved", "revoke"): "approved",
}


class Unmeetable(ValueError):
    """The obligation asks for something that cannot be done."""


class AlreadyDecided(ValueError):
    """It does not wait any more, or there is nothing to revoke."""


class ApprovalUnknown(LookupError):
    """There is no such item."""


class NotAllowed(ValueError):
    """This person may not decide this, or not so widely."""


class Demand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value of the obligation. `remember` is the widest scope that may be granted."""

    reason: Annotated[str, msgspec.Meta(min_length=1)]
    four_eyes: bool = False
    expires_seconds: Annotated[int, msgspec.Meta(ge=1, le=EXPIRES_SECONDS_MAX)] | None = None
    remember: Scope = "always"


class Ruling(msgspec.Struct, frozen=True):
    """One word on an item. `by` None: nobody said it, time ran out or the client left."""

    at_ms: int
    verdict: Verdict
    by: str | None = None
    scope: Scope = "once"
    why: str = ""
    through: str | None = None
    """The item, or the hash of the script, whose approval covers this one too."""


class Item(msgspec.Struct, frozen=True):
    """One question to people."""

    id: str
    kind: Kind
    title: str
    what: dict[str, Any]
    """All that is shown of the action, see `decisions/exhibit.py`."""
    binding: str | None
    reason: str
    rules: tuple[str, ...]
    principal: Principal
    lineage: Lineage
    decision: str
    """Id of the decision that asks for it."""
    asked_at_ms: int
    expires_at_ms: int
    four_eyes: bool
    remember: Scope
    holder: str
    """The gateway that holds the client's stream."""
    script_sha256: str | None = None
    state: State = "waiting"
    decisions: tuple[Ruling, ...] = ()

    @property
    def last(self) -> Ruling | None:
        """What was said last."""
        return self.decisions[-1] if self.decisions else None

    @property
    def granted(self) -> Scope | None:
        """How widely it answers later questions; None: not at all."""
        last = self.last
        if self.state != "approved" or last is None or last.verdict != "approve" or last.through is not None:
            return None
        in_registry = self.kind == "run" and last.scope == "always"
        return None if last.scope == "once" or in_registry else last.scope


def demand_of(decision: Decision) -> Demand | None:
    """What the decision asks for; the strictest of several. None: no approval.

    Raises:
        Unmeetable: with what cannot be done.
    """
    values = [each.value for each in decision.obligations if each.kind == OBLIGATION]
    if not values:
        return None
    try:
        demands = [msgspec.convert(value, Demand) for value in values]
    except msgspec.ValidationError as error:
        raise Unmeetable(f"a rule asks for an approval that cannot be asked for ({error}); tell the operator") from None
    waits = [each.expires_seconds for each in demands if each.expires_seconds is not None]
    return Demand(
        reason="; ".join(dict.fromkeys(each.reason for each in demands))[:REASON_CHARS_MAX],
        four_eyes=any(each.four_eyes for each in demands),
        expires_seconds=min(waits) if waits else None,
        remember=SCOPES[min(SCOPES.index(each.remember) for each in demands)],
    )


def kind_of(action: Action) -> Kind:
    """The kind of an action as queries name it."""
    match action:
        case ToolCall():
            return "tool_call"
        case Spawn():
            return "spawn"
        case Run():
            return "run"
        case Infer():
            return "infer"


def binding_of(action: Action) -> str | None:
    """The hash that an approval is bound to; None: to this one call only."""
    match action:
        case ToolCall():
            return _hash([kind_of(action), action.tool, action.input])
        case Spawn():
            return _hash([kind_of(action), action.agent_type, action.model, action.isolation])
        case Run():
            return None if action.script_sha256 is None else _hash([kind_of(action), action.script_sha256])
        case Infer():
            return None


def may_decide(item: Item, verdict: Verdict, by: str, scope: Scope) -> None:
    """Raises `NotAllowed`, saying who may, or what instead."""
    if verdict != "approve":
        if scope != "once":
            raise NotAllowed("a denial is for this one call: leave scope out, or write a rule")
        return
    if item.four_eyes and by == item.principal.user:
        raise NotAllowed(f"{item.id} was asked for by {by} and needs four eyes: somebody else must approve it")
    if SCOPES.index(scope) > SCOPES.index(item.remember):
        raise NotAllowed(f"{item.id} may be approved for '{item.remember}' at most, says the rule that asks for it")
    if scope != "once" and item.binding is None:
        raise NotAllowed(f"{item.id} is bound to no content that could be recognised again: approve it once")


def ruled(item: Item, ruling: Ruling) -> Item:
    """The item after a word on it. Raises `AlreadyDecided`."""
    state = TRANSITIONS.get((item.state, ruling.verdict))
    if state is None or (ruling.verdict == "revoke" and item.granted is None):
        raise AlreadyDecided(_standing(item, ruling.verdict))
    return msgspec.structs.replace(item, state=state, decisions=(*item.decisions, ruling))


def covers(grant: Item, asked: Item) -> bool:
    """Does what was granted answer `asked` too, as far as the rule that asks lets it?"""
    scope, last = grant.granted, grant.last
    if scope is None or last is None or asked.binding is None or grant.binding != asked.binding:
        return False
    if not suffices(scope, last.by, asked) or grant.principal.org != asked.principal.org:
        return False
    if scope == "session":
        same = grant.lineage.session == asked.lineage.session
        return same and grant.principal.user == asked.principal.user
    return asked.kind != "run"


def registry_covers(by: str, asked: Item) -> bool:
    """Does the registry's approval of the script, given by `by`, answer `asked`?"""
    return asked.kind == "run" and suffices("always", by, asked)


def answered(item: Item, decision: Decision) -> Decision:
    """What the decision has become by the last word on its item. The rest of its obligations stays."""
    last = item.last
    assert last is not None
    if item.state == "approved":
        reason = RuleReason(rule=_allowing_rule(last), message=_allowing(item, last))
        return msgspec.structs.replace(unconditional(decision), reasons=(*decision.reasons, reason))
    rule = "approval/denied" if item.state == "denied" else f"approval/{item.state}"
    return denied(rule, _refusing(item, last), decision.revision)


def unconditional(decision: Decision) -> Decision:
    """The decision without what it asks for of people: they have answered."""
    rest = tuple(each for each in decision.obligations if each.kind != OBLIGATION)
    return msgspec.structs.replace(decision, obligations=rest)


def is_approved(decision: Decision) -> bool:
    """Has a person allowed it?"""
    return decision.allow and any(reason.rule in _ALLOWING for reason in decision.reasons)


def record_fields(item: Item, event: str) -> dict[str, Any]:
    """The audit record of an item: nothing of an input or a prompt."""
    return {
        "at_ms": item.last.at_ms if item.last is not None else item.asked_at_ms,
        "approval": item.id,
        "change": event,
        "kind": item.kind,
        "binding": item.binding,
        "script_sha256": item.script_sha256,
        "reason": item.reason,
        "rules": item.rules,
        "principal": item.principal,
        "lineage": item.lineage,
        "decision": item.decision,
        "asked_at_ms": item.asked_at_ms,
        "expires_at_ms": item.expires_at_ms,
        "four_eyes": item.four_eyes,
        "state": item.state,
        "decisions": item.decisions,
    }


def outline(item: Item) -> dict[str, Any]:
    """As it is listed, and sent to those who are told of it: all but the action itself."""
    return {
        "id": item.id,
        "kind": item.kind,
        "title": item.title,
        "reason": item.reason,
        "rules": item.rules,
        "org": item.principal.org,
        "team": item.principal.team,
        "user": item.principal.user,
        "session": item.lineage.session,
        "agent": item.lineage.agent,
        "run": item.lineage.run,
        "script_sha256": item.script_sha256,
        "decision": item.decision,
        "asked_at_ms": item.asked_at_ms,
        "expires_at_ms": item.expires_at_ms,
        "four_eyes": item.four_eyes,
        "remember": item.remember,
        "state": item.state,
        "granted": item.granted,
        "decisions": item.decisions,
    }


def suffices(scope: Scope, by: str | None, asked: Item) -> bool:
    """Is an approval of this scope by this person enough for what is asked now?"""
    wide = SCOPES.index(scope) <= SCOPES.index(asked.remember)
    return wide and not (asked.four_eyes and by == asked.principal.user)


def _allowing_rule(last: Ruling) -> str:
    return _ALLOWING[0] if last.through is None else _ALLOWING[1]


def _allowing(item: Item, last: Ruling) -> str:
    how = {"once": "once", "session": "for this session", "always": "for good"}[last.scope]
    through = "" if last.through is None else f", by {last.through}"
    return f"{last.by} approved it {how} ({item.id}{through}){_because(last)}"


def _refusing(item: Item, last: Ruling) -> str:
    wanted = f"it needs a person's approval ({item.reason})"
    if item.state == "denied":
        return f"{wanted}, and {last.by} denied it{_because(last)}; go on without it or ask the user how"
    if item.state == "expired":
        seconds = (item.expires_at_ms - item.asked_at_ms) // 1000
        return (
            f"{wanted}, and nobody answered within {seconds} seconds; go on without it and tell the user that it waits"
        )
    return f"{wanted}, and the question was withdrawn{_because(last)}; go on without it"


def _because(last: Ruling) -> str:
    return f": {last.why}" if last.why else ""


def _standing(item: Item, verdict: Verdict) -> str:
    last = item.last
    if item.state == "waiting":
        return f"{item.id} still waits: approve or deny it"
    if verdict == "revoke" and item.state == "approved" and item.script_sha256 is not None:
        return f"{item.id} is remembered by the registry at most: revoke script {item.script_sha256} there"
    if verdict == "revoke" and item.state == "approved":
        return f"{item.id} is not remembered (any more)"
    who = f" by {last.by}" if last is not None and last.by is not None else ""
    return f"{item.id} was already {item.state}{who}"


def _hash(parts: list[Any]) -> str:
    return sha256(canonical(parts)).hexdigest()
