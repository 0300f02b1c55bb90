"""The board "Ringfence / Spend": what is spent and held, by whom, how long budgets last, and how good estimates are.

`scripts/dashboards` writes it to `spend.json`. Its panels are `spend_rows.py`; the recorded series that they show are
those of `rules/spend.yaml`.
"""

import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from dashboards.panels import SOURCE
from dashboards.spend_rows import budgets, cache, holds, limits, spend, summary

FILE = Path(__file__).with_suffix(".json")


def board() -> Dashboard:
    """The whole board: figures first, the rows of detail folded."""
    built = (
        Dashboard("Ringfence / Spend")
        .uid("ringfence-spend")
        .description("What coding agents spend and hold, who spends it, and how long budgets last.")
        .tags(["ringfence"])
        .time("now-6h", "now")
        .refresh("30s")
        .variables([_source(), _choice("team"), _choice("model")])
    )
    ids = count(1)
    for panel in summary():
        built.with_panel(panel.id(next(ids)))
    for title, panels, folded in (
        ("Spent and held", spend(), False),
        ("Budgets", budgets(), False),
        ("Limits", limits(), True),
        ("Prompt cache", cache(), True),
        ("Holds and estimates", holds(), True),
    ):
        row = Row(title).id(next(ids))
        numbered = [panel.id(next(ids)) for panel in panels]
        if folded:
            for panel in numbered:
                row.with_panel(panel)
        built.with_row(row.collapsed(folded))
        for panel in [] if folded else numbered:
            built.with_panel(panel)
    return built


def render() -> str:
    """The board as Grafana imports it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(board().build()) + "\n"


def main(arguments: Sequence[str], file: Path = FILE) -> int:
    """Write the file, or with `--check` say whether it is what would be written."""
    if list(arguments) != ["--check"]:
        file.write_text(render())
        return 0
    if file.exists() and file.read_text() == render():
        return 0
    print(f"{file.name} is not what {Path(__file__).name} makes: run scripts/dashboards and commit it", file=sys.stderr)
    return 1


def _source() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def _choice(label: str) -> QueryVariable:
    everything = VariableOption(selected=True, text="All", value="$__all")
    choice = QueryVariable(label).label(label.capitalize()).datasource(SOURCE).include_all(True).all_value(".*")
    choice = choice.multi(True).current(everything).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    return choice.sort(VariableSort.ALPHABETICAL_ASC).query(f"label_values(ringfence_cost_usd_total, {label})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
