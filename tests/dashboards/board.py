"""Boards and rules as they are committed: their queries, and the metrics that these name. No test here."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BOARDS = sorted((ROOT / "dashboards").glob("*.json"))
RULES = sorted((ROOT / "dashboards" / "rules").glob("*.yaml"))
RULE_TESTS = sorted(Path(__file__).parent.glob("rules/*_test.yaml"))

# What Grafana puts in place of its variables; the test scrapes every second and looks back on less than an hour.
VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$team": ".*", "$model": ".*"}

_selector = re.compile(r"\bringfence[\w:]+(?:\{[^}]*\})?")
_legend = re.compile(r"\{\{(\w+)\}\}")
_name = re.compile(r"\bringfence[\w:]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, and where it stands."""

    name: str
    expr: str
    record: bool
    fields: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        return self.fields.get("labels", {})

    @property
    def annotations(self) -> dict[str, str]:
        return self.fields.get("annotations", {})


def load(board: Path) -> dict[str, Any]:
    """The whole document."""
    return json.loads(board.read_text())


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those in folded rows too, and no row."""
    for panel in board["panels"]:
        yield from panel.get("panels", [])
        if panel["type"] != "row":
            yield panel


def panel_queries() -> dict[str, set[str]]:
    """What panels ask, with the variables in place, to the labels that they show of the answer."""
    found: dict[str, set[str]] = {}
    for board in map(load, BOARDS):
        for panel in panels(board):
            for target in panel.get("targets", []):
                labels = set(_legend.findall(target.get("legendFormat", ""))) | _columns(panel)
                found.setdefault(substituted(target["expr"]), set()).update(labels)
    return found


def _columns(panel: dict[str, Any]) -> set[str]:
    """Labels that a table has columns of."""
    shown = [each["options"].get("indexByName", {}) for each in panel.get("transformations", [])]
    return {name for names in shown for name in names if not name.startswith("Value")}


def rules() -> list[Rule]:
    """Every rule of every file, in order."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [
        Rule(rule.get("record") or rule["alert"], rule["expr"], "record" in rule, rule)
        for group in groups
        for rule in group["rules"]
    ]


def substituted(expr: str) -> str:
    """A query as Grafana sends it."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def selectors(expr: str) -> set[str]:
    """What an expression selects, each with its label matchers."""
    return set(_selector.findall(expr))


def names(expr: str) -> set[str]:
    """The series that an expression names."""
    return set(_name.findall(expr))
