"""Metrics that are read where they are counted, at the moment somebody looks. Nothing is counted here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.core.money.budgets import SHARED_KINDS, LimitView
from gateway.core.money.limits import kind_of
from gateway.core.money.pricing import NANOUSD_PER_USD
from gateway.core.routes.breaker import STATES
from gateway.telemetry.blast_metrics import BlastSources
from gateway.telemetry.families import bounded, flag
from gateway.telemetry.policy_metrics import PolicySources
from gateway.telemetry.run_metrics import OpenRuns

COST = "cost"
LIMITS_MAX = 256
"""Distinct limits that become labels; operators and policies make them."""


class UpstreamGauges(Protocol):
    """What is shown of an upstream at this moment."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def in_use(self) -> int: ...
    @property
    def waiting(self) -> int: ...


def _zero() -> int:
    return 0


def _nobody() -> Sequence[UpstreamGauges]:
    return ()


def _no_budgets() -> Iterable[LimitView]:
    return ()


def _up() -> bool:
    return True


@dataclass(slots=True)
class Live:
    """What is counted elsewhere and read only when the metrics are. Filled in as its sources come to life."""

    active_sessions: Callable[[], int] = _zero
    active_agents: Callable[[], int] = _zero
    audit_failures: Callable[[], int] = _zero
    upstreams: Callable[[], Sequence[UpstreamGauges]] = _nobody
    budgets: Callable[[], Iterable[LimitView]] = _no_budgets
    """Every limit, on each account that it applies to and that is known."""
    holds_open: Callable[[], int] = _zero
    hold_oldest_seconds: Callable[[], float] = _zero
    drains: Callable[[], int] = _zero
    """Answers that are read to their end after their client left."""
    store_up: Callable[[], bool] = _up
    store_journal_entries: Callable[[], int] = _zero
    """Settlements that were written aside while the store was away, and wait to be replayed."""
    policy: PolicySources = field(default_factory=PolicySources)
    blast: BlastSources | None = None
    runs: OpenRuns | None = None


class LiveCollector(Collector):
    """Asks `Live` at each scrape."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Every live metric, also when there is nothing to show."""
        live = self._live
        for name, meaning, figure in (
            ("active_sessions", "Sessions at work.", live.active_sessions()),
            ("active_agents", "Agents at work.", live.active_agents()),
            ("holds_open", "Holds that have not ended.", live.holds_open()),
            ("hold_oldest_seconds", "Age of the oldest open hold.", live.hold_oldest_seconds()),
            ("drains_in_flight", "Answers being read for their usage after their client left.", live.drains()),
            ("store_up", "1 while the store takes holds.", float(live.store_up())),
            ("store_journal_entries", "Settlements that wait to be replayed.", live.store_journal_entries()),
        ):
            yield GaugeMetricFamily(f"ringfence_{name}", meaning, figure)
        yield CounterMetricFamily(
            "ringfence_audit_failures", "Audit records that could not be written.", live.audit_failures()
        )
        yield from _upstream_gauges(live.upstreams())
        yield from _budget_gauges(live.budgets())


def _upstream_gauges(upstreams: Sequence[UpstreamGauges]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "ringfence_upstream_state", "1 for the state of the upstream's breaker.", labels=("upstream", "state")
    )
    in_use = GaugeMetricFamily("ringfence_upstream_in_use", "Requests it is at work on.", labels=("upstream",))
    waiting = GaugeMetricFamily("ringfence_upstream_waiting", "Requests that wait for a place.", labels=("upstream",))
    for upstream in upstreams:
        for each in STATES:
            state.add_metric((upstream.id, each), float(each == upstream.state))
        in_use.add_metric((upstream.id,), upstream.in_use)
        waiting.add_metric((upstream.id,), upstream.waiting)
    yield from (state, in_use, waiting)


def _budget_gauges(views: Iterable[LimitView]) -> Iterator[Metric]:
    money = ("limit", "account", "window", "strict")
    counts = ("limit", "account", "meter", "window")
    most = GaugeMetricFamily("ringfence_budget_limit_usd", "The limit in dollars.", labels=money)
    used = GaugeMetricFamily("ringfence_budget_used_usd", "Dollars spent of it in its window.", labels=money)
    held = GaugeMetricFamily("ringfence_budget_held_usd", "Dollars held of it.", labels=money)
    resets = GaugeMetricFamily(
        "ringfence_budget_resets_timestamp_seconds", "When its window ends, in Unix time.", labels=money
    )
    quota = GaugeMetricFamily("ringfence_quota_limit", "The limit as a count.", labels=counts)
    quota_used = GaugeMetricFamily("ringfence_quota_used", "Counted in its window.", labels=counts)
    quota_held = GaugeMetricFamily("ringfence_quota_held", "Held of it.", labels=counts)
    for (meter, labels), shown in _fullest(views).items():
        if meter == COST:
            most.add_metric(labels, shown.max / NANOUSD_PER_USD)
            used.add_metric(labels, shown.used / NANOUSD_PER_USD)
            held.add_metric(labels, shown.held / NANOUSD_PER_USD)
            if shown.resets_at_ms is not None:
                resets.add_metric(labels, shown.resets_at_ms / 1000)
        else:
            quota.add_metric(labels, shown.max)
            quota_used.add_metric(labels, shown.used)
            quota_held.add_metric(labels, shown.held)
    yield from (most, used, held, resets, quota, quota_used, quota_held)


class _Shown(NamedTuple):
    max: int
    used: int
    held: int
    resets_at_ms: int | None

    @property
    def fullness(self) -> float:
        return (self.used + self.held) / max(self.max, 1)


def _fullest(views: Iterable[LimitView]) -> dict[tuple[str, tuple[str, ...]], _Shown]:
    """By meter and labels; where several accounts share these, the account that is nearest to its limit."""
    chosen: dict[tuple[str, tuple[str, ...]], _Shown] = {}
    limits: set[str] = set()
    for view in views:
        row, series = view.row, view.series
        if row is None or row.max is None:
            continue
        limit, account = bounded(row.id, limits, LIMITS_MAX), account_label(series.account, row.per)
        if series.meter == COST:
            labels = (limit, account, series.window, flag(row.strict))
        else:
            labels = (limit, account, series.meter, series.window)
        shown = _Shown(row.max, view.used, view.held, view.resets_at_ms)
        rival = chosen.get((series.meter, labels))
        if rival is None or shown.fullness > rival.fullness:
            chosen[series.meter, labels] = shown
    return chosen


def account_label(account: str, per: str | None) -> str:
    """A shared pool by its name; of a limit that many have each, and of a person's account, the kind alone."""
    kind = per or kind_of(account)
    return account if per is None and kind in SHARED_KINDS else kind
