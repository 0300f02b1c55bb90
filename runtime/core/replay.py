"""What of an earlier run a resumed one takes over (W154 to W163). Decides call by call; delivers nothing itself.
How a resumed run goes along the old one is `walks.py`.

lineage  every branch of the script has its list of calls, replayed up to its first miss. A miss makes everything later
         in its branch and in the branches above it live; branches beside it go on by themselves, and a branch that is
         begun below a live one is live. Calls of one drain cannot depend on each other: a miss counts from the next.
prefix   one list over the whole run, in the order of starts; after the first miss everything is live.
none     everything is live.
"""

from collections.abc import Container
from dataclasses import dataclass

import msgspec

from runtime.core.journal import NestedLine, ResultLine
from runtime.core.model import OPEN_STATES, CallIndex, CallOptions, ResumeMode, Scope, Usage, Worktree, raw_of
from runtime.core.program import WorkflowOp
from runtime.core.recorded import Past, Recorded
from runtime.core.walks import Branches, MissReason, OneList


class NothingToResume(Exception):
    """There is no result to go on from, or the run is not over; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Hit:
    """The result of an old call is the new one's."""

    result: ResultLine
    usage: Usage
    """Of all attempts that the old call took (W117)."""

    @property
    def seq(self) -> int:
        """When the old script got it: hits are delivered in this order, before anything live (W39)."""
        return self.result.seq

    @property
    def value(self) -> msgspec.Raw | None:
        return raw_of(self.result.value)

    @property
    def ref(self) -> str | None:
        return self.result.ref

    @property
    def model(self) -> str | None:
        return self.result.model

    @property
    def worktree(self) -> Worktree | None:
        return self.result.worktree


@dataclass(frozen=True, slots=True)
class Miss:
    """The call runs. `past`: what stood in its place, if anything did."""

    reason: MissReason
    past: Past | None = None


def check_resumable(recorded: Recorded) -> None:
    """Raises `NothingToResume` (W154): a resume is never silently a fresh start."""
    run = recorded.spec.id
    if recorded.state in OPEN_STATES and recorded.paused_for != "host_restart":
        text = f"run {run} is {recorded.state.replace('_', ' ')}: go on with it in place, or stop it first"
        raise NothingToResume(text)
    if recorded.completed == 0:
        raise NothingToResume(f"nothing to resume: no agent of run {run} has completed; start the workflow afresh")


class Replay:
    """Asked about every call of a resumed run, in the order in which its script issues them.

    `gone`: calls whose worktree is not as they left it (W161).
    """

    def __init__(
        self, recorded: Recorded, mode: ResumeMode, *, gone: Container[CallIndex] = (), args_changed: bool = False
    ) -> None:
        self._walk: Branches | OneList | None = None
        if mode == "lineage":
            self._walk = Branches(recorded)
        elif mode == "prefix":
            self._walk = OneList(recorded)
        self._gone = gone
        self._changed: MissReason = "args_changed" if args_changed else "changed_prompt"
        self._nested: dict[int, tuple[NestedLine | None, Scope]] = {}

    def next_drain(self) -> None:
        """What is asked from now on was issued after a delivery. Never told, each call counts as a drain of its own."""
        if self._walk is not None:
            self._walk.next_drain()

    def issued(self, key: str, scope: Scope, options: CallOptions) -> Hit | Miss:
        """A call was accepted."""
        if self._walk is None:
            return Miss("never")
        past, live = self._walk.reach(scope)
        reason = "never" if options.cache == "never" else live or self._objection(past, key)
        if past is not None and past.result is not None and reason is None:
            return Hit(past.result, past.usage)
        self._walk.spoil(scope)
        return Miss(reason or "failed", past)

    def refused(self, scope: Scope) -> None:
        """A call was not accepted: whatever follows it follows something else than before."""
        if self._walk is not None:
            self._walk.reach(scope)
            self._walk.spoil(scope)

    def group(self, scope: Scope, group: str) -> None:
        """A `parallel` or `pipeline` began."""
        if self._walk is not None:
            self._walk.begin_group(scope, group)

    def nested_asked(self, op: WorkflowOp) -> None:
        """The script called `workflow()`."""
        if self._walk is not None:
            self._nested[op.id] = self._walk.reach_nested(op.scope)

    def nested_found(self, op: WorkflowOp, source_sha256: str | None) -> int | None:
        """When the old script got the same source (None: there is none): this one gets it in the same order (W39).

        If it is another one, its calls and what follows run live (W111).
        """
        old, child = self._nested.pop(op.id, (None, op.scope))
        if old is not None and old.source_sha256 == source_sha256:
            return old.seq
        if self._walk is not None:
            self._walk.spoil_nested(child)
        return None

    def _objection(self, past: Past | None, key: str) -> MissReason | None:
        if past is None:
            return "new"
        if past.issued.key != key:
            return self._changed
        if past.result is None:
            return "failed" if past.failed else "unfinished"
        if past.result.steered:
            return "steered"
        isolated = past.issued.options.isolation is not None
        if isolated and (past.result.worktree is None or past.index in self._gone):
            return "worktree_gone"
        return None
