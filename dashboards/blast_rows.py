"""The panels of the Blast radius board, a function for each of its rows. How panels look is `panels.py`."""

from dashboards.board import AnyPanel
from dashboards.panels import COUNT, RATIO, USD, Figure, Query, chart, number, prose

TEAM = '{team=~"$team"}'
RESTED = "Of sessions and runs that came to rest (nobody at work in them); one that goes on is counted at each rest."
LARGEST = "The most that any single session or run at work has."
NAMES = """\
Sessions, runs and agents are not labels of metrics. The gateway tells which they are, to an operator:

```
curl -sH "x-api-key: $RINGFENCE_CREDENTIAL" "$RINGFENCE_URL/ringfence/v1/sessions?order=cost&limit=20"
```

`order` is `last_seen`, `cost`, `agents`, `active_agents`, `denials` or `files`, the greatest first. Each session comes
with its agents, its spend, its denials, how many files and hosts it touched, and the ids of its fuses.

- `ringfence sessions show ID` shows one as a tree, `ringfence fuses list` the fuses that have warned or are blown;
- `ringfence sessions stop ID --reason TEXT` and `hold` end or pause it, on every gateway, within a second.
"""


def summary() -> list[AnyPanel]:
    """What is worth a look first."""
    return [
        number(Figure("Agents at work", "Main agents included.", (Query("sum(ringfence_active_agents)"),), unit=COUNT)),
        number(
            Figure(
                "Most agents at work in one session",
                "In any session or run, of those at work now.",
                (Query('max(ringfence_blast_largest{size="active_agents"})'),),
                unit=COUNT,
            )
        ),
        number(
            Figure(
                "Spend at risk",
                "Held by running requests, and what the cost fuses of sessions at work would still let through.",
                (Query("sum(ringfence_held_usd) + sum(ringfence_fuse_headroom_usd)"),),
            )
        ),
        number(
            Figure(
                "Sessions without a cost fuse",
                "Sessions at work that only a budget would stop.",
                (Query("sum(ringfence_unfused_sessions)"),),
                unit=COUNT,
            )
        ),
        number(
            Figure(
                "Fuses blown",
                "In the time shown.",
                (Query("sum(increase(ringfence_fuses_blown_total[$__range])) or vector(0)"),),
                unit=COUNT,
                bad_from=1,
            )
        ),
        number(
            Figure(
                "Stopped or held",
                "Targets that people have stopped or held, and not released.",
                (Query("sum(max by (kind, state) (ringfence_controls_standing))"),),
                unit=COUNT,
                bad_from=1,
            )
        ),
    ]


