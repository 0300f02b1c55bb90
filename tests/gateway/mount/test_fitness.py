"""What `ringfence check` says of runs."""

from pathlib import Path

import pytest

from gateway.config import load_config
from gateway.mount.fitness import summarise_runs

SIMULATED = "upstreams: [{id: sim, backend: simulated}]\n"
OFF = "not offered: runs.bash is off in the configuration"


def summed_up(folder: Path, runs: str) -> dict[str, str]:
    (folder / "ringfence.yaml").write_text(f"{SIMULATED}runs: {runs}\n")
    return summarise_runs(load_config(folder / "ringfence.yaml", {}))


def test_runs_that_are_off_are_one_line(tmp_path: Path) -> None:
    assert summed_up(tmp_path, "{enabled: false}") == {"runs": "off (runs.enabled)"}


def test_limits_journal_and_sandbox_are_told(tmp_path: Path) -> None:
    said = summed_up(tmp_path, "{max_cost_usd: 2.5, approval: ask, keep_days: 7}")
    assert said["runs"].startswith(
        "16 agents side by side, 1000 in all, 24 h, $2.50; each approved by a person; model "
    )
    assert said["journal of runs"] == "in the store, for 7 days after a run has ended"
    assert said["script sandbox"].startswith("holds, ")
    assert said["workspaces"].startswith("none, ") and "Bash of agents" not in said


def test_tools_for_folders_are_told(tmp_path: Path) -> None:
    said = summed_up(tmp_path, f"{{workspaces: [{tmp_path}]}}")
    assert said["workspaces"] == str(tmp_path) and said["worktrees"].endswith("git")
    assert said["Bash of agents"].startswith(("in bubblewrap (/", "not offered: "))


def test_tools_that_lack_are_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    said = summed_up(tmp_path, f"{{workspaces: [{tmp_path}]}}")
    assert said["Bash of agents"] == "not offered: there is no bwrap on PATH: install the package bubblewrap"
    assert said["worktrees"] == "none can be made: there is no git on PATH"


def test_shell_that_is_switched_off_is_told(tmp_path: Path) -> None:
    assert summed_up(tmp_path, f"{{workspaces: [{tmp_path}], bash: false}}")["Bash of agents"] == OFF
