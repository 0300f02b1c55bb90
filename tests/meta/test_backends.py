"""docs/backends.md shows the capability data as it is."""

import re

from scripts.backends_table import COLUMNS, PAGE, load, render, written


def test_tables_are_what_the_data_gives() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page, render(load())), "run: python -m scripts.backends_table"


def test_every_feature_has_a_row_and_every_backend_a_column() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{feature.id}` |" in page for feature in load().features)
    assert {*COLUMNS, "simulated"} == set(load().backends)


def test_a_changed_cell_changes_the_tables() -> None:
    data = load()
    feature = data.features[-1]
    row = next(line for line in render(data).splitlines() if f"`{feature.id}` |" in line)
    assert row.count("| dropped") == sum(feature.cells[name] is False for name in COLUMNS)


def test_features_that_the_page_names_exist() -> None:
    told = PAGE.read_text(encoding="utf-8").partition("Deployments of Foundry")[2].partition(":")[0]
    named = set(re.findall(r"`(\w+)`", told))
    assert len(named) > 5 and named <= {feature.id for feature in load().features}
