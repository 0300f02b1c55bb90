"""The breaker: its table, its times, and a machine with the rules as sentences."""

from dataclasses import dataclass, field
from itertools import product
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.routes.breaker import (
    CLOSED,
    OPEN_MS_MAX,
    PROBE_MS_MAX,
    STATES,
    TRANSITIONS,
    Breaker,
    BreakerSettings,
    Event,
    Outcome,
    State,
    claim,
    step,
)

NOW = 5_000_000
THREE = BreakerSettings(failures=3, open_ms=10_000)


def after(*outcomes: Outcome, start: Breaker = CLOSED, now_ms: int = NOW) -> Breaker:
    for outcome in outcomes:
        start = step(start, outcome, settings=THREE, now_ms=now_ms)
    return start


def claimed(breaker: Breaker, now_ms: int) -> Breaker:
    passed = claim(breaker, now_ms)
    assert passed is not None
    return passed


OPEN = after("failed", "failed", "failed")
PROBING = claimed(OPEN, NOW + 10_000)


def test_table_holds_only_the_legal_transitions() -> None:
    illegal = set(product(get_args(State), get_args(Event))) - TRANSITIONS.keys()
    assert illegal == {("closed", "claimed"), ("open", "tripped"), ("half_open", "failed")}
    assert set(STATES) == set(get_args(State)) == set(TRANSITIONS.values())


def test_success_closes_whatever_the_state() -> None:
    assert {after("succeeded", start=each) for each in (CLOSED, after("failed"), OPEN, PROBING)} == {CLOSED}


def test_breaker_opens_at_the_configured_failures_in_a_row() -> None:
    assert after("failed", "failed").state == "closed"
    assert (OPEN.state, OPEN.opened_at_ms, OPEN.retry_at_ms) == ("open", NOW, NOW + 10_000)
    assert after("failed", "failed", "succeeded", "failed", "failed").state == "closed"


def test_answer_that_is_neither_leaves_the_row_standing() -> None:
    assert after("failed", "failed", "answered").failures == 2
    assert after("failed", "failed", "answered", "failed").state == "open"


def test_one_failure_opens_when_one_is_the_limit() -> None:
    assert step(CLOSED, "failed", settings=BreakerSettings(failures=1), now_ms=NOW).state == "open"


def test_open_breaker_passes_nothing_until_its_wait_is_over() -> None:
    assert not OPEN.passes(NOW + 9_999) and claim(OPEN, NOW + 9_999) is None
    assert OPEN.passes(NOW + 10_000) and PROBING.state == "half_open"


def test_only_one_probe_goes_out() -> None:
    assert not PROBING.passes(NOW + 10_001)
    assert claim(PROBING, NOW + 10_001) is None


def test_probe_without_an_outcome_is_given_up_for_another() -> None:
    given_up_ms = NOW + 10_000 + PROBE_MS_MAX
    assert claim(PROBING, given_up_ms - 1) is None
    another = claimed(PROBING, given_up_ms)
    assert another.state == "half_open" and claim(another, given_up_ms) is None


def test_probe_that_the_client_left_makes_room_for_the_next_request() -> None:
    left = after("abandoned", start=PROBING, now_ms=NOW + 10_500)
    assert left.state == "open" and left.passes(NOW + 10_500)
    assert left.trips == OPEN.trips


@pytest.mark.parametrize("outcome", ["abandoned", "answered", "failed"])
def test_outcome_of_an_earlier_request_does_not_move_an_open_breaker(outcome: Outcome) -> None:
    late = after(outcome, start=OPEN, now_ms=NOW + 5_000)
    assert (late.state, late.retry_at_ms, late.trips) == ("open", OPEN.retry_at_ms, OPEN.trips)


def test_client_that_leaves_a_closed_breaker_changes_nothing() -> None:
    assert after("failed", "abandoned") == after("failed")


def test_rate_limited_probe_closes_because_it_was_answered() -> None:
    assert after("answered", start=PROBING) == CLOSED


