"""Cards of scripts, and the registry as people read and change it."""

import json
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from gateway.commands.output import CommandFailed
from gateway.commands.workflows import approve_script, list_scripts, profile_script, revoke_script
from gateway.core.decisions.decision import CallSite, PlannedPhase, ScriptProfile, Unbounded, Width
from gateway.core.oversight.scripts import Approval, approve
from tests.gateway.commands.test_live import canned
from tests.gateway.core.oversight.approvalcases import SCRIPT

HASH = sha256(SCRIPT.encode()).hexdigest()
PROFILE = ScriptProfile(
    valid=True,
    name="sweep",
    description="sweeps all",
    phases=("Find",),
    agent_calls=2,
    fan_out=7,
    models=("opus", "haiku"),
    nested_workflows=1,
    planned=(PlannedPhase("Find", "one each", "haiku"),),
    sites=(CallSite(4, label="find \ufffd", isolation="worktree", schema=True, more=True), CallSite(9)),
    widths=(Width(3, "parallel", None), Width(8, "pipeline", 5)),
    unbounded=(Unbounded(3, "map"),),
)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.js"
    path.write_text(SCRIPT)
    return path


def test_card_tells_all_that_is_known_of_a_script(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert profile_script(script, lambda script: PROFILE, as_json=False) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "workflow sweep: sweeps all" and f"sha256    {HASH}" in lines
    assert "agents    at most 7, from 2 call sites, and 1 nested workflow" in lines
    assert "phase     Find (one each) (haiku)" in lines and "models    opus, haiku" in lines
    assert "line 4    agent (label find ?, isolation worktree, schema, further options that cannot be seen)" in lines
    assert {"line 9    agent", "line 3    parallel of unknown width", "line 8    pipeline of 5"} <= set(lines)
    assert "line 3    no visible bound: map" in lines


def test_invalid_script_fails_with_its_problems(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invalid = ScriptProfile(valid=False, problems=("1:1 meta_missing: begin with meta.",))
    assert profile_script(script, lambda script: invalid, as_json=False) == 1
    assert "problem   1:1 meta_missing" in capsys.readouterr().out
    assert profile_script(script, lambda script: invalid, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["sha256"] == HASH


def test_registry_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    entry = approve(None, Approval(HASH, "olga", 1_767_225_600_000, "read it", "sweep", PROFILE))
    list_scripts(canned({"scripts": [entry]}), as_json=False)
    text = capsys.readouterr().out
    assert all(word in text for word in (HASH, "sweep", "approved", "at most 7", "olga", "2026-01-01", "read it"))
    list_scripts(canned({"scripts": []}), as_json=False)
    assert "No script was approved" in capsys.readouterr().out


def test_file_is_approved_by_its_source_and_a_hash_as_it_is(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = msgspec.to_builtins(approve(None, Approval(HASH, "olga", 1, "read it")))
    client = canned(entry)
    approve_script(client, str(script), "read it", as_json=False)
    approve_script(client, HASH, "read it", as_json=True)
    assert [body for _, body in client.asked] == [
        {"script": SCRIPT, "why": "read it"},
        {"sha256": HASH, "why": "read it"},
    ]
    assert "is approved, by olga" in capsys.readouterr().out


def test_revoked_script_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    client = canned({"sha256": HASH, "state": "revoked", "at_ms": 1, "by": "olga"})
    revoke_script(client, HASH, "old", as_json=False)
    assert f"script {HASH} (no name) is revoked, by olga" in capsys.readouterr().out
    assert client.asked == [(f"/scripts/{HASH}/revoke", {"why": "old"})]


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff", "not UTF-8"), (b"x" * (1024 * 1024 + 1), "larger than"), (None, "cannot be read")]
)
def test_file_that_is_no_script_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.js"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandFailed, match=said):
        profile_script(path, lambda script: PROFILE, as_json=False)
