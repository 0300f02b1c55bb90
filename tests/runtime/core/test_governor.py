"""How many requests an upstream is given at once after it has refused some."""

from runtime.core.governor import BURST_SECONDS, QUIET_SECONDS, Governor


def filled(governor: Governor, requests: int) -> Governor:
    for _ in range(requests):
        assert governor.enter("a", 0.0)
    return governor


def test_w96_a_burst_halves_what_may_be_open() -> None:
    governor = filled(Governor(64), 16)
    assert governor.burst("a", 1.0) == 8
    assert not governor.enter("a", 1.0)


def test_w96_refusals_of_one_burst_count_once() -> None:
    governor = filled(Governor(64), 16)
    governor.burst("a", 1.0)
    assert governor.burst("a", 1.0 + BURST_SECONDS / 2) is None
    assert governor.burst("a", 1.0 + BURST_SECONDS) == 4


def test_w96_one_more_is_allowed_per_quiet_minute() -> None:
    governor = filled(Governor(64), 4)
    governor.burst("a", 0.0)
    assert governor.allowed("a", QUIET_SECONDS - 1) == 2
    assert governor.allowed("a", QUIET_SECONDS) == 3
    assert governor.allowed("a", 3 * QUIET_SECONDS) == 5


def test_limit_that_has_grown_to_the_ceiling_is_gone() -> None:
    governor = filled(Governor(4), 4)
    governor.burst("a", 0.0)
    assert governor.allowed("a", 2 * QUIET_SECONDS) == 4
    assert governor.gauges() == {"a": 4}


def test_one_is_always_allowed() -> None:
    governor = filled(Governor(64), 1)
    assert [governor.burst("a", 10.0 * step) for step in range(3)] == [1, 1, 1]


def test_upstreams_are_held_apart() -> None:
    governor = filled(Governor(64), 8)
    governor.burst("a", 0.0)
    assert governor.enter("b", 0.0)
    assert governor.allowed("b", 0.0) == 64


def test_place_that_is_given_back_can_be_taken() -> None:
    governor = filled(Governor(2), 2)
    assert not governor.enter("a", 0.0)
    governor.leave("a")
    assert governor.enter("a", 0.0)
