"""The panels of the Spend board, a function for each of its rows. How panels look is `panels.py`."""

from dashboards.board import AnyPanel
from dashboards.panels import COUNT, RATIO, SECONDS, Figure, Query, chart, number, rows

BOTH = '{team=~"$team",model=~"$model"}'
MODEL = '{model=~"$model"}'
SAVED = f"ringfence_cache_saved_usd_total{BOTH}"
PREMIUM = f"ringfence_cache_premium_usd_total{BOTH}"
BUDGET = "{{account}} {{window}} ({{limit}})"
METER = "{{account}} {{meter}} {{window}}"
HELD = "By the requests that are running: worst cases where a strict limit applies, else expected costs."
BURN = "Dollars per hour, as settled in the last minutes."


def summary() -> list[AnyPanel]:
    """What is worth a look first."""
    today = Figure(
        "Spent today",
        "Settled since midnight, from counters that begin anew with each process; `ringfence report spend` is exact.",
        (Query(f"sum(increase(ringfence_cost_usd_total{BOTH}[$__range]))"),),
    )
    return [
        number(today).time_from("now/d"),
        number(
            Figure(
                "Held now",
                HELD,
                (Query(f"sum(ringfence_held_usd{BOTH})"),),
            )
        ),
        number(
            Figure(
                "Burn per hour",
                "Dollars per hour, over the last five minutes.",
                (Query(f"sum(ringfence:burn_usd_per_hour:rate5m{BOTH})"),),
            )
        ),
        number(
            Figure(
                "Refusals",
                "Requests that a limit refused, in the time shown.",
                (Query("sum(increase(ringfence_limit_refusals_total[$__range]))"),),
                unit=COUNT,
            )
        ),
        number(
            Figure(
                "Overshoot of strict limits",
                "Dollars settled past strict limits, in the time shown. Anything but 0 is a fault.",
                (Query('sum(increase(ringfence_overshoot_usd_total{strict="true"}[$__range]))'),),
                bad_from=0.000001,
            )
        ),
        number(
            Figure(
                "Store",
                "1 while every replica reaches its store.",
                (Query("min(ringfence_store_up)"),),
                unit=COUNT,
                good_from=1,
            )
        ),
    ]


def spend() -> list[AnyPanel]:
    """Spent and held, by each of the three labels."""
    panels: list[AnyPanel] = []
    for label, name in (("team", "team"), ("model", "model"), ("agent_type", "type of agent")):
        burn = f"3600 * sum by ({label}) (rate(ringfence_cost_usd_total{BOTH}[$__rate_interval]))"
        panels.append(
            chart(Figure(f"Spent per hour by {name}", BURN, (Query(burn, f"{{{{{label}}}}}"),)), stacked=True)
        )
    for label, name in (("team", "team"), ("model", "model"), ("agent_type", "type of agent")):
        held = f"sum by ({label}) (ringfence_held_usd{BOTH})"
        panels.append(chart(Figure(f"Held by {name}", HELD, (Query(held, f"{{{{{label}}}}}"),)), stacked=True))
    return panels


def budgets() -> list[AnyPanel]:
    """How full each is, how long it lasts."""
    by = "max by (limit, account, window, strict)"
    money = ("limit", "used", "held")
    now = Figure(
        "Budgets now",
        "Of a budget that many have each, the account nearest to its limit. What is held counts as used up.",
        (
            *(Query(f"{by} (ringfence_budget_{each}_usd)") for each in money),
            Query(f"1000 * {by} (ringfence_budget_resets_timestamp_seconds)"),
        ),
    )
    columns = {"account": "account", "window": "window", "limit": "limit", "strict": "strict"}
    columns |= {"Value #A": "limit in dollars", "Value #B": "used", "Value #C": "held", "Value #D": "resets"}
    return [
        rows(now, columns, units={"resets": "dateTimeFromNow"}),
        chart(
            Figure(
                "Used and held of each budget",
                "At 100% requests are refused.",
                (Query("ringfence:budget_used_ratio", BUDGET),),
                unit=RATIO,
                bad_from=1,
            )
        ),
        chart(
            Figure(
                "Burn of each budget, and what would exhaust it",
                "Dollars per hour in the last hour, beside the rate that would spend all that is left just at the end "
                "of the window. Shared budgets of calendar windows only.",
                (
                    Query("ringfence:budget_burn_usd_per_hour:1h", f"burn: {BUDGET}"),
                    Query("ringfence:budget_exhausting_usd_per_hour", f"exhausting: {BUDGET}"),
                ),
            )
        ),
        chart(
            Figure(
                "Forecast to the end of the window",
                "What will be used of each budget when its window ends, at the rate of the last hour and of six.",
                (
                    Query("ringfence:budget_forecast_ratio:1h", f"by 1h: {BUDGET}"),
                    Query("ringfence:budget_forecast_ratio:6h", f"by 6h: {BUDGET}"),
                ),
                unit=RATIO,
                bad_from=1,
            )
        ),
        chart(
            Figure(
                "Quotas",
                "Used and held of each limit on requests, tokens or requests at a time.",
                (
                    Query(
                        "max by (limit, account, meter, window) "
                        "((ringfence_quota_used + ringfence_quota_held) / ringfence_quota_limit)",
                        f"{METER} ({{{{limit}}}})",
                    ),
                ),
                unit=RATIO,
                bad_from=1,
            ),
            width=24,
        ),
    ]


