"""Boards and rules show what there is: no panel without its metric, none without a place to see it."""

import importlib
import os
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.contract import ADMIN_PREFIX
from gateway.telemetry.metrics import Metrics
from gateway.web.top import ORDERS
from tests.dashboards.board import BOARDS, ROOT, RULES, load, names, panel_queries, panels, rules

MONEY = re.compile(
    r"ringfence_(cost|held|budget|quota|limit|overshoot|max_tokens|hold|holds|streams_ended|drains|estimate|cache|store)_"
)
BLAST = re.compile(
    r"ringfence_(active_agents|agents|team|blast|depth|files|hosts|fuses?|unfused|controls|spawns|tool_calls)_"
)
POLICY = re.compile(r"ringfence_(decisions|shadow|policy|opa|approvals?)_")
RUNS = re.compile(r"ringfence_(runs?|sandbox)_")
SEEN_BY_SPAWNS = {"ringfence_agents_seen"}
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


@pytest.mark.parametrize(
    ("subject", "least"),
    [(MONEY, 20), (BLAST, 12), (POLICY, 11), (RUNS, 14)],
    ids=["spend", "blast", "policy", "runs"],
)
def test_every_metric_of_a_subject_is_on_a_board_or_in_a_rule(subject: re.Pattern[str], least: int) -> None:
    shown = {family for name, family in defined().items() if name in used()}
    wanted = {family for family in defined().values() if subject.match(family + "_")} - SEEN_BY_SPAWNS
    assert len(wanted) > least
    assert sorted(wanted - shown) == []


def test_every_recorded_series_is_used() -> None:
    unused = recorded() - used()
    # For whoever asks for the rate of an hour: the board shows that of five minutes.
    assert unused <= {"ringfence:burn_usd_per_hour:rate1h"}


def test_every_panel_says_what_it_shows_and_asks_the_chosen_source() -> None:
    for board in map(load, BOARDS):
        for panel in panels(board):
            if panel["type"] == "text":
                assert panel["title"] and len(panel["options"]["content"]) > 10
                continue
            assert panel["title"] and len(panel["description"]) >= 10 and panel["targets"], panel["title"]
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert {source["uid"] for source in sources} == {"${datasource}"}, panel["title"]


def test_panels_have_ids_and_places_of_their_own() -> None:
    for board in map(load, BOARDS):
        found = [panel["id"] for panel in [*panels(board), *(row for row in board["panels"] if row["type"] == "row")]]
        assert len(found) == len(set(found))
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels(board)]
        assert len(places) == len(set(places))
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels(board))


@pytest.mark.parametrize(
    ("stem", "title", "variables"),
    [
        ("spend", "Spend", ["datasource", "team", "model"]),
        ("blast", "Blast radius", ["datasource", "team"]),
        ("policy", "Policy", ["datasource"]),
        ("runs", "Runs", ["datasource"]),
    ],
)
def test_board_has_its_name_and_variables(stem: str, title: str, variables: list[str]) -> None:
    board = load(BOARDS[[path.stem for path in BOARDS].index(stem)])
    assert board["title"] == f"Ringfence / {title}"
    assert [variable["name"] for variable in board["templating"]["list"]] == variables


def test_no_session_run_or_agent_is_a_label_of_a_board() -> None:
    labels = {label for shown in panel_queries().values() for label in shown}
    assert {"team", "scope", "rule", "kind"} <= labels
    assert labels & {"session", "run", "agent", "agent_id", "user", "credential", "request", "decision"} == set()


def test_board_of_names_asks_for_what_the_api_has() -> None:
    board = load(BOARDS[[path.stem for path in BOARDS].index("blast")])
    (words,) = (panel["options"]["content"] for panel in panels(board) if panel["type"] == "text")
    assert ADMIN_PREFIX + "/sessions?order=" in words
    assert {order for order in ORDERS if f"`{order}`" in words} == set(ORDERS)


def test_money_is_shown_in_dollars() -> None:
    units = {
        panel["title"]: panel["fieldConfig"]["defaults"]["unit"]
        for board in map(load, BOARDS)
        for panel in panels(board)
        if panel["type"] != "text"
        and all("_usd" in target["expr"] and "/" not in target["expr"] for target in panel["targets"])
    }
    assert len(units) > 8
    assert set(units.values()) == {"currencyUSD"}


def test_rates_look_back_as_far_as_the_board_shows() -> None:
    fixed = [
        (panel["title"], target["expr"])
        for board in map(load, BOARDS)
        for panel in panels(board)
        for target in panel.get("targets", [])
        if re.search(r"\[(?!\$__rate_interval\]|\$__range\])", target["expr"])
    ]
    assert fixed == []


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_committed_boards_are_what_their_sources_make(path: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed")
    source = importlib.import_module(f"dashboards.{path.stem}")
    assert source.FILE == path and path.read_text() == source.render()
    assert source.main(["--check"]) == 0


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_board_that_was_edited_by_hand_is_told(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed")
    source = importlib.import_module(f"dashboards.{path.stem}")
    edited = tmp_path / path.name
    edited.write_text(path.read_text().replace("Ringfence /", "Rings /"))
    assert source.main(["--check"], edited) == 1 and source.main(["--check"], tmp_path / "missing.json") == 1
    assert source.main([], edited) == 0 and source.main(["--check"], edited) == 0


def test_every_board_has_a_source_rules_and_a_copy_in_the_chart() -> None:
    stems = {path.stem for path in BOARDS}
    assert stems == {path.stem for path in RULES} == {"spend", "blast", "policy", "runs"}
    assert [path.name for path in BOARDS if not path.with_suffix(".py").exists()] == []
    files = ROOT / "helm" / "ringfence" / "files"
    assert {path.stem for path in (files / "dashboards").iterdir()} == stems
    assert {path.stem for path in (files / "rules").iterdir()} == stems


def test_script_that_writes_boards_names_each() -> None:
    script = ROOT / "scripts" / "dashboards"
    (named,) = re.findall(r'^boards="(.+)"$', script.read_text(), re.MULTILINE)
    assert os.access(script, os.X_OK) and set(named.split()) == {path.stem for path in BOARDS}
