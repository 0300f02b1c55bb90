"""What holds, limits and settlements count, and that what was held comes back to nothing."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.context import RequestContext
from gateway.core.decisions.decision import Lineage, Principal
from gateway.core.money.budgets import Hold, LimitView
from gateway.core.money.limits import Amounts, LimitRow, Series
from gateway.core.money.prices import Price, Rates
from gateway.core.wire.body import peek
from gateway.core.wire.usage import Iteration, Tokens, Usage
from gateway.errors import Reason
from gateway.telemetry.families import AGENT_TYPE_CHARS_MAX, AGENT_TYPES_MAX, Families, Labels
from gateway.telemetry.spend_metrics import SpendMetrics

OPUS = "claude-opus-5-5"
USD = 1_000_000_000
USD_PER_MILLION = 1_000_000
"""Pico-dollars per token."""
PRICE = Price(
    id=OPUS,
    context_window=200_000,
    max_output=32_000,
    rates=Rates(
        input=10 * USD_PER_MILLION,
        output=50 * USD_PER_MILLION,
        cache_write_5m=12_500_000,
        cache_write_1h=20 * USD_PER_MILLION,
        cache_read=USD_PER_MILLION,
    ),
    above_tokens=None,
    above=None,
    fast=None,
    geo_us=10_000,
    regional=10_000,
    govcloud=10_000,
    web_search_picousd=0,
)


class Counted:
    """Spend metrics on a page of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = Labels(lambda model: OPUS if model == OPUS else None, ["platform"])
        self.spend = SpendMetrics(Families(self.registry), labels)

    def ended(self, ctx: RequestContext) -> None:
        self.spend.request_ended(ctx, OPUS)

    def __getitem__(self, name: str) -> dict[str, float]:
        """Label values, joined in the order of their names, to value."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(generate_latest(self.registry).decode()):
            for sample in family.samples:
                if sample.name == f"ringfence_{name}":
                    found[" ".join(sample.labels[key] for key in sorted(sample.labels))] = sample.value
        return found


def hold(worst: int, expected: int = 0) -> Hold:
    return Hold(
        id="dec_1",
        accounts=("org",),
        model=OPUS,
        backends=("anthropic",),
        worst=Amounts(cost=worst),
        expected=Amounts(cost=expected),
        created_ms=1,
        deadline_ms=2,
    )


def context(number: int = 1, *, agent_type: str | None = None, agent: str = "main", **fields: Any) -> RequestContext:
    ctx = RequestContext(
        id=f"dec_{number}",
        method="POST",
        path="/v1/messages",
        headers={},
        dialect="anthropic",
        received_unix_ms=1,
        received_monotonic=1.0,
        principal=Principal(org="acme", team="platform", user="alice", credential="laptop"),
        ask=peek(f'{{"model":"{OPUS}","messages":[]}}'.encode()),
        lineage=Lineage("s", agent, agent_type=agent_type),
        price=PRICE,
    )
    return replace(ctx, **fields)


def test_hold_is_shown_until_its_request_has_ended() -> None:
    counted = Counted()
    ctx = context(hold=hold(worst=3 * USD))
    counted.spend.held(ctx)
    assert counted["held_usd"] == {f"main {OPUS} platform": 3}
    counted.ended(ctx)
    assert counted["held_usd"] == {f"main {OPUS} platform": 0}


def test_hold_that_changes_is_shown_as_it_is_now() -> None:
    counted = Counted()
    ctx = context(hold=hold(worst=USD))
    counted.spend.held(ctx)
    ctx.hold = hold(worst=5 * USD)
    assert counted["held_usd"] == {f"main {OPUS} platform": 5}
    ctx.hold = None
    assert counted["held_usd"] == {f"main {OPUS} platform": 0}


def test_request_that_never_held_ends_without_a_trace() -> None:
    counted = Counted()
    counted.ended(context())
    assert counted["held_usd"] == {} and counted["cost_usd_total"] == {}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10**15)), max_size=60))
def test_whatever_was_held_in_any_order_nothing_is_held_in_the_end(holds: list[tuple[int, int]]) -> None:
    counted = Counted()
    for number, nanousd in holds:
        counted.spend.held(context(number, hold=hold(worst=nanousd)))
    latest = dict(holds)
    assert sum(counted["held_usd"].values()) == pytest.approx(sum(latest.values()) / USD)
    for number in latest:
        counted.ended(context(number))
    assert set(counted["held_usd"].values()) <= {0.0}


def test_cost_is_counted_by_type_of_agent() -> None:
    counted = Counted()
    counted.ended(context(cost_nanousd=2 * USD))
    counted.ended(context(cost_nanousd=USD, agent="a1", agent_type="Explore"))
    counted.ended(context(cost_nanousd=USD, agent="a2"))
    assert counted["cost_usd_total"] == {
        f"main {OPUS} platform": 2,
        f"Explore {OPUS} platform": 1,
        f"none {OPUS} platform": 1,
    }


def test_types_of_agents_past_the_bound_are_other() -> None:
    counted = Counted()
    for number in range(AGENT_TYPES_MAX + 3):
        counted.ended(context(cost_nanousd=USD, agent="a", agent_type=f"made-up-{number}"))
    assert counted["cost_usd_total"][f"other {OPUS} platform"] == 3
    assert len(counted["cost_usd_total"]) == AGENT_TYPES_MAX + 1


def test_type_of_agent_that_is_a_story_is_other() -> None:
    counted = Counted()
    counted.ended(context(cost_nanousd=USD, agent="a", agent_type="x" * (AGENT_TYPE_CHARS_MAX + 1)))
    assert counted["cost_usd_total"] == {f"other {OPUS} platform": 1}


def test_refusals_name_the_kind_of_account_alone() -> None:
    counted = Counted()
    for user in ("alice", "bob"):
        counted.spend.limit_refused(Series(f"user:{user}", "cost", "daily"))
    assert counted["limit_refusals_total"] == {"user cost daily": 2}


def test_request_that_meets_a_limit_past_its_first_mark_is_a_warning() -> None:
    counted = Counted()
    limits = [
        (LimitRow("team:platform", 100, "hourly", "requests", warn_at=(75, 95)), 75),
        (LimitRow("user:alice", 100, "daily", warn_at=(75,)), 74),
        (LimitRow("org", 100, "monthly", warn_at=()), 99),
        (LimitRow("org", 100, "total", on_reach="warn"), 300),
    ]
    views = tuple(LimitView(row.series(row.account), row, used, 0, None) for row, used in limits)
    counted.ended(context(limits=views, hold=hold(USD)))
    assert counted["limit_warnings_total"] == {"team requests hourly": 1, "org cost total": 1}


def test_overshoot_is_there_before_it_happens_so_that_its_first_increase_is_seen() -> None:
    assert Counted()["overshoot_usd_total"] == {"true": 0, "false": 0}


def test_overshoot_is_counted_by_strictness() -> None:
    counted = Counted()
    counted.spend.overshot(LimitRow("org", USD), 2 * USD)
    counted.spend.overshot(LimitRow("team:x", USD, on_reach="clamp"), USD)
    counted.spend.overshot(LimitRow("org", USD, strict=True), USD)
    assert counted["overshoot_usd_total"] == {"false": 3, "true": 1}


def test_limits_that_only_warn_or_count_no_money_do_not_overshoot() -> None:
    counted = Counted()
    counted.spend.overshot(LimitRow("org", USD, on_reach="warn"), USD)
    counted.spend.overshot(LimitRow("org", 10, meter="requests"), 5)
    assert counted["overshoot_usd_total"] == {"true": 0, "false": 0}


def test_what_became_of_holds_is_counted() -> None:
    counted = Counted()
    counted.spend.hold_expired(3)
    counted.ended(context(hold=hold(USD), extensions=2, clamped_from=32_000, cut=True))
    totals = [counted[f"{name}_total"] for name in ("holds_expired", "holds_extended", "max_tokens_clamped")]
    assert totals == [{"": 3}, {"": 2}, {"": 1}]
    assert counted["streams_ended_total"] == {"hold_exhausted": 1}


def test_request_that_was_refused_although_it_was_clamped_did_not_fit() -> None:
    counted = Counted()
    counted.ended(context(clamped_from=32_000))
    assert counted["max_tokens_clamped_total"] == {"": 0}


@pytest.mark.parametrize(("estimated", "outcome"), [(True, "floor"), (False, "usage")])
def test_answer_whose_client_left_is_billed_by_usage_or_floor(estimated: bool, outcome: str) -> None:
    counted = Counted()
    left = context(hold=hold(USD), dispatched=True, reason=Reason.CLIENT_GONE, cost_estimated=estimated)
    counted.ended(left)
    assert counted["drains_total"] == {"usage": 0, "floor": 0} | {outcome: 1}


def test_client_that_left_before_anything_was_sent_leaves_nothing_to_drain() -> None:
    counted = Counted()
    counted.ended(context(hold=hold(USD), reason=Reason.CLIENT_GONE))
    counted.ended(context(hold=hold(USD), dispatched=True, reason=Reason.COMPLETED))
    assert counted["drains_total"] == {"usage": 0, "floor": 0}


def settled(*limits: LimitRow) -> RequestContext:
    """Held at 8 in the worst case and 5 expected, settled at 4; an attempt before it lost 2."""
    used = Usage(tokens=Tokens(input=1), final=True)
    views = tuple(LimitView(row.series(row.account), row, 0, 0, None) for row in limits)
    held = hold(8 * USD, expected=5 * USD)
    return context(cost_nanousd=6 * USD, lost_nanousd=2 * USD, usage=used, hold=held, limits=views)


def test_settled_cost_is_compared_with_what_was_held_for_it() -> None:
    counted = Counted()
    counted.ended(settled(LimitRow("org", USD), LimitRow("org", USD, "daily", strict=True)))
    assert counted["estimate_ratio_sum"] == {OPUS: 0.8} and counted["hold_ratio_sum"] == {OPUS: 0.5}


def test_without_a_strict_limit_there_is_no_worst_case_to_compare_with() -> None:
    counted = Counted()
    counted.ended(settled(LimitRow("org", USD), LimitRow("org", USD, "daily", strict=True, on_reach="warn")))
    assert counted["estimate_ratio_sum"] == {OPUS: 0.8} and counted["hold_ratio_count"] == {}


@pytest.mark.parametrize("final", [True, False])
def test_estimated_cost_says_nothing_about_the_estimate(final: bool) -> None:
    counted = Counted()
    used = Usage(tokens=Tokens(input=1, cache_read=9), final=final)
    counted.ended(context(cost_nanousd=USD, usage=used, cost_estimated=True, hold=hold(USD, expected=USD)))
    assert counted["estimate_ratio_count"] == {} and counted["cache_saved_usd_total"] == {}


def test_cache_is_compared_with_plain_input() -> None:
    counted = Counted()
    tokens = Tokens(input=5, output=7, cache_read=1_000_000, cache_write_5m=1_000_000, cache_write_1h=100_000)
    counted.ended(context(usage=Usage(tokens=tokens, final=True)))
    assert counted["cache_saved_usd_total"] == {f"{OPUS} platform": pytest.approx(9)}
    assert counted["cache_premium_usd_total"] == {f"{OPUS} platform": pytest.approx(2.5 + 1)}


def test_redeemed_cache_writes_are_reads() -> None:
    counted = Counted()
    used = Usage(tokens=Tokens(cache_write_5m=1_000_000), fallback_credit_redeemed=True, final=True)
    counted.ended(context(usage=used))
    assert counted["cache_saved_usd_total"] == {f"{OPUS} platform": pytest.approx(9)}
    assert counted["cache_premium_usd_total"] == {}


def test_passes_of_other_models_and_refusals_save_nothing() -> None:
    counted = Counted()
    read = Tokens(cache_read=1_000_000)
    counted.ended(context(usage=Usage(tokens=read, iterations=(Iteration(read, model="claude-other"),), final=True)))
    counted.ended(context(usage=Usage(tokens=read, refused_empty=True, final=True)))
    assert counted["cache_saved_usd_total"] == {}
    counted.ended(context(usage=Usage(tokens=read, iterations=(Iteration(read), Iteration(read)), final=True)))
    assert counted["cache_saved_usd_total"] == {f"{OPUS} platform": pytest.approx(18)}