def limits() -> list[AnyPanel]:
    """What limits did."""
    return [
        chart(
            Figure(
                "Refusals",
                "Requests that a limit refused, by whose limit it was and what it counts.",
                (_increases("limit_refusals_total", "account, meter, window", METER),),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Warnings",
                "Requests that were let through when a limit was used up to its first mark, such as 75%, or further.",
                (_increases("limit_warnings_total", "account, meter, window", METER),),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Overshoot",
                "Dollars that settlements took past a limit. Strict limits are never passed; of the others, by as much "
                "as answers cost more than was expected.",
                (_increases("overshoot_usd_total", "strict", "strict: {{strict}}"),),
            )
        ),
        chart(
            Figure(
                "Made to fit, and ended early",
                "Requests whose max_tokens was lowered to fit a limit, and answers that ended when their hold was "
                "used up and could not be raised.",
                (
                    Query("sum(increase(ringfence_max_tokens_clamped_total[$__rate_interval]))", "max_tokens lowered"),
                    _increases("streams_ended_total", "reason", "ended: {{reason}}"),
                ),
                unit=COUNT,
            ),
            width=24,
        ),
    ]


def cache() -> list[AnyPanel]:
    """What prompt caching is worth."""
    saved, premium = (f"sum(rate({metric}[$__rate_interval]))" for metric in (SAVED, PREMIUM))
    at_list_price = "At list price, against plain input tokens."
    return [
        chart(
            Figure(
                "Saved by the prompt cache per hour",
                f"{at_list_price} Reads cost less; the premium is what writes cost more.",
                (
                    Query(f"3600 * {saved}", "saved by reads"),
                    Query(f"3600 * {premium}", "premium of writes"),
                    Query(f"3600 * ({saved} - ({premium} or vector(0)))", "net"),
                ),
            )
        ),
        *(
            chart(
                Figure(
                    f"Saved by reads per hour, by {label}",
                    at_list_price,
                    (Query(f"3600 * sum by ({label}) (rate({SAVED}[$__rate_interval]))", f"{{{{{label}}}}}"),),
                )
            )
            for label in ("team", "model")
        ),
    ]


def holds() -> list[AnyPanel]:
    """Are holds near the truth, and do they all end?"""
    return [
        chart(
            Figure(
                "Settled cost of what was expected",
                "1 is a perfect estimate. Limits that are not strict hold this, so what is above 1 may overshoot.",
                _quantiles("estimate_ratio"),
                unit=RATIO,
            )
        ),
        chart(
            Figure(
                "Settled cost of the worst case",
                "Never above 1. The lower, the more money strict limits keep from others while a request runs.",
                _quantiles("hold_ratio"),
                unit=RATIO,
                bad_from=1,
            )
        ),
        chart(
            Figure(
                "Open holds",
                "Each ends once: settled, released or, at its deadline, expired.",
                (
                    Query("sum(ringfence_holds_open)", "open"),
                    Query("sum(increase(ringfence_holds_expired_total[$__rate_interval]))", "expired"),
                    Query("sum(increase(ringfence_holds_extended_total[$__rate_interval]))", "extended"),
                ),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Oldest hold",
                "Age of the oldest open hold. Holds expire within an hour.",
                (Query("max(ringfence_hold_oldest_seconds)", "oldest"),),
                unit=SECONDS,
                bad_from=3600,
            )
        ),
        chart(
            Figure(
                "Answers whose client left",
                "They are read on for their usage; when that cannot be, the bill is a floor estimate.",
                (
                    Query("sum(ringfence_drains_in_flight)", "being read"),
                    _increases("drains_total", "outcome", "ended: {{outcome}}"),
                ),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Records that wait or were lost",
                "Settlements in the local journal, to be replayed when the store is back, and audit records that could "
                "not be written.",
                (
                    Query("sum(ringfence_store_journal_entries)", "in the journal"),
                    Query("sum(increase(ringfence_audit_failures_total[$__rate_interval]))", "audit records lost"),
                ),
                unit=COUNT,
                bad_from=1,
            )
        ),
    ]


def _increases(metric: str, labels: str, legend: str) -> Query:
    return Query(f"sum by ({labels}) (increase(ringfence_{metric}[$__rate_interval]))", legend)


def _quantiles(metric: str) -> tuple[Query, ...]:
    buckets = f"sum by (le, model) (rate(ringfence_{metric}_bucket{MODEL}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({quantile}, {buckets})", f"{name} {{{{model}}}}")
        for quantile, name in ((0.5, "median"), (0.95, "95%"))
    )
