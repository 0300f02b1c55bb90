"""The board "Ringfence / Policy": what is decided, by which rule, how fast, and who waits for people.

`scripts/dashboards` writes it to `policy.json`. Its panels are `policy_rows.py`; the recorded series that they show are
those of `rules/policy.yaml`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.board import filled, headed, rendered, source, written
from dashboards.policy_rows import approvals, decisions, engine, summary

FILE = Path(__file__).with_suffix(".json")


def board() -> Dashboard:
    """The whole board: figures first, the rows of detail folded."""
    built = headed(
        "Policy", "What policy allows and denies, what it would deny, how long it takes, and which approvals wait."
    )
    return filled(
        built.variables([source()]),
        summary(),
        (
            ("Decisions", decisions(), False),
            ("Approvals", approvals(), False),
            ("Engine", engine(), False),
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
