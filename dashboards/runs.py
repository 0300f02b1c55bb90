"""The board "Ringfence / Runs": how many scripts run and how they end, what became of their agents, what they cost.

`scripts/dashboards` writes it to `runs.json`. Its panels are `runs_rows.py`; the recorded series that they show are
those of `rules/runs.yaml`. Which runs they are is asked of the API: runs are no labels.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.board import filled, headed, rendered, source, written
from dashboards.runs_rows import agents, money, names, runtime, states, summary

FILE = Path(__file__).with_suffix(".json")


def board() -> Dashboard:
    """The whole board: figures first, the rows of detail folded."""
    built = headed("Runs", "Workflow scripts in the gateway's own runtime: how they go, what they cost, what fails.")
    return filled(
        built.variables([source()]),
        summary(),
        (
            ("Runs", states(), False),
            ("Agents", agents(), False),
            ("Money", money(), False),
            ("Runtime", runtime(), False),
            ("Runs by name", names(), False),
        ),
    )


def render() -> str:
    """The board as Grafana imports it."""
    return rendered(board())


def main(arguments: Sequence[str], file: Path = FILE) -> int:
    """Write the file, or with `--check` say whether it is what would be written."""
    return written(render(), file, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
