"""Scripts that name ever new models: what is kept of them does not grow."""

from runtime.core.governor import KNOWN_MAX, Governor


def test_w96_names_that_come_and_go_are_forgotten_and_what_is_open_or_restrained_is_not() -> None:
    governor = Governor(4)
    governor.enter("open", 0.0)
    governor.enter("burst", 0.0)
    governor.burst("burst", 0.0)
    governor.leave("burst")
    for number in range(10 * KNOWN_MAX):
        governor.enter(f"model {number}", 0.0)
        governor.leave(f"model {number}")
    assert len(governor.gauges()) <= KNOWN_MAX
    assert (governor.gauges()["open"], governor.gauges()["burst"]) == (4, 1)
