"""The board "Ringfence / Spend": what is spent and held, by whom, how long budgets last, and how good estimates are.

`scripts/dashboards` writes it to `spend.json`. Its panels are `spend_rows.py`; the recorded series that they show are
those of `rules/spend.yaml`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.board import choice, filled, headed, rendered, source, written
from dashboards.spend_rows import budgets, cache, holds, limits, spend, summary

COST = "ringfence_cost_usd_total"
FILE = Path(__file__).with_suffix(".json")


def board() -> Dashboard:
    """The whole board: figures first, the rows of detail folded."""
    built = headed("Spend", "What coding agents spend and hold, who spends it, and how long budgets last.")
    return filled(
        built.variables([source(), choice("team", COST), choice("model", COST)]),
        summary(),
        (
            ("Spent and held", spend(), False),
            ("Budgets", budgets(), False),
            ("Limits", limits(), True),
            ("Prompt cache", cache(), True),
            ("Holds and estimates", holds(), True),
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
