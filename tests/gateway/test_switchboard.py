"""The switchboard: what trips a breaker, what only cools, and what people see of it."""

from dataclasses import dataclass

import msgspec
import pytest

from gateway.config.model import BreakerConfig, Secret, UpstreamConfig
from gateway.core.routes.cooling import COOLING_MS_MAX
from gateway.core.routes.routing import Route
from gateway.switchboard import HALF_OPEN_RETRY_SECONDS, Switchboard, UpstreamView
from tests.support.clock import FakeClock

OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"
ROUTE = Route(("*",), ("main", "spare"))


@dataclass(frozen=True, slots=True)
class Occupied:
    in_use: int = 0
    waiting: int = 0


def board(clock: FakeClock | None = None, failures: int = 2) -> Switchboard:
    """`main` and `spare`, that open after two failures, for ten seconds."""
    breaker = BreakerConfig(failures=failures, open_seconds=10)
    upstreams = [
        UpstreamConfig("main", "bedrock", base_url="https://u:pw@cloud.example", breaker=breaker),
        UpstreamConfig("spare", "anthropic", api_key=Secret("sk-not-shown"), breaker=breaker),
    ]
    return Switchboard(upstreams, {"main": Occupied(3, 2), "spare": Occupied()}, clock or FakeClock())


def fail(
    switchboard: Switchboard, status: int | None, times: int = 2, retry_after_seconds: float | None = None
) -> None:
    for _ in range(times):
        switchboard.failed("main", status=status, retry_after_seconds=retry_after_seconds, model=OPUS)


def ordered(switchboard: Switchboard, model: str = OPUS, sticky: str | None = None) -> list[str]:
    return switchboard.order(ROUTE, session="s", sticky=sticky, model=model)


def view(switchboard: Switchboard) -> UpstreamView:
    return switchboard.views()[0]


@pytest.mark.parametrize("status", [None, 500, 502, 503, 504, 529, 599])
def test_failure_of_the_upstream_trips_its_breaker(status: int | None) -> None:
    switchboard = board()
    fail(switchboard, status)
    assert ordered(switchboard) == ["spare"] and not switchboard.may_send("main")
    assert view(switchboard).state == "open" and switchboard.may_send("spare")


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 429])
def test_answer_that_is_no_failure_of_the_upstream_never_trips(status: int) -> None:
    switchboard = board()
    fail(switchboard, status, times=50)
    assert ordered(switchboard) == ["main", "spare"] and switchboard.may_send("main")


def test_success_in_between_starts_the_row_anew() -> None:
    switchboard = board()
    fail(switchboard, 500, times=1)
    switchboard.succeeded("main")
    fail(switchboard, 500, times=1)
    assert (view(switchboard).state, view(switchboard).failures) == ("closed", 1)


def test_open_upstream_gets_one_probe_once_its_wait_is_over() -> None:
    clock = FakeClock()
    switchboard = board(clock)
    fail(switchboard, 500)
    clock.advance(10)
    assert ordered(switchboard) == ["main", "spare"]
    assert [switchboard.may_send("main") for _ in range(3)] == [True, False, False]
    assert ordered(switchboard) == ["spare"]
    switchboard.succeeded("main")
    assert ordered(switchboard) == ["main", "spare"] and switchboard.may_send("main")


def test_probe_whose_client_left_is_the_next_ones() -> None:
    clock = FakeClock()
    switchboard = board(clock)
    fail(switchboard, 500)
    clock.advance(10)
    assert switchboard.may_send("main")
    switchboard.abandoned("main")
    assert switchboard.may_send("main") and not switchboard.may_send("main")


