"""The board "Ringfence / Blast radius": how many agents there are, how far they reach, and what would stop them.

`scripts/dashboards` writes it to `blast.json`. Its panels are `blast_rows.py`; the recorded series that they show are
those of `rules/blast.yaml`. Which sessions they are is asked of the API: sessions are no labels.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.blast_rows import agents, fuses, names, reach, summary
from dashboards.board import choice, filled, headed, rendered, source, written

FILE = Path(__file__).with_suffix(".json")


def board() -> Dashboard:
    """The whole board: figures first, the rows of detail folded."""
    built = headed(
        "Blast radius", "How many agents are at work, what they reach, what was denied, and how near their fuses are."
    )
    return filled(
        built.variables([source(), choice("team", "ringfence_team_active_agents")]),
        summary(),
        (
            ("Agents", agents(), False),
            ("Reach", reach(), False),
            ("Fuses and controls", fuses(), False),
            ("Sessions by name", names(), False),
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