def test_wait_doubles_while_probes_fail_up_to_the_longest() -> None:
    breaker, now_ms, waits = OPEN, NOW, [OPEN.retry_at_ms - NOW]
    for _ in range(40):
        now_ms = breaker.retry_at_ms
        breaker = after("failed", start=claimed(breaker, now_ms), now_ms=now_ms)
        waits.append(breaker.retry_at_ms - now_ms)
    assert waits[:4] == [10_000, 20_000, 40_000, 80_000] and set(waits[6:]) == {OPEN_MS_MAX}
    assert breaker.opened_at_ms == NOW


def test_wait_is_short_again_after_a_success() -> None:
    twice = after("failed", start=PROBING)
    again = after("succeeded", "failed", "failed", "failed", start=twice)
    assert again.retry_at_ms - NOW == 10_000


def test_longer_wait_than_the_longest_is_kept_as_configured() -> None:
    hour = BreakerSettings(failures=1, open_ms=3_600_000)
    opened = step(CLOSED, "failed", settings=hour, now_ms=0)
    again = step(claimed(opened, opened.retry_at_ms), "failed", settings=hour, now_ms=opened.retry_at_ms)
    assert again.retry_at_ms == 2 * 3_600_000


@dataclass(eq=False)
class Sent:
    """A request on its way."""

    at_ms: int


@dataclass
class Log:
    """What an onlooker knows without looking into the breaker."""

    in_a_row: int = 0
    probes_ms: list[int] = field(default_factory=list[int])
    settled: bool = True
    """The latest probe has an outcome, or was given up."""


class Sends(RuleBasedStateMachine):
    """Requests go out where they may, end in any order and any way, or never, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CLOSED
        self.now_ms = NOW
        self.flying: list[Sent] = []
        self.log = Log()

    @rule(ms=st.sampled_from([1, 999, 10_000, 45_000, PROBE_MS_MAX, OPEN_MS_MAX]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def send(self) -> None:
        before, could = self.breaker, self.breaker.passes(self.now_ms)
        passed = claim(before, self.now_ms)
        assert (passed is not None) == could, "what may pass passes"
        if passed is None:
            return
        probe = before.state != "closed"
        if probe:
            overdue = not self.log.probes_ms or self.now_ms - self.log.probes_ms[-1] >= PROBE_MS_MAX
            assert self.log.settled or overdue, "a second probe went out while the first was on its way"
            self.log.probes_ms.append(self.now_ms)
            self.log.settled = False
        self.breaker = passed
        self.flying.append(Sent(self.now_ms))

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), outcome=st.sampled_from(get_args(Outcome)))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        self.flying.remove(data.draw(st.sampled_from(self.flying)))
        before = self.breaker
        self.breaker = step(before, outcome, settings=THREE, now_ms=self.now_ms)
        if before.state == "half_open":
            self.log.settled = True
        if outcome == "succeeded":
            assert self.breaker == CLOSED, "a success closes"
        self.log.in_a_row = 0 if outcome == "succeeded" else self.log.in_a_row + (outcome == "failed")
        if before.state == "half_open" and outcome == "answered":
            self.log.in_a_row = 0
        if before.state == "half_open" and outcome == "failed":
            assert self.breaker.retry_at_ms - self.now_ms >= THREE.open_ms, "a failed probe makes everybody wait"

    @invariant()
    def it_is_closed_exactly_while_fewer_than_the_limit_failed_in_a_row(self) -> None:
        assert (self.breaker.state == "closed") == (self.log.in_a_row < THREE.failures)
        assert self.breaker.failures == self.log.in_a_row

    @invariant()
    def nobody_waits_longer_than_the_longest(self) -> None:
        if self.breaker.state != "closed":
            assert self.breaker.retry_at_ms - self.now_ms <= OPEN_MS_MAX
            assert self.breaker.passes(self.now_ms + OPEN_MS_MAX)

    @invariant()
    def it_knows_since_when_it_is_not_closed(self) -> None:
        assert (self.breaker.opened_at_ms is None) == (self.breaker.state == "closed")


TestBreakerMachine = Sends.TestCase
TestBreakerMachine.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
