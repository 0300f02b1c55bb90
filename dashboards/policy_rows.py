"""The panels of the Policy board, a function for each of its rows. How panels look is `panels.py`."""

from dashboards.board import AnyPanel
from dashboards.panels import COUNT, RATIO, SECONDS, Figure, Query, chart, number, rows

SHADOW = "sum by (kind, rule) (increase(ringfence_shadow_denials_total[{}]))"
BUCKETS = "sum by (le, engine, kind) (rate(ringfence_policy_seconds_bucket[$__rate_interval]))"
CLOSED = "The engine could not decide, or what it decided could not be done: such a query is denied."


def summary() -> list[AnyPanel]:
    """What is worth a look first."""
    denied = 'sum(increase(ringfence_decisions_total{outcome="deny"}[$__range])) or vector(0)'
    return [
        number(
            Figure(
                "Decisions", "In the time shown.", (Query("sum(increase(ringfence_decisions_total[$__range]))"),), COUNT
            )
        ),
        number(Figure("Denied", "In the time shown.", (Query(denied),), COUNT)),
        number(
            Figure(
                "Would be denied",
                "What rules in shadow mode would have denied in the time shown.",
                (Query("sum(increase(ringfence_shadow_denials_total[$__range])) or vector(0)"),),
                unit=COUNT,
            )
        ),
        number(
            Figure(
                "Failed closed",
                f"{CLOSED} In the time shown.",
                (Query("sum(increase(ringfence_policy_failures_total[$__range]))"),),
                unit=COUNT,
                bad_from=1,
            )
        ),
        number(
            Figure(
                "Approvals waiting",
                "Streams that wait for a person.",
                (Query("sum(ringfence_approvals_waiting)"),),
                unit=COUNT,
            )
        ),
        number(
            Figure(
                "Oldest approval",
                "How long it has waited. Approvals expire to a denial.",
                (Query("max(ringfence_approval_oldest_seconds)"),),
                unit=SECONDS,
                bad_from=300,
            )
        ),
    ]


def decisions() -> list[AnyPanel]:
    """What was decided, and by whom."""
    made = "sum by (kind, outcome) (rate(ringfence_decisions_total[$__rate_interval]))"
    denied = 'sum by (rule) (increase(ringfence_decisions_total{outcome="deny"}[$__rate_interval]))'
    return [
        chart(
            Figure(
                "Decisions per second",
                "By what was asked: a request to a model (infer), a spawn, a tool call, a run.",
                (Query(made, "{{kind}} {{outcome}}"),),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Denials by rule",
                "By the first rule that objected; engine/ and gate/ stand for what could not be judged.",
                (Query(denied, "{{rule}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Denials by rule, beside the usual",
                "In ten minutes: the last ones, and on the average of the day before.",
                (
                    Query("sum by (rule) (ringfence:denials:increase10m)", "{{rule}}"),
                    Query("sum by (rule) (ringfence:denials_usual:increase10m)", "{{rule}}, usual"),
                ),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Would be denied, by rule",
                "By rules in shadow mode: what would break if they were turned on.",
                (Query(SHADOW.format("$__rate_interval"), "{{rule}} ({{kind}})"),),
                unit=COUNT,
            ),
            stacked=True,
            width=12,
        ),
        rows(
            Figure(
                "Rules in shadow mode, in the time shown",
                "How often each would have denied, most often first.",
                (Query(f"sort_desc({SHADOW.format('$__range')})"),),
                unit=COUNT,
            ),
            {"rule": "rule", "kind": "kind", "Value": "would be denied"},
            units={},
        ).span(12),
    ]


def approvals() -> list[AnyPanel]:
    """Who waits for people, and what these say."""
    said = "sum by (kind, change) (increase(ringfence_approvals_total[$__rate_interval]))"
    return [
        chart(
            Figure(
                "Approvals waiting",
                "Streams that wait for a person; they hear pings meanwhile.",
                (Query("sum(ringfence_approvals_waiting)", "waiting"),),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Oldest approval",
                "How long it has waited. Approvals expire to a denial.",
                (Query("max(ringfence_approval_oldest_seconds)", "oldest"),),
                unit=SECONDS,
                bad_from=300,
            )
        ),
        chart(
            Figure(
                "What became of them",
                "remembered: by an earlier one; withdrawn: the client left; expired: nobody answered.",
                (Query(said, "{{kind}} {{change}}"),),
                unit=COUNT,
            )
        ),
    ]


def engine() -> list[AnyPanel]:
    """How fast it is, whether it can decide, and with which policies."""
    memo = "sum by (outcome) (rate(ringfence_policy_memo_total[$__rate_interval]))"
    reloads = "sum by (outcome) (increase(ringfence_policy_reloads_total[$__rate_interval]))"
    return [
        chart(
            Figure(
                "Decision time",
                "In the engine, by what was asked: half of all and 99 of 100 took no longer.",
                tuple(
                    Query(f"histogram_quantile({quantile}, {BUCKETS})", f"{name} {{{{kind}}}} ({{{{engine}}}})")
                    for quantile, name in ((0.5, "median"), (0.99, "99%"))
                ),
                unit=SECONDS,
            )
        ),
        chart(
            Figure(
                "Decisions that were remembered",
                "Per second. A decision is remembered by all that a rule could read, so it is never out of date.",
                (Query(memo, "{{outcome}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Failed closed",
                f"{CLOSED} Of all decisions, in five minutes.",
                (Query("ringfence:policy_failures_ratio:rate5m", "failed"),),
                unit=RATIO,
                bad_from=0.01,
            )
        ),
        chart(
            Figure(
                "Questions to the OPA server",
                "By what became of them; open: it was left alone after failures. Nothing with the embedded engine.",
                (
                    Query("sum by (outcome) (increase(ringfence_opa_queries_total[$__rate_interval]))", "{{outcome}}"),
                    Query("1 - min(ringfence_opa_up)", "down"),
                ),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "New policy sets",
                "Taken over, or refused because of what is wrong with them.",
                (
                    Query(reloads, "{{outcome}}"),
                    Query("max(ringfence_policy_reload_refused)", "the latest is refused"),
                ),
                unit=COUNT,
            )
        ),
        rows(
            Figure(
                "Policies that decide",
                "Gateways by revision: when more than one stays, some have not taken over the latest set.",
                (Query("count by (engine, mode, revision) (ringfence_policy_info)"),),
                unit=COUNT,
            ),
            {"revision": "revision", "mode": "mode", "engine": "engine", "Value": "gateways"},
            units={},
        ).span(8),
    ]