@pytest.mark.parametrize("status", [429, 503, 529])
def test_upstream_that_asks_for_time_comes_last_for_that_model_until_then(status: int) -> None:
    clock = FakeClock()
    switchboard = board(clock, failures=99)
    fail(switchboard, status, times=1, retry_after_seconds=30)
    assert ordered(switchboard) == ordered(switchboard, sticky="main") == ["spare", "main"]
    assert ordered(switchboard, HAIKU) == ["main", "spare"] and switchboard.may_send("main")
    clock.advance(30)
    assert ordered(switchboard) == ["main", "spare"]


@pytest.mark.parametrize(
    ("status", "seconds"), [(408, 30.0), (409, 30.0), (500, 30.0), (429, None), (429, 0.0), (None, 30.0)]
)
def test_wish_for_time_counts_only_where_it_means_load(status: int | None, seconds: float | None) -> None:
    switchboard = board(failures=99)
    fail(switchboard, status, times=1, retry_after_seconds=seconds)
    assert ordered(switchboard) == ["main", "spare"]


def test_only_upstream_is_tried_though_it_cools() -> None:
    switchboard = board()
    fail(switchboard, 429, retry_after_seconds=30)
    assert switchboard.order(Route(("*",), ("main",)), session="s", sticky=None, model=OPUS) == ["main"]


def test_clients_are_told_when_the_first_one_is_tried_again() -> None:
    clock = FakeClock()
    switchboard = board(clock)
    fail(switchboard, None)
    clock.advance(2.5)
    switchboard.failed("spare", status=None, retry_after_seconds=None, model=OPUS)
    switchboard.failed("spare", status=None, retry_after_seconds=None, model=OPUS)
    assert switchboard.retry_after_seconds(["main", "spare"]) == 8
    assert switchboard.retry_after_seconds(["spare"]) == 10
    clock.advance(8)
    assert switchboard.retry_after_seconds(["main", "spare"]) == 1


def test_clients_wait_a_moment_while_a_probe_is_under_way() -> None:
    clock = FakeClock()
    switchboard = board(clock)
    fail(switchboard, None)
    clock.advance(10)
    assert switchboard.may_send("main")
    assert switchboard.retry_after_seconds(["main"]) == HALF_OPEN_RETRY_SECONDS
    assert switchboard.retry_after_seconds(["main", "spare"]) == switchboard.retry_after_seconds([]) == 1


def test_view_says_what_happened_and_when() -> None:
    clock = FakeClock()
    switchboard = board(clock)
    switchboard.succeeded("main")
    clock.advance(1)
    opened_ms = clock.now_ms
    fail(switchboard, 529, retry_after_seconds=10**9)
    clock.advance(5)
    shown = view(switchboard)
    assert (shown.id, shown.backend, shown.state, shown.failures) == ("main", "bedrock", "open", 2)
    assert (shown.opened_at_ms, shown.retry_at_ms) == (opened_ms, opened_ms + 10_000)
    assert shown.cooling == {OPUS: opened_ms + COOLING_MS_MAX}
    assert (shown.in_use, shown.waiting, shown.requests_total, shown.failures_total) == (3, 2, 3, 2)
    assert (shown.last_error, shown.last_error_at_ms) == ("answered with status 529", opened_ms)


def test_view_of_an_upstream_that_fares_well_is_bare() -> None:
    switchboard = board()
    switchboard.succeeded("main")
    shown = view(switchboard)
    assert (shown.state, shown.opened_at_ms, shown.retry_at_ms, shown.cooling) == ("closed", None, None, {})
    assert (shown.last_error, shown.last_error_at_ms) == (None, None)


def test_times_are_right_after_the_machines_clock_was_set() -> None:
    clock = FakeClock()
    switchboard = board(clock)
    fail(switchboard, None)
    clock.now_ms -= 3_600_000
    assert view(switchboard).opened_at_ms == clock.now_ms
    assert not switchboard.may_send("main")


def test_views_hold_no_address_and_no_secret() -> None:
    shown = msgspec.json.encode(board().views())
    assert b"cloud.example" not in shown and b"pw" not in shown and b"sk-not-shown" not in shown
    assert b'"main"' in shown
