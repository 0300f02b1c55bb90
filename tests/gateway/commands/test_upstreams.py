"""Upstreams as people see them."""

import json

import pytest

from gateway.commands.upstreams import UpstreamRow, show_upstreams
from gateway.switchboard import UpstreamView
from tests.gateway.commands.test_live import canned

OPEN = {
    "id": "bedrock-us",
    "backend": "bedrock",
    "state": "open",
    "failures": 5,
    "opened_at_ms": 1_767_225_600_000,
    "retry_at_ms": 1_767_225_630_000,
    "cooling": {"claude-opus-5-5": 1_767_225_660_000},
    "in_use": 3,
    "waiting": 21,
    "requests_total": 1234,
    "failures_total": 56,
    "last_error": "answered with status 529",
    "last_error_at_ms": 1_767_225_600_000,
}
FINE = OPEN | {
    "id": "claude",
    "backend": "anthropic",
    "state": "closed",
    "failures": 0,
    "opened_at_ms": None,
    "retry_at_ms": None,
    "cooling": {},
    "last_error": None,
    "last_error_at_ms": None,
}


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def test_upstream_shows_its_breaker_its_load_and_its_last_error(capsys: pytest.CaptureFixture[str]) -> None:
    client = canned({"upstreams": [OPEN, FINE]})
    show_upstreams(client, as_json=False)
    opened, fine = capsys.readouterr().out.splitlines()[-2:]
    for text in ("bedrock-us", "open", "2026-01-01 00:00:30Z", "claude-opus-5-5 until", "21", "1234", "56", "529"):
        assert text in opened
    assert fine.split()[:4] == ["claude", "anthropic", "closed", "-"] and fine.count(" -") == 3
    assert client.asked == [("/upstreams", {})]


def test_json_is_what_the_gateway_said(capsys: pytest.CaptureFixture[str]) -> None:
    show_upstreams(canned({"upstreams": [OPEN]}), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"upstreams": [OPEN]}


def test_row_has_the_fields_that_the_gateway_sends() -> None:
    assert UpstreamRow.__struct_fields__ == UpstreamView.__struct_fields__
    assert set(OPEN) == set(UpstreamView.__struct_fields__)


def test_texts_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_upstreams(canned({"upstreams": [OPEN | {"cooling": {"\x1b[2J[red]": 0}}]}), as_json=False)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[red]" in shown
