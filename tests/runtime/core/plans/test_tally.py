"""Counts of a rehearsal."""

import pytest

from runtime.core.model import CallOptions, Scope
from runtime.core.plans.forecast import CallCount, FanOutCount, PhaseCount
from runtime.core.plans.tally import FAN_OUTS_MAX, WARNINGS_MAX, Tally
from runtime.core.program import AgentOp


def test_w144_calls_are_counted_by_phase_and_by_what_they_ask_for() -> None:
    tally = Tally()
    for model in (None, "haiku", None):
        tally.call(CallOptions(model=model, effort="low"), "P")
    tally.call(CallOptions(agent_type="Explore"), None)
    told = tally.told("returned", "")
    assert told.phases == (PhaseCount(title="P", calls=3), PhaseCount(title=None, calls=1))
    assert told.models == (
        CallCount(phase="P", model=None, agent_type=None, effort="low", calls=2),
        CallCount(phase="P", model="haiku", agent_type=None, effort="low", calls=1),
        CallCount(phase=None, model=None, agent_type="Explore", effort=None, calls=1),
    )


@pytest.mark.parametrize(
    ("groups", "path"),
    [
        pytest.param(["/0.1/0", "/0.22/0"], "/0.*/0", id="items"),
        pytest.param(["/b0", "/b17"], "/b*", id="batches"),
        pytest.param(["/b0.1/b0.1/b0", "/b0.1/b0.0/b3"], "/b*.*/b*", id="chains"),
    ],
)
def test_w144_groups_of_one_place_are_told_together(groups: list[str], path: str) -> None:
    tally = Tally()
    for items, group in enumerate(groups, 2):
        tally.group(group, items)
    assert tally.told("returned", "").fan_outs == (FanOutCount(path=path, groups=2, items_max=3, items=5),)


def test_w144_calls_side_by_side_are_a_group() -> None:
    tally = Tally()
    calls = [AgentOp(id=i, scope=Scope(""), prompt="p", options=CallOptions()) for i in range(2)]
    tally.batches(calls, [Scope("/b0.0"), Scope("/b0.1")])
    tally.batches(calls[:1], [Scope("")])
    assert [(each.path, each.items) for each in tally.told("returned", "").fan_outs] == [("/b*", 2)]


def test_w144_what_is_told_is_bounded() -> None:
    tally = Tally()
    for number in range(200):
        tally.group(f"/{number}", number)
        tally.warn(f"w{number % 100}")
    told = tally.told("calls", "m")
    assert (len(told.fan_outs), len(told.warnings), told.fan_outs[0].items) == (FAN_OUTS_MAX, WARNINGS_MAX, 199)
    assert not told.terminated
