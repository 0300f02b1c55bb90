"""Writes the tables of docs/backends.md from gateway/capabilities.yaml; to be run after a change of that file.

.venv/bin/python -m scripts.backends_table
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from gateway.config.backends import BACKENDS
from gateway.core.bridging.capabilities import Capabilities, Cell, Feature, parse_capabilities
from gateway.core.bridging.features import ACTIONS
from gateway.core.wire.shapes import SHAPES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "backends.md"
BEGIN = "<!-- tables: written by scripts/backends_table.py -->"
END = "<!-- end of the tables -->"
COLUMNS = ("anthropic", "aws", "foundry", "bedrock", "vertex")
"""`simulated` takes everything, so it has no column."""


def load() -> Capabilities:
    """The packaged table."""
    return parse_capabilities(yaml.safe_load((ROOT / "gateway" / "capabilities.yaml").read_text(encoding="utf-8")))


def render(capabilities: Capabilities) -> str:
    """Both tables and their notes, as Markdown."""
    notes: dict[tuple[str, ...], int] = {}
    rows = [_row(feature, notes) for feature in capabilities.features]
    lines = [
        *_table(("dialect", *(f"`{name}`" for name in COLUMNS)), (_dialect_row(shape) for shape in SHAPES)),
        "",
        *_table(("feature", "beta", *(f"`{name}`" for name in COLUMNS)), rows),
        "",
        *(f"[{number}] {', '.join(f'`{glob}`' for glob in globs)}  " for globs, number in notes.items()),
        "",
        "Where documents disagree or are silent:",
        "",
        *(f"- `{feature.id}`: {feature.source}" for feature in capabilities.features if feature.source),
    ]
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _dialect_row(dialect: str) -> tuple[str, ...]:
    return (f"`{dialect}`", *(_pair(dialect, name) for name in COLUMNS))


def _pair(dialect: str, name: str) -> str:
    shape = BACKENDS[name].shape
    if name == "anthropic":
        return "as sent" if dialect == shape else "translated"
    if dialect == shape != "anthropic":
        return "as sent, version lowered where needed"
    return "bridged" if dialect == shape else "bridged, translated"


def _row(feature: Feature, notes: dict[tuple[str, ...], int]) -> tuple[str, ...]:
    betas = ", ".join(f"`{beta}`" for beta in feature.betas)
    return (f"{feature.title} `{feature.id}`", betas, *(_cell(feature, name, notes) for name in COLUMNS))


def _cell(feature: Feature, name: str, notes: dict[tuple[str, ...], int]) -> str:
    cell: Cell = feature.cells[name]
    lost = "refused" if feature.without == "refuse" else ACTIONS[feature.without]
    if cell is False:
        return lost
    yes = f"yes{_renamed(feature.send, name)}"
    if cell is True:
        return yes
    number = notes.setdefault(cell, len(notes) + 1)
    return f"{yes} [{number}], else {lost}"


def _renamed(send: Mapping[str, str], name: str) -> str:
    if name not in send:
        return ""
    return f" as `{send[name]}`" if send[name] else ", without the beta"


def written(page: str, tables: str) -> str:
    """The page with its tables replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), render(load())), encoding="utf-8")
