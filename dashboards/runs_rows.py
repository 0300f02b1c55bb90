"""The panels of the Runs board, a function for each of its rows. How panels look is `panels.py`."""

from dashboards.board import AnyPanel
from dashboards.panels import COUNT, RATIO, SECONDS, USD, Figure, Query, chart, number, prose

ENDED = "ringfence_runs_ended_total"
CALLS = "ringfence_run_calls_total"
OF_ENDED = "Of runs that ended in the time shown, denied ones left out."
NAMES = """\
Runs, their sessions and their agents are not labels of metrics. The gateway tells which they are:

```
ringfence runs list
ringfence runs show RUN
ringfence runs watch RUN
```

Everybody sees their own, an operator everybody's. `ringfence report --run RUN` sums one up from the audit trail; each
change of a run's state is a record there (`run`), with who changed it and the script's hash.
"""


def summary() -> list[AnyPanel]:
    """What is worth a look first."""
    return [
        number(Figure("Running", "Runs that are at work.", (_open("running"),), unit=COUNT)),
        number(
            Figure(
                "Waiting for approval",
                "Runs that somebody must approve first.",
                (_open("pending_approval"),),
                unit=COUNT,
            )
        ),
        number(
            Figure("Paused", "By a person, a budget or a quota, or since a gateway ended.", (_open("paused"),), COUNT)
        ),
        number(
            Figure(
                "Failed",
                "Runs that failed in the time shown.",
                (Query(f'sum(increase({ENDED}{{state="failed"}}[$__range]))'),),
                unit=COUNT,
                bad_from=1,
            )
        ),
        number(
            Figure(
                "Scripts ended from outside",
                "They broke a limit of the sandbox, or their process was gone; in the time shown.",
                (Query("sum(increase(ringfence_sandbox_failures_total[$__range]))"),),
                unit=COUNT,
                bad_from=1,
            )
        ),
        number(
            Figure(
                "Saved by resuming",
                "List price of calls that were replayed instead of made again, in the time shown.",
                (Query("sum(increase(ringfence_run_saved_usd_total[$__range]))"),),
            )
        ),
    ]


def states() -> list[AnyPanel]:
    """How they stand and how they end."""
    return [
        chart(
            Figure(
                "Open runs",
                "By the state they are in, each on the gateway that drives it.",
                (Query("sum by (state) (ringfence_runs_open)", "{{state}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Runs that ended",
                "Degraded is completed, with calls that gave no value.",
                (Query(f"sum by (state) (increase({ENDED}[$__rate_interval]))", "{{state}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Why runs failed",
                "By the code that the run's record carries.",
                (Query("sum by (code) (increase(ringfence_run_failures_total[$__rate_interval]))", "{{code}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Share that failed, share that is degraded",
                "Of the runs that ended within an hour, stopped and denied ones left out.",
                (
                    Query("sum(ringfence:runs_failed_ratio:increase1h)", "failed"),
                    Query("sum(ringfence:runs_degraded_ratio:increase1h)", "degraded"),
                ),
                unit=RATIO,
            )
        ),
        chart(
            Figure("From start to end", f"{OF_ENDED} Pauses are part of it.", _quantiles("run_seconds"), unit=SECONDS)
        ),
        chart(
            Figure(
                "Longest pause",
                "For how long the run has been paused that was paused first.",
                (Query("max(ringfence_run_paused_oldest_seconds)", "longest"),),
                unit=SECONDS,
            )
        ),
    ]


def agents() -> list[AnyPanel]:
    """What became of the calls."""
    return [
        chart(
            Figure(
                "What became of calls",
                "done: a value; null: none, for a reason; threw: an error for the script; refused: never begun; "
                "stopped: by a person or the end; cached: replayed.",
                (Query(f"sum by (outcome) (increase({CALLS}[$__rate_interval]))", "{{outcome}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(Figure("Agents of a run", OF_ENDED, _quantiles("run_agents"), unit=COUNT)),
        chart(Figure("Phases of a run", OF_ENDED, _quantiles("run_phases"), unit=COUNT)),
    ]


def money() -> list[AnyPanel]:
    """What runs cost, and what resuming saved."""
    return [
        chart(Figure("Cost of a run", f"At list price. {OF_ENDED}", _quantiles("run_cost_usd"), unit=USD)),
        chart(
            Figure("Tokens of a run", f"New ones: none that were replayed. {OF_ENDED}", _quantiles("run_tokens"), COUNT)
        ),
        chart(
            Figure(
                "Spent and saved",
                "List price of what runs that ended had used, and of what was replayed instead of made again.",
                (
                    Query("sum(increase(ringfence_run_cost_usd_sum[$__rate_interval]))", "spent"),
                    Query("sum(increase(ringfence_run_saved_usd_total[$__rate_interval]))", "saved"),
                ),
                unit=USD,
            )
        ),
        chart(
            Figure(
                "Tokens that were replayed",
                "Of calls that a resumed run did not make again.",
                (Query("sum(increase(ringfence_run_saved_tokens_total[$__rate_interval]))", "tokens"),),
                unit=COUNT,
            )
        ),
    ]


def runtime() -> list[AnyPanel]:
    """What holds it up."""
    appended = "sum by (le) (increase(ringfence_run_journal_seconds_bucket[$__range]))"
    return [
        chart(
            Figure(
                "Agents at once by upstream",
                "What the governor gives each upstream; it halves after refusals and recovers by one a minute.",
                (Query("sum by (upstream) (ringfence_run_concurrency)", "{{upstream}}"),),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Scripts ended from outside",
                "By why: a limit of the sandbox, no answer, or a process that was gone.",
                (Query("sum by (code) (increase(ringfence_sandbox_failures_total[$__rate_interval]))", "{{code}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Until a line of a journal is durable",
                "Nothing goes back to a script before that.",
                (
                    Query(f"histogram_quantile(0.5, {appended})", "half"),
                    Query(f"histogram_quantile(0.99, {appended})", "99 of 100"),
                ),
                unit=SECONDS,
            )
        ),
    ]


def names() -> list[AnyPanel]:
    """Where to look for names."""
    return [prose("Which runs", NAMES)]


def _open(state: str) -> Query:
    return Query(f'sum(ringfence_runs_open{{state="{state}"}})')


def _quantiles(metric: str) -> tuple[Query, ...]:
    buckets = f"sum by (le) (increase(ringfence_{metric}_bucket[$__range]))"
    return (
        Query(f"histogram_quantile(0.5, {buckets})", "half"),
        Query(f"histogram_quantile(0.9, {buckets})", "nine of ten"),
    )
