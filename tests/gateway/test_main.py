"""The command line: arguments, exit codes, and errors as one message."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.__main__ import build_parser, main
from gateway.commands.output import EXIT_DONE, EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE

GOOD = "upstreams: [{id: sim, backend: simulated}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ringfence.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RINGFENCE_URL", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--config", "x.yaml"],
        ["check", "--json"],
        ["env", "--shell", "fish", "--mode", "vertex", "--json"],
        ["credentials", "create", "ci", "--user", "bob", "--team", "platform", "--operator", "--json"],
        ["credentials", "list", "--json"],
        ["credentials", "revoke", "ci", "--json"],
        ["policy", "test", "--path", "policies", "--json"],
        ["limits", "--account", "user:bob", "--url", "http://x", "--json"],
        ["limits", "explain", "--user", "bob", "--team", "t", "--credential", "c", "--session", "s", "--agent", "s/a"],
        ["limits", "explain", "--group", "g", "--group", "h", "--tag", "a=b", "--run", "r", "--json"],
        ["fuses", "list", "--json"],
        ["fuses", "replace", "fuse_1", "--reason", "looked at it", "--json"],
        ["sessions", "--limit", "3", "--json"],
        ["sessions", "show", "s1"],
        ["sessions", "stop", "s1", "--agent", "a1", "--reason", "loop"],
        ["sessions", "hold", "--everything", "--reason", "incident"],
        ["sessions", "controls"],
        ["fuses", "show", "fuse_1"],
        ["approvals", "list", "--state", "waiting"],
        ["approvals", "show", "apr_1"],
        ["approvals", "approve", "apr_1", "--scope", "session"],
        ["approvals", "deny", "apr_1", "--why", "no"],
        ["workflows", "list"],
        ["workflows", "revoke", "ab", "--why", "old"],
        ["upstreams", "--url", "http://x", "--json"],
        ["report", "spend", "--by", "team", "--from", "2026-01-01", "--to", "2026-01-31", "--format", "focus"],
        ["report", "spend", "--audit", "audit.jsonl", "--json"],
        ["demo", "--claude", "--pace", "fast", "--json"],
    ],
)
def test_every_command_has_a_body(arguments: list[str]) -> None:
    assert callable(build_parser().parse_args(arguments).run)


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["fuses", "replace", "x"], ["credentials", "create", "x"], ["env", "--shell", "csh"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 2 and "usage: ringfence" in capsys.readouterr().err


def test_default_configuration_is_in_the_working_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["credentials", "create", "ci", "--user", "bob", "--json"]) == EXIT_DONE
    assert json.loads(capsys.readouterr().out)["secret"].startswith("rf_")
    assert (folder / "ringfence.db").exists()


@pytest.mark.parametrize("arguments", [["serve"], ["credentials", "list"], ["policy", "test"]])
def test_invalid_configuration_is_told_whole_on_stderr(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ringfence.yaml").write_text("upstreams: [{id: a, backend: anthropc}]\nlisten: {prt: 1}\n")
    assert main(arguments) == EXIT_FAILED
    told = capsys.readouterr()
    assert told.out == "" and "2 problem(s)" in told.err
    assert "did you mean anthropic?" in told.err and "did you mean port?" in told.err


def test_missing_configuration_is_one_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--config", "missing.yaml"]) == EXIT_FAILED
    told = capsys.readouterr().err
    assert "missing.yaml: cannot be read: No such file or directory (name the file with --config)" in told
    assert "Traceback" not in told


def test_gateway_is_found_by_argument_then_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RINGFENCE_URL", "http://127.0.0.1:1/variable")
    assert main(["limits", "--url", "http://127.0.0.1:1/argument"]) == EXIT_UNREACHABLE
    assert "http://127.0.0.1:1/argument" in capsys.readouterr().err
    assert main(["sessions"]) == EXIT_UNREACHABLE
    assert "http://127.0.0.1:1/variable" in capsys.readouterr().err


def test_explain_keeps_what_was_said_before_it_and_takes_no_account(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["limits", "--url", "http://127.0.0.1:1/before", "explain"]) == EXIT_UNREACHABLE
    assert "http://127.0.0.1:1/before" in capsys.readouterr().err
    assert main(["limits", "--account", "org", "explain"]) == EXIT_USAGE
    assert "--user" in capsys.readouterr().err


def test_damaged_store_is_one_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "ringfence.db").write_bytes(b"not a database" * 1000)
    assert main(["credentials", "list"]) == EXIT_FAILED
    told = capsys.readouterr().err
    assert told.startswith("ringfence: ") and told.count("\n") == 1


def test_command_runs_as_a_module_and_survives_a_closed_pipe(folder: Path) -> None:
    root = Path(__file__).parents[2]
    command = f"{sys.executable} -m gateway env | true; exit ${{PIPESTATUS[0]}}"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root)}
    ended = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, text=True, check=False)
    assert ended.stderr == "" and ended.returncode in (EXIT_DONE, EXIT_FAILED)
