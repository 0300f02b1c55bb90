"""What another policy set would have decided otherwise, added up. Compares and counts; reads and prints nothing.

Compared are the decision, the rules that speak, what is obliged and what is limited; not the wording of messages, nor
the numbers in them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from gateway.core.decisions.decision import Decision, Obligation, RuleReason
from gateway.core.decisions.recorded import DecisionRecord

Verdict = Literal["would be denied", "would be allowed", "would differ"]
VERDICTS: tuple[Verdict, ...] = ("would be denied", "would be allowed", "would differ")
EXAMPLES_MAX = 5
"""Of each verdict."""
NAMED_MAX = 200
"""Principals and rules counted by name; others together are `...`."""
OTHERS = "..."


class Change(msgspec.Struct, frozen=True):
    """One decision that would be another."""

    verdict: Verdict
    rules: tuple[str, ...]
    """Those that speak now and did not, or no longer do; none when only what is obliged or limited differs."""
    details: tuple[str, ...]
    """What is different, one sentence each."""


class Example(msgspec.Struct, frozen=True):
    """A decision that would be another, as people find it again."""

    id: str
    at_ms: int
    kind: str
    user: str
    about: str
    details: tuple[str, ...]
    message: str
    """What the policies would say now, or said then."""
    masked: bool


@dataclass(slots=True)
class Tally:
    """Counts of a replay."""

    replayed: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    by_rule: dict[str, Counter[Verdict]] = field(default_factory=dict[str, Counter[Verdict]])
    by_user: dict[str, Counter[Verdict]] = field(default_factory=dict[str, Counter[Verdict]])
    by_kind: Counter[str] = field(default_factory=Counter[str])
    """Replayed decisions."""
    examples: dict[Verdict, list[Example]] = field(default_factory=dict[Verdict, list[Example]])
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Decisions that could not be replayed, by why."""
    unsure_rules: Counter[str] = field(default_factory=Counter[str])
    """Of those, the rules that look at what was not recorded."""
    masked: int = 0
    """Replayed decisions of which some text was masked or cut."""
    masked_changes: int = 0
    same_revision_changes: int = 0
    """Changes of decisions that the very same policies made: the record lacks what decided."""

    @property
    def changes(self) -> int:
        """Decisions that would be another."""
        return self.verdicts.total()

    def add(self, record: DecisionRecord, decision: Decision, change: Change | None) -> None:
        """Count one decision that could be replayed."""
        self.replayed += 1
        self.by_kind[record.kind] += 1
        self.masked += record.masked > 0
        if change is None:
            return
        self.verdicts[change.verdict] += 1
        self.masked_changes += record.masked > 0
        self.same_revision_changes += record.revision == decision.revision
        for rule in change.rules or (OTHERS,):
            _count(self.by_rule, rule, change.verdict)
        _count(self.by_user, record.principal.user, change.verdict)
        held = self.examples.setdefault(change.verdict, [])
        if len(held) < EXAMPLES_MAX:
            held.append(_example(record, decision, change))


def compare(record: DecisionRecord, decision: Decision) -> Change | None:
    """What is different between what was decided and `decision`; None: nothing."""
    before, after = _spoken(record.reasons), _spoken(decision.reasons)
    shadow_before, shadow_after = _spoken(record.shadow), _spoken(decision.shadow)
    details = [
        *_difference("refuses", before, after),
        *_difference("would refuse (shadow)", shadow_before, shadow_after),
        *_difference("obliges to", _obliged(record.obligations), _obliged(decision.obligations)),
        *_difference("limits", {_shown(one) for one in record.limits}, {_shown(one) for one in decision.limits}),
    ]
    if not details and record.allow == decision.allow:
        return None
    rules = sorted((before ^ after) | (shadow_before ^ shadow_after))
    return Change(_verdict(record.allow, decision.allow), tuple(rules), tuple(details))


def _verdict(before: bool, after: bool) -> Verdict:
    if before == after:
        return "would differ"
    return "would be allowed" if after else "would be denied"


def _spoken(reasons: Iterable[RuleReason]) -> set[str]:
    return {one.rule for one in reasons}


def _obliged(obligations: Iterable[Obligation | str]) -> set[str]:
    return {one if isinstance(one, str) else f"{one.kind} {_shown(one.value)}".rstrip() for one in obligations}


def _shown(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value, order="sorted").decode()


def _difference(what: str, before: set[str], after: set[str]) -> list[str]:
    return [
        *(f"{what}: {one}" for one in sorted(after - before)),
        *(f"no longer {what}: {one}" for one in sorted(before - after)),
    ]


def _count(counted: dict[str, Counter[Verdict]], name: str, verdict: Verdict) -> None:
    name = name if name in counted or len(counted) < NAMED_MAX else OTHERS
    counted.setdefault(name, Counter())[verdict] += 1


def _example(record: DecisionRecord, decision: Decision, change: Change) -> Example:
    reasons = decision.reasons or decision.shadow or record.reasons or record.shadow
    return Example(
        id=record.id,
        at_ms=record.at_ms,
        kind=record.kind,
        user=record.principal.user,
        about=about(record),
        details=change.details,
        message="; ".join(f"{one.rule}: {one.message}" for one in reasons),
        masked=record.masked > 0,
    )


def about(record: DecisionRecord) -> str:
    """What was asked, in a few words: the tool, the model, the type of agent, the script."""
    action = record.action or {}
    names = {
        "infer": ("model",),
        "spawn": ("agent_type", "model"),
        "tool_call": ("tool",),
        "run": ("name", "script_sha256"),
    }
    words = [str(action[name]) for name in names.get(record.kind, ()) if action.get(name)]
    return " ".join(words) or record.tool or "-"
