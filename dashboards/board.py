"""How a board of ours is put together and written: its head, its rows, its file. Not what is on it."""

import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import stat, table, text, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from dashboards.panels import SOURCE

AnyPanel = stat.Panel | timeseries.Panel | table.Panel | text.Panel
Rows = Sequence[tuple[str, Sequence[AnyPanel], bool]]
"""Title, panels, and whether it is folded."""


def headed(name: str, description: str) -> Dashboard:
    """An empty board."""
    board = Dashboard(f"Ringfence / {name}").uid(f"ringfence-{name.lower().replace(' ', '-')}")
    return board.description(description).tags(["ringfence"]).time("now-6h", "now").refresh("30s")


def filled(board: Dashboard, summary: Sequence[AnyPanel], rows: Rows) -> Dashboard:
    """Figures first, then the rows of detail."""
    ids = count(1)
    for panel in summary:
        board.with_panel(panel.id(next(ids)))
    for title, panels, folded in rows:
        row = Row(title).id(next(ids))
        numbered = [panel.id(next(ids)) for panel in panels]
        if folded:
            for panel in numbered:
                row.with_panel(panel)
        board.with_row(row.collapsed(folded))
        for panel in [] if folded else numbered:
            board.with_panel(panel)
    return board


def rendered(board: Dashboard) -> str:
    """The board as Grafana imports it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def written(text: str, file: Path, arguments: Sequence[str]) -> int:
    """Write the file, or with `--check` say whether it is what would be written; the exit code."""
    if list(arguments) != ["--check"]:
        file.write_text(text)
        return 0
    if file.exists() and file.read_text() == text:
        return 0
    source = file.with_suffix(".py").name
    print(f"{file.name} is not what {source} makes: run scripts/dashboards and commit it", file=sys.stderr)
    return 1


def source() -> DatasourceVariable:
    """Which Prometheus is asked."""
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def choice(label: str, metric: str) -> QueryVariable:
    """Values of a label to choose from, all of them at first."""
    everything = VariableOption(selected=True, text="All", value="$__all")
    chosen = QueryVariable(label).label(label.capitalize()).datasource(SOURCE).include_all(True).all_value(".*")
    chosen = chosen.multi(True).current(everything).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    return chosen.sort(VariableSort.ALPHABETICAL_ASC).query(f"label_values({metric}, {label})")