def agents() -> list[AnyPanel]:
    """How many, how fast, how deep, how wide."""
    spawns = "60 * sum by (via, outcome) (rate(ringfence_spawns_total[$__rate_interval]))"
    return [
        chart(
            Figure(
                "Agents at work by team",
                "Main agents included. A session that several gateways serve is counted by each of them.",
                (Query(f"sum by (team) (ringfence_team_active_agents{TEAM})", "{{team}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Spawns per minute",
                "tool_use: asked for by a tool call; first_request: an agent that came.",
                (Query(spawns, "{{via}} {{outcome}}"),),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Spawns per minute, beside the usual",
                "Agents that were let in, in the last five minutes and on the average of the day before.",
                (
                    Query("sum(ringfence:spawns_per_minute:rate5m)", "now"),
                    Query("sum(ringfence:spawns_per_minute:rate1d)", "usual"),
                ),
                unit=COUNT,
            )
        ),
        chart(
            Figure("Deepest", LARGEST, (_largest("depth"),), unit=COUNT),
        ),
        chart(
            Figure("Widest", f"Agents at work at once. {LARGEST}", (_largest("active_agents"),), unit=COUNT),
        ),
        chart(
            Figure("Most agents in all", f"Besides the main one. {LARGEST}", (_largest("agents"),), unit=COUNT),
        ),
        chart(
            Figure(
                "Agents by the time of rest", f"Nine of ten had no more. {RESTED}", (_rested("agents_started"),), COUNT
            ),
            width=12,
        ),
        chart(
            Figure(
                "Depth by the time of rest", f"Nine of ten had no more. {RESTED}", (_rested("depth_reached"),), COUNT
            ),
            width=12,
        ),
    ]


def reach() -> list[AnyPanel]:
    """What tool calls may touch, and what was denied."""
    calls = "sum by (tool_class, outcome) (increase(ringfence_tool_calls_total[$__rate_interval]))"
    category = (
        'sum by (category) (label_replace(increase(ringfence_decisions_total{outcome="deny"}[$__rate_interval]), '
        '"category", "$1", "rule", "(.*?)(/.*)?"))'
    )
    touched = (("files", "files"), ("written_files", "written"), ("hosts", "hosts"), ("tool_classes", "tool classes"))
    return [
        chart(
            Figure(
                "Tool classes reached",
                "Calls in answers, by the class of the tool and whether the client was given them.",
                (Query(calls, "{{tool_class}} {{outcome}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Denied, by category of rule",
                "Requests, spawns, tool calls and runs that policy denied.",
                (Query(category, "{{category}}"),),
                unit=COUNT,
            ),
            stacked=True,
        ),
        chart(
            Figure(
                "Furthest reach now",
                f"Files, files written and hosts that released calls name. {LARGEST}",
                tuple(
                    Query(f'max by (scope) (ringfence_blast_largest{{size="{size}"}})', f"{name} of a {{{{scope}}}}")
                    for size, name in touched
                ),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Files by the time of rest", f"Nine of ten had no more. {RESTED}", (_rested("files_touched"),), COUNT
            ),
            width=12,
        ),
        chart(
            Figure(
                "Hosts by the time of rest", f"Nine of ten had no more. {RESTED}", (_rested("hosts_touched"),), COUNT
            ),
            width=12,
        ),
    ]


def fuses() -> list[AnyPanel]:
    """How near they are, and what stands."""
    blown = "sum by (scope, meter) (increase(ringfence_fuses_blown_total[$__rate_interval]))"
    return [
        chart(
            Figure(
                "Fuse headroom",
                "The smallest share left of any fuse whose agent, session, run or user is at work; 0% is blown.",
                (Query("min by (scope, meter) (ringfence_fuse_headroom_ratio)", "{{scope}} {{meter}}"),),
                unit=RATIO,
            )
        ),
        chart(
            Figure(
                "Fuses blown",
                "By whose fuse it was and what it counts.",
                (Query(blown, "{{scope}} {{meter}}"),),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Fuses that stand",
                "Those that have warned or are blown and were not replaced; every gateway of a store tells the same.",
                (Query("max by (scope, meter, state) (ringfence_fuses_standing)", "{{scope}} {{meter}} {{state}}"),),
                unit=COUNT,
            )
        ),
        chart(
            Figure(
                "Spend at risk",
                "Held by running requests, and what the cost fuses of sessions at work would still let through.",
                (
                    Query("sum(ringfence_held_usd)", "held"),
                    Query("sum(ringfence_fuse_headroom_usd)", "left by fuses"),
                ),
                unit=USD,
            ),
            stacked=True,
            width=12,
        ),
        chart(
            Figure(
                "Controls that stand",
                "What people have stopped or held and not released, by kind of target; org is everything.",
                (Query("max by (kind, state) (ringfence_controls_standing)", "{{kind}} {{state}}"),),
                unit=COUNT,
            ),
            width=12,
        ),
    ]


def names() -> list[AnyPanel]:
    """Where to look for names."""
    return [prose("Which sessions", NAMES)]


def _largest(size: str) -> Query:
    return Query(f'max by (scope) (ringfence_blast_largest{{size="{size}"}})', "{{scope}}")


def _rested(metric: str) -> Query:
    buckets = f"sum by (le, scope) (increase(ringfence_{metric}_bucket[$__range]))"
    return Query(f"histogram_quantile(0.9, {buckets})", "{{scope}}")
