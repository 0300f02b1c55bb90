"""Rules are well-formed, every alert is tested by promtool, and each says what to do."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.dashboards.board import ROOT, RULE_TESTS, RULES, Rule, rules
from tests.dashboards.prometheus import required

ALERTS = [rule for rule in rules() if not rule.record]
SEVERITIES = {"critical", "warning"}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = required(shutil.which("promtool"), "promtool")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)


def anchors(page: str) -> set[str]:
    """Headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_are_what_prometheus_takes(path: Path) -> None:
    checked = promtool("check", "rules", str(path))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    tested = promtool("test", "rules", str(path))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_tested_to_fire_and_not_to_fire() -> None:
    tests = [test for path in RULE_TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    asked = [each for test in tests for each in test.get("alert_rule_test", [])]
    fires = {
        (each["alertname"], alert["exp_labels"]["severity"]) for each in asked for alert in each.get("exp_alerts") or []
    }
    quiet = {each["alertname"] for each in asked if not each.get("exp_alerts")}
    assert fires == {(alert.name, alert.labels["severity"]) for alert in ALERTS}
    assert quiet == {alert.name for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name}-{alert.labels.get('severity')}")
def test_every_alert_says_what_happened_and_what_to_do(alert: Rule) -> None:
    assert alert.labels["severity"] in SEVERITIES
    assert {"summary", "description", "action", "runbook_url"} == alert.annotations.keys()
    page, _, anchor = alert.annotations["runbook_url"].partition("#")
    assert anchor == alert.name.lower() and anchor in anchors(page)


def test_rules_name_no_host() -> None:
    assert [path.name for path in RULES if "://" in path.read_text()] == []
