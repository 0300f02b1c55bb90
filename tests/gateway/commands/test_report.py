"""The report as it is asked for and printed."""

import csv
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.output import EXIT_USAGE, CommandFailed
from gateway.commands.report import Format, Wanted, parse_wanted, report_spend
from gateway.config import Config, parse_config
from tests.gateway.core.money.test_showback import NEW_YEAR_MS, line

DAY_MS = 86_400_000
BOB = {"org": "acme", "team": "research", "user": "bob", "credential": "b"}
LINES = (
    line(cost_nanousd=1_936_000),
    line(cost_nanousd=1, cost_estimated=True, at_ms=NEW_YEAR_MS - 1),
    line(cost_nanousd=2_000_000_000, principal=BOB, at_ms=NEW_YEAR_MS + DAY_MS),
)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "audit.jsonl").write_bytes(b"".join(each + b"\n" for each in LINES))
    return configured(tmp_path, str(tmp_path / "audit.jsonl"))


def configured(folder: Path, audit: str) -> Config:
    document = {"upstreams": [{"id": "main", "backend": "simulated"}], "audit": {"path": audit}}
    return parse_config(json.dumps(document), folder / "ringfence.yaml", {})


def wanted(form: Format = "json", by: str = "team,user", **days: str) -> Wanted:
    return parse_wanted(by, (days.get("since"), days.get("until")), form, audit=())


def printed(capsys: pytest.CaptureFixture[str], config: Config, asked: Wanted) -> str:
    report_spend(config, asked)
    return capsys.readouterr().out


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_table_has_a_line_per_group_and_a_total(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    _title, _head, *lines = printed(capsys, config, wanted("table")).splitlines()
    assert [each.split() for each in lines] == [
        ["platform", "alice", "2", "200", "40", "0", "0", "0", "$0.001936001", "$0.000000001"],
        ["research", "bob", "1", "100", "20", "0", "0", "0", "$2.00", "$0.00"],
        ["total", "3", "300", "60", "0", "0", "0", "$2.001936001", "$0.000000001"],
    ]


def test_json_is_exact_in_nano_dollars(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(capsys, config, wanted()))
    assert [(row["user"], row["cost_nanousd"], row["cost_usd"]) for row in told["rows"]] == [
        ("alice", 1_936_001, "0.001936001"),
        ("bob", 2_000_000_000, "2.00"),
    ]
    assert (told["total"]["cost_nanousd"], told["total"]["estimated_nanousd"]) == (2_001_936_001, 1)
    assert told["trail"] == {"oldest_ms": NEW_YEAR_MS - 1, "unreadable_lines": 0, "unreadable_first": []}


def test_csv_has_one_line_per_group_and_no_total_to_count_twice(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(printed(capsys, config, wanted("csv")))
    assert [(row["team"], row["requests"], row["cost_usd"]) for row in rows] == [
        ("platform", "2", "0.001936001"),
        ("research", "1", "2.00"),
    ]


def test_focus_has_a_row_per_day_and_the_same_total(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(printed(capsys, config, wanted("focus")))
    assert [(row["ChargePeriodStart"][:10], row["SubAccountId"], row["BilledCost"]) for row in rows] == [
        ("2025-12-31", "platform", "0.000000001"),
        ("2026-01-01", "platform", "0.001936"),
        ("2026-01-02", "research", "2.00"),
    ]
    assert {row["x_Model"] for row in rows} == {"claude-opus-5-5"}


@pytest.mark.parametrize(
    ("days", "costs"),
    [
        ({"since": "2026-01-01"}, [1_936_000, 2_000_000_000]),
        ({"until": "2026-01-01"}, [1_936_001]),
        ({"since": "2026-01-01", "until": "2026-01-01"}, [1_936_000]),
        ({"since": "2026-01-03"}, []),
    ],
)
def test_both_days_are_included(
    config: Config, capsys: pytest.CaptureFixture[str], days: Any, costs: list[int]
) -> None:
    told = json.loads(printed(capsys, config, wanted(**days)))
    assert [row["cost_nanousd"] for row in told["rows"]] == costs
    assert told["total"]["cost_nanousd"] == sum(costs)


def test_lines_that_are_no_records_are_told_beside_the_report(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(config.audit.path, "ab") as trail:
        trail.write(b"torn\n")
    report_spend(config, wanted())
    told = capsys.readouterr()
    assert json.loads(told.out)["trail"]["unreadable_first"] == [f"{config.audit.path}:4"]
    assert "1 line(s) of the trail are no audit records" in told.err and f"{config.audit.path}:4" in told.err


def test_trail_on_stdout_is_told_and_another_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, kept = configured(tmp_path, "stdout"), tmp_path / "kept.jsonl"
    with pytest.raises(CommandFailed, match=r"audit\.path is stdout.*name the file.*--audit"):
        report_spend(config, wanted())
    kept.write_bytes(LINES[0])
    asked = parse_wanted("org", (None, None), "csv", audit=[kept])
    assert [row["org"] for row in rows_of(printed(capsys, config, asked))] == ["acme"]


def test_text_from_clients_is_no_formula_and_steers_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "=cmd|' /C calc'!A0\x1b[2J[red]"
    (tmp_path / "audit.jsonl").write_bytes(line(lineage={"session": "s", "agent_type": evil}))
    config = configured(tmp_path, str(tmp_path / "audit.jsonl"))
    (row,) = rows_of(printed(capsys, config, wanted("csv", "agent-type")))
    assert row["agent-type"] == "'" + evil
    shown = printed(capsys, config, wanted("table", "agent-type"))
    assert "\x1b" not in shown and "[red]" in shown


def test_keys_and_days_are_read() -> None:
    asked = parse_wanted("user, day,user", ("2026-01-01", None), "csv", audit=())
    assert (asked.by, asked.days.since, asked.days.until) == (("user", "day"), date(2026, 1, 1), None)


@pytest.mark.parametrize(
    ("by", "days", "told"),
    [
        ("team,colour", (None, None), "--by: no key 'colour'; keys are org, team, user"),
        ("", (None, None), "--by: no key ''"),
        ("team", ("last week", None), "--from: 'last week' is no day; write it as 2026-01-31"),
        ("team", (None, "2026-02-30"), "--to: '2026-02-30' is no day"),
        ("team", ("2026-02-02", "2026-02-01"), "--to: 2026-02-01 is before --from 2026-02-02"),
    ],
)
def test_wrong_options_are_told(by: str, days: tuple[str | None, str | None], told: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        parse_wanted(by, days, "table", audit=())
    assert told in failed.value.message and failed.value.exit_code == EXIT_USAGE
