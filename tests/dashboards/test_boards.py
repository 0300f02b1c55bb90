"""Boards and rules show what there is: no panel without its metric, no metric of money without a place to see it."""

import os
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics import Metrics
from tests.dashboards.board import BOARDS, RULES, load, names, panel_queries, panels, rules

MONEY = re.compile(
    r"ringfence_(cost|held|budget|quota|limit|overshoot|max_tokens|hold|holds|streams_ended|drains|estimate|cache|store)_"
)
SUFFIXES = ("", "_total", "_bucket", "_sum", "_count")


def defined() -> dict[str, str]:
    """Every name that a query may use, to the metric it is of."""
    page = Metrics(lambda model: model, teams=()).render().decode()
    families = [family.name for family in text_string_to_metric_families(page)]
    return {family + suffix: family for family in families for suffix in SUFFIXES}


def used() -> set[str]:
    """Series that panels and rules name."""
    exprs = [*panel_queries(), *(rule.expr for rule in rules())]
    return {name for expr in exprs for name in names(expr)}


def recorded() -> set[str]:
    return {rule.name for rule in rules() if rule.record}


def test_every_metric_on_a_board_or_in_a_rule_exists() -> None:
    known = defined().keys() | recorded()
    assert len(used()) > 20
    assert sorted(used() - known) == []


def test_every_metric_of_money_is_on_a_board_or_in_a_rule() -> None:
    shown = {family for name, family in defined().items() if name in used()}
    money = {family for family in defined().values() if MONEY.match(family + "_")}
    assert len(money) > 20
    assert sorted(money - shown) == []


def test_every_recorded_series_is_used() -> None:
    unused = recorded() - used()
    # For whoever asks for the rate of an hour: the board shows that of five minutes.
    assert unused <= {"ringfence:burn_usd_per_hour:rate1h"}


def test_every_panel_says_what_it_shows_and_asks_the_chosen_source() -> None:
    for board in map(load, BOARDS):
        for panel in panels(board):
            assert panel["title"] and len(panel["description"]) > 10 and panel["targets"], panel["title"]
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert {source["uid"] for source in sources} == {"${datasource}"}, panel["title"]


def test_panels_have_ids_and_places_of_their_own() -> None:
    for board in map(load, BOARDS):
        found = [panel["id"] for panel in [*panels(board), *(row for row in board["panels"] if row["type"] == "row")]]
        assert len(found) == len(set(found))
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels(board)]
        assert len(places) == len(set(places))
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels(board))


def test_spend_board_has_its_name_and_variables() -> None:
    board = load(BOARDS[[path.stem for path in BOARDS].index("spend")])
    assert board["title"] == "Ringfence / Spend"
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "team", "model"]


def test_money_is_shown_in_dollars() -> None:
    units = {
        panel["title"]: panel["fieldConfig"]["defaults"]["unit"]
        for board in map(load, BOARDS)
        for panel in panels(board)
        if all("_usd" in target["expr"] and "/" not in target["expr"] for target in panel["targets"])
    }
    assert len(units) > 8
    assert set(units.values()) == {"currencyUSD"}


def test_rates_look_back_as_far_as_the_board_shows() -> None:
    fixed = [
        (panel["title"], target["expr"])
        for board in map(load, BOARDS)
        for panel in panels(board)
        for target in panel["targets"]
        if re.search(r"\[(?!\$__rate_interval\]|\$__range\])", target["expr"])
    ]
    assert fixed == []


def test_committed_boards_are_what_their_sources_make() -> None:
    spend = pytest.importorskip("dashboards.spend", reason="grafana-foundation-sdk is not installed")
    assert spend.FILE.read_text() == spend.render()
    assert spend.main(["--check"]) == 0


def test_board_that_was_edited_by_hand_is_told(tmp_path: Path) -> None:
    spend = pytest.importorskip("dashboards.spend", reason="grafana-foundation-sdk is not installed")
    edited = tmp_path / "spend.json"
    edited.write_text(spend.FILE.read_text().replace("Spent today", "Spent"))
    assert spend.main(["--check"], edited) == 1 and spend.main(["--check"], tmp_path / "missing.json") == 1
    assert spend.main([], edited) == 0 and spend.main(["--check"], edited) == 0


def test_every_board_has_a_source() -> None:
    assert BOARDS and RULES
    assert [path.name for path in BOARDS if not path.with_suffix(".py").exists()] == []


def test_script_that_writes_boards_can_be_run() -> None:
    script = BOARDS[0].parents[1] / "scripts" / "dashboards"
    assert os.access(script, os.X_OK) and "dashboards.spend" in script.read_text()
