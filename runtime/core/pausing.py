"""Why a run waits, and what lets it go on (W118, W126, W129, W130). It may wait for several reasons at once: what is
over by itself lifts one of them, a person's resume lifts all.
"""

from collections.abc import Collection

import msgspec

from runtime.core.display import dollars
from runtime.core.happenings import PauseAsked, ResumeAsked, SetFrozen
from runtime.core.journal import StateLine, lifted_line
from runtime.core.model import PauseReason
from runtime.core.run import Run
from runtime.core.transitions import Illegal, next_state

FREEZING: frozenset[PauseReason] = frozenset({"budget", "quota"})
"""Reasons for which agents wait too: their next request would only be refused (W118, W126)."""
RAISE = "raise the cap with a resume (maxCostUsd, --max-cost)"


def pause(run: Run, event: PauseAsked) -> None:
    """Raises `Illegal` for a person who pauses what a person has paused."""
    if run.state == "paused" and event.reason in run.pauses:
        if event.by is not None:
            raise Illegal(run.state, "pause")
        return
    before = run.state
    if run.state != "paused":
        run.state = next_state(run.state, "pause")
    run.pauses[event.reason] = event.until_ms
    run.write(
        StateLine(
            at_ms=run.now_ms,
            before=before,
            after="paused",
            reason=event.reason,
            by=event.by,
            until_ms=event.until_ms,
            message=event.message,
        )
    )
    if (event.freeze or event.reason in FREEZING) and not run.frozen:
        run.frozen = True
        run.order(SetFrozen(True))


def pause_at_cap(run: Run) -> None:
    """Its cost has reached its own cap, if it has (W118)."""
    cap = run.max_cost_nanousd
    if cap is not None and run.spend.cost_nanousd >= cap:
        text = f"the run has cost {dollars(run.spend.cost_nanousd)} of its {dollars(cap)}; {RAISE}"
        pause(run, PauseAsked("budget", message=text))


def resume(run: Run, event: ResumeAsked) -> None:
    """Raises `Illegal`, also while the cap that it would have then is reached."""
    after = next_state(run.state, "resume")
    cap = event.max_cost_nanousd
    most = run.max_cost_nanousd if cap is None else cap
    if most is not None and run.spend.cost_nanousd >= most:
        text = f"its cost ({dollars(run.spend.cost_nanousd)}) has reached its cap ({dollars(most)})"
        raise Illegal(run.state, f"resume while {text}: {RAISE}")
    run.max_cost_nanousd = most
    line = StateLine(at_ms=run.now_ms, before=run.state, after=after, reason="resumed", by=event.by)
    _go_on(run, msgspec.structs.replace(line, max_cost_nanousd=cap, message=event.message))


def lift(run: Run, reason: PauseReason) -> None:
    """It is over: the run goes on, unless it waits for something else too."""
    if reason not in run.pauses or (reason == "budget" and not waits_for_room(run)):
        return
    del run.pauses[reason]
    if not run.pauses:
        after = next_state(run.state, "resume")
        _go_on(run, StateLine(at_ms=run.now_ms, before=run.state, after=after, reason="raised"))
    else:
        run.write(lifted_line(run.now_ms, reason))


def dues(run: Run) -> list[int]:
    """When its pauses are over by themselves."""
    return [until_ms for reason, until_ms in run.pauses.items() if until_ms is not None and _may_lift(run, reason)]


def lift_due(run: Run) -> None:
    """Those whose time is over."""
    for reason, until_ms in list(run.pauses.items()):
        if until_ms is not None and until_ms <= run.now_ms and _may_lift(run, reason):
            lift(run, reason)


def over_ms(run: Run, lifted: Collection[PauseReason] = ()) -> int | None:
    """When it waits for nothing but to be told, or 0; `lifted`: what is over already. None: that is not known."""
    over = 0
    for reason, until_ms in run.pauses.items():
        if reason == "budget" and not waits_for_room(run):
            return None
        if until_ms is None and reason not in lifted:
            return None
        over = max(over, until_ms or 0)
    return over


def _may_lift(run: Run, reason: PauseReason) -> bool:
    """The last pause of a run whose script has no process ends only when it is told so: a place may be missing."""
    return (run.is_open or len(run.pauses) > 1) and (reason != "budget" or waits_for_room(run))


def waits_for_room(run: Run) -> bool:
    """A limit on its owner's spending has paused it, not its own cap (W118)."""
    cap = run.max_cost_nanousd
    return "budget" in run.pauses and (cap is None or run.spend.cost_nanousd < cap)


def _go_on(run: Run, line: StateLine) -> None:
    run.write(line)
    run.state = line.after
    run.pauses.clear()
    if run.frozen:
        run.frozen = False
        run.order(SetFrozen(False))
