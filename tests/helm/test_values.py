"""The values, their schema and the files of the chart, as far as they can be told without helm."""

import json
import re
from typing import Any, cast

import yaml

from tests.helm.chart import CHART, ROOT, package_version

SELF_EXPLAINING = set("podAnnotations nodeSelector tolerations affinity priorityClassName extraVolumeMounts".split())
"""Values that are what the key of a pod with that name is."""


def test_rules_and_boards_of_the_chart_are_those_of_the_dashboards_folder() -> None:
    files = [path for kind in ("rules", "dashboards") for path in (CHART / "files" / kind).glob("*.*")]
    twins = {path.name: path.read_bytes() for path in (ROOT / "dashboards").rglob("*.*")}
    assert [path.name for path in files if twins.get(path.name) != path.read_bytes()] == []


def test_chart_has_the_version_of_the_package() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == package_version()


def test_values_and_schema_have_the_same_keys() -> None:
    values, schema = default_values(), json.loads((CHART / "values.schema.json").read_text())
    assert leaves(values) - allowed(schema, schema) == set()
    assert {name.partition(".")[0] for name in allowed(schema, schema)} - set(values) == {"global"}


def test_every_top_level_value_is_tried_by_the_checks() -> None:
    tried = yaml.safe_load((CHART / "ci" / "everything-values.yaml").read_text())
    # The hardening is tried as it is; who changes it does so for a platform that demands other ids.
    assert set(default_values()) - set(tried) == {"securityContext", "podSecurityContext"}


def test_every_value_is_explained_or_says_it_itself() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    explained = [line for before, line in zip(lines, lines[1:], strict=False) if before.strip().startswith("#")]
    bare = [line for line in lines if re.match(r"[a-zA-Z]+: ", line) and line not in explained]
    assert bare == [line for line in bare if line.split(":")[0] in SELF_EXPLAINING]


def default_values() -> dict[str, Any]:
    return yaml.safe_load((CHART / "values.yaml").read_text())


def leaves(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names of all values; what is below `config` is the gateway's."""
    found: set[str] = set()
    for key, value in values.items():
        found.add(prefix + key)
        if isinstance(value, dict) and key not in ("config", "behavior"):
            found |= leaves(cast(dict[str, Any], value), f"{prefix}{key}.")
    return found


def allowed(schema: dict[str, Any], root: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names that the schema has; of an object that may hold anything, the names of the defaults."""
    found: set[str] = set()
    for key, below in schema.get("properties", {}).items():
        name = below.get("$ref", "").rpartition("/")[2]
        target = root["definitions"][name] if name else below
        found.add(prefix + key)
        free = target.get("additionalProperties", True) is not False and target.get("type") == "object"
        found |= {f"{prefix}{key}.{each}" for each in defaults_below(f"{prefix}{key}")} if free else set()
        found |= allowed(target, root, f"{prefix}{key}.")
    return found


def defaults_below(name: str) -> set[str]:
    value: Any = default_values()
    for part in name.split("."):
        value = value.get(part, {}) if isinstance(value, dict) else {}
    return leaves(cast(dict[str, Any], value)) if isinstance(value, dict) else set()
