"""Paces of the demo: the fastest waits for nothing."""

from gateway.commands.demo.pace import DEFAULT_PACE, PACES


def test_fast_pace_has_no_pause_at_all() -> None:
    assert PACES["fast"].pause_seconds == 0 and set(PACES["fast"].scripted.values()) == {0}


def test_paces_get_slower_by_name() -> None:
    fast, live, slow = PACES["fast"], PACES[DEFAULT_PACE], PACES["slow"]
    assert fast.first_token_seconds < live.first_token_seconds < slow.first_token_seconds
    assert live.tokens_per_second > slow.tokens_per_second and live.pause_seconds < slow.pause_seconds
