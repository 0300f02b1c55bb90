"""The commands as they are typed."""

import argparse
from pathlib import Path

import pytest

from gateway.commands.output import CommandFailed
from gateway.commands.policy_kit.arguments import add_policy_kit
from tests.gateway.commands.policy_kit.trails import INFER, LIST, write_trail


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_policy_kit(parser.add_subparsers(), _configured)
    parsed = parser.parse_args(arguments)
    return parsed.run(parsed)


def _configured(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path)
    parser.add_argument("--json", action="store_true")


@pytest.fixture
def config(tmp_path: Path) -> str:
    write_trail(tmp_path / "audit.jsonl", [INFER, LIST])
    path = tmp_path / "ringfence.yaml"
    path.write_text('{"upstreams": [{"id": "main", "backend": "simulated"}], "policy": {"mode": "shadow"}}')
    return str(path)


def test_trail_and_kind_can_be_named(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trail = str(tmp_path / "audit.jsonl")
    assert run("replay", "--config", config, "--audit", trail, "--kind", "infer", "--from", "2026-01-01") == 0
    assert "replayed 1 decisions (1 infer)" in capsys.readouterr().out


def test_decision_can_be_explained(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "dec_1.1", "--config", config, "--audit", str(tmp_path / "audit.jsonl")) == 0
    assert "dec_1.1: tool_call allowed" in capsys.readouterr().out


def test_trail_that_nobody_names_is_told(config: str) -> None:
    with pytest.raises(CommandFailed, match=r"audit\.path is stdout"):
        run("explain", "dec_1.1", "--config", config)


def test_new_rule_goes_where_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="holds no policies"):
        run("new", "shell/friday", "--path", str(tmp_path))


def test_kind_that_is_none_is_refused(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("replay", "--config", config, "--kind", "everything")
    assert "invalid choice" in capsys.readouterr().err
