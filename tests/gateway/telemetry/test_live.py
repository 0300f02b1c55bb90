"""Budgets as they are at the moment of a scrape: under which labels, and what is never one."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import LimitRow, Meter
from gateway.core.money.windows import Window
from gateway.telemetry.live import LIMITS_MAX, Live, LiveCollector, account_label

USD = 1_000_000_000


def view(
    row: LimitRow, used: int = 0, held: int = 0, *, account: str | None = None, resets_at_ms: int | None = None
) -> LimitView:
    return LimitView(row.series(account or row.account), row, used, held, resets_at_ms)


def row(
    account: str = "org",
    most: int | None = 100 * USD,
    window: Window = "daily",
    *,
    per: str | None = None,
    name: str = "budgets[0]",
) -> LimitRow:
    return LimitRow(account, most, window, per=per, id=name)


def shown(*views: LimitView) -> dict[str, dict[str, float]]:
    """Metric to label values, joined in the order of their names, to value."""
    registry = CollectorRegistry()
    registry.register(LiveCollector(Live(budgets=lambda: views)))
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = " ".join(sample.labels[key] for key in sorted(sample.labels))
            found.setdefault(sample.name.removeprefix("ringfence_"), {})[labels] = sample.value
    return found


def test_budget_is_shown_in_dollars_with_its_reset() -> None:
    found = shown(view(row(), used=25 * USD, held=USD // 2, resets_at_ms=1_700_000_000_500))
    labels = "org budgets[0] false daily"
    assert found["budget_limit_usd"] == {labels: 100} and found["budget_used_usd"] == {labels: 25}
    assert found["budget_held_usd"] == {labels: 0.5}
    assert found["budget_resets_timestamp_seconds"] == {labels: 1_700_000_000.5}


def test_budget_that_never_resets_has_no_reset() -> None:
    found = shown(view(row(window="total"), used=USD))
    assert list(found["budget_used_usd"]) == ["org budgets[0] false total"]
    assert "budget_resets_timestamp_seconds" not in found


@pytest.mark.parametrize("meter", ["requests", "output_tokens", "total_tokens", "active_requests"])
def test_limit_on_counts_is_a_quota_as_it_is(meter: Meter) -> None:
    found = shown(view(LimitRow("team:platform", 50, "hourly", meter, id="q"), used=7, held=3, resets_at_ms=1))
    labels = f"team:platform q {meter} hourly"
    assert (found["quota_limit"], found["quota_used"], found["quota_held"]) == ({labels: 50}, {labels: 7}, {labels: 3})
    assert not any(name.startswith("budget_") for name in found)


def test_limit_that_many_have_each_shows_who_is_nearest_to_it_and_not_their_name() -> None:
    each = row(per="user")
    found = shown(
        *(view(each, used=used * USD, account=f"user:{name}") for name, used in (("a", 5), ("b", 80), ("c", 9)))
    )
    assert found["budget_used_usd"] == {"user budgets[0] false daily": 80}


def test_nearest_to_the_limit_is_by_what_is_used_and_held_of_it() -> None:
    low, high = row("user:a", 10 * USD, name="other"), row("user:b", 1000 * USD, name="other")
    found = shown(view(low, used=4 * USD, held=5 * USD), view(high, used=500 * USD))
    assert found["budget_limit_usd"] == {"user other false daily": 10}
    assert found["budget_held_usd"] == {"user other false daily": 5}


def test_limits_without_a_maximum_are_not_shown() -> None:
    assert "budget_limit_usd" not in shown(view(row(most=None)), LimitView(row().series("org"), None, 5, 0, None))


def test_limit_of_zero_is_shown() -> None:
    found = shown(view(row(most=0)))
    assert found["budget_limit_usd"] == {"org budgets[0] false daily": 0}


def test_limits_past_the_bound_share_one_label() -> None:
    found = shown(*(view(row(name=f"spl_{number}"), used=number * USD) for number in range(LIMITS_MAX + 9)))
    assert len(found["budget_used_usd"]) == LIMITS_MAX + 1
    assert found["budget_used_usd"]["org other false daily"] == LIMITS_MAX + 8


@pytest.mark.parametrize(
    ("account", "per", "label"),
    [
        ("org", None, "org"),
        ("team:platform", None, "team:platform"),
        ("group:ml", None, "group:ml"),
        ("tag:project=x", None, "tag:project=x"),
        ("user:alice", None, "user"),
        ("credential:laptop", None, "credential"),
        ("session:s", None, "session"),
        ("agent:s/a", None, "agent"),
        ("team:platform", "team", "team"),
        ("user:alice", "user", "user"),
    ],
)
def test_only_pools_that_people_share_are_named(account: str, per: str | None, label: str) -> None:
    assert account_label(account, per) == label


def test_store_and_holds_are_read_when_somebody_looks() -> None:
    up = [True]
    registry = CollectorRegistry()
    registry.register(
        LiveCollector(
            Live(
                store_up=lambda: up[0],
                store_journal_entries=lambda: 7,
                holds_open=lambda: 2,
                hold_oldest_seconds=lambda: 1.5,
                drains=lambda: 3,
            )
        )
    )
    assert "ringfence_store_up 1.0\n" in generate_latest(registry).decode()
    up[0] = False
    page = generate_latest(registry).decode()
    expected = ("store_up 0.0", "store_journal_entries 7.0", "holds_open 2.0", "hold_oldest_seconds 1.5")
    assert [line for line in (*expected, "drains_in_flight 3.0") if f"ringfence_{line}\n" not in page] == []
