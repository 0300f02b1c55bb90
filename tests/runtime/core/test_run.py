"""The census of a run."""

from runtime.core.model import Outcome
from runtime.core.recovery import Recovered
from runtime.core.run import Census, Run
from tests.runtime.core.play import spec


def test_w174_the_census_tells_every_way_in_which_a_call_ends() -> None:
    census = Census(planned=7, done=2, null=1, threw=1, refused=1, stopped=1, cached=1)
    assert census.outcome() == Outcome(planned=7, done=2, null=1, threw=1, refused=1, stopped=1, cached=1)
    assert census.outcome().degraded
    assert not Census(planned=3, done=2, cached=1).outcome().degraded


def test_settlements_are_numbered_on_from_the_journal() -> None:
    run = Run(spec(), None, Recovered(seq=4))
    assert [run.next_seq(), run.next_seq()] == [4, 5]


def test_raised_cap_of_before_stands() -> None:
    assert Run(spec(max_cost_nanousd=5), None, Recovered(max_cost_nanousd=9)).max_cost_nanousd == 9
    assert Run(spec(max_cost_nanousd=5), None, Recovered()).max_cost_nanousd == 5
