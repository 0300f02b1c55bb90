"""Who answers in a rehearsal instead of agents: stubs for a dry run, understudies for the plan of a resume.

They give values and keep the books of a plan; when the script gets an answer is `rehearsal.py`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import msgspec

from runtime.core.display import label_of
from runtime.core.journal import call_key
from runtime.core.model import CallOptions, Scope, Usage, raw_of
from runtime.core.plans.forecast import MISSED_MAX, Means, Missed
from runtime.core.plans.preview import ASSUMED_TOKENS
from runtime.core.plans.samples import sample_value
from runtime.core.program import AgentOp, GroupOp, WorkflowOp
from runtime.core.recorded import Recorded
from runtime.core.replay import Hit, Replay
from runtime.core.walks import MissReason


@dataclass(frozen=True, slots=True)
class Cue:
    """An answer that is ready. With a `seq` it is delivered before those that have none, in this order."""

    value: msgspec.Raw
    output_tokens: int
    seq: int | None = None


class Cast(Protocol):
    """Who answers instead of agents."""

    def next_drain(self) -> None: ...
    def answer(self, op: AgentOp, scope: Scope, phase: str | None) -> Cue: ...
    def refuse(self, scope: Scope) -> None: ...
    def group(self, op: GroupOp) -> None: ...
    def nested_asked(self, op: WorkflowOp) -> None: ...
    def nested_found(self, op: WorkflowOp, source_sha256: str | None) -> int | None: ...


class Stubs:
    """Answers by schema, or as an earlier run had them."""

    def __init__(self, earlier: Recorded | None) -> None:
        self._by_key: dict[str, msgspec.Raw] = {}
        self._by_label: dict[tuple[str | None, bytes], msgspec.Raw] = {}
        for past in earlier.calls.values() if earlier is not None else ():
            if past.result is not None and isinstance(past.result.value, msgspec.Raw):
                self._by_key[past.issued.key] = past.result.value
                self._by_label[_likeness(past.issued.options)] = past.result.value

    def next_drain(self) -> None:
        """Nothing depends on it."""

    def answer(self, op: AgentOp, scope: Scope, phase: str | None) -> Cue:
        value = self._by_key.get(call_key(op.prompt, op.options))
        if value is None and op.options.label is not None:
            value = self._by_label.get(_likeness(op.options))
        return Cue(value or _sample(op.options), ASSUMED_TOKENS.output)

    def refuse(self, scope: Scope) -> None:
        """Nothing depends on it."""

    def group(self, op: GroupOp) -> None:
        """Nothing depends on it."""

    def nested_asked(self, op: WorkflowOp) -> None:
        """Nothing depends on it."""

    def nested_found(self, op: WorkflowOp, source_sha256: str | None) -> int | None:
        """Nothing depends on it."""


class Understudies:
    """Answer what a resume takes over; for the rest they say what was said before, as far as that is known."""

    def __init__(self, recorded: Recorded, replay: Replay) -> None:
        self.hits = 0
        self.saved = Usage()
        self.reasons: Counter[MissReason] = Counter()
        self.missed: list[Missed] = []
        self.estimate = Usage()
        self._replay = replay
        self._means = Means(recorded)
        self._calls = 0

    def next_drain(self) -> None:
        self._replay.next_drain()

    def answer(self, op: AgentOp, scope: Scope, phase: str | None) -> Cue:
        index = self._calls
        self._calls += 1
        answer = self._replay.issued(call_key(op.prompt, op.options), scope, op.options)
        if isinstance(answer, Hit):
            self.hits += 1
            self.saved += answer.usage
            return Cue(answer.value or _sample(op.options), answer.usage.tokens.output, answer.seq)
        self.reasons[answer.reason] += 1
        if len(self.missed) < MISSED_MAX:
            label = label_of(op.prompt, op.options)
            self.missed.append(Missed(index=index, label=label, phase=phase, reason=answer.reason))
        usage = self._means.of(phase, answer.past)
        self.estimate += usage
        past = answer.past
        said = None if past is None or past.result is None else raw_of(past.result.value)
        return Cue(said or _sample(op.options), usage.tokens.output)

    def refuse(self, scope: Scope) -> None:
        self._calls += 1
        self._replay.refused(scope)

    def group(self, op: GroupOp) -> None:
        self._replay.group(op.scope, op.group)

    def nested_asked(self, op: WorkflowOp) -> None:
        self._replay.nested_asked(op)

    def nested_found(self, op: WorkflowOp, source_sha256: str | None) -> int | None:
        return self._replay.nested_found(op, source_sha256)


def _likeness(options: CallOptions) -> tuple[str | None, bytes]:
    """Calls that are alike enough for one to answer as the other did."""
    return options.label, msgspec.json.encode(options.schema, order="deterministic")


def _sample(options: CallOptions) -> msgspec.Raw:
    value = "sample" if options.schema is None else sample_value(options.schema)
    return msgspec.Raw(msgspec.json.encode(value))
