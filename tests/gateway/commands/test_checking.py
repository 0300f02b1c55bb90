"""Checking a configuration with its policies."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.checking import check
from gateway.commands.output import EXIT_DONE, EXIT_FAILED

GOOD = "upstreams: [{id: sim, backend: simulated}]\n"
ENVIRON = {"KEY": "hunter2-hunter2-hunter2"}


def checked(path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    (path / "ringfence.yaml").write_text(text)
    code = check(path / "ringfence.yaml", ENVIRON, as_json=True)
    return code, json.loads(capsys.readouterr().out)


def test_good_configuration_is_summed_up_without_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD + 'identity: {credentials: [{id: laptop, secret: "${KEY}", user: alice}]}\n'
    code, said = checked(tmp_path, text, capsys)
    assert (code, said["ok"], said["problems"]) == (EXIT_DONE, True, [])
    assert said["summary"]["upstreams"] == "sim (simulated)" and "hunter2" not in json.dumps(said)


def test_problems_of_configuration_and_policies_come_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GOOD + "listen: {prt: 1}\npolicy: {rules: {no/such: off}}\n"
    code, said = checked(tmp_path, text, capsys)
    places = " ".join(problem["place"] for problem in said["problems"])
    assert code == EXIT_FAILED and said["summary"] is None
    assert "ringfence.yaml:2:10" in places and "policy.settings" in places


def test_folder_without_policies_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(tmp_path, GOOD + "policy: {path: .}\n", capsys)
    assert code == EXIT_FAILED
    assert len(said["problems"]) == 1 and "holds no policies" in said["problems"][0]["message"]


def test_text_output_gives_place_and_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ringfence.yaml").write_text(GOOD + "listen: {prt: 1}\npolicy: {path: .}\n")
    assert check(tmp_path / "ringfence.yaml", ENVIRON, as_json=False) == EXIT_FAILED
    shown = capsys.readouterr().out
    assert f"problem: {tmp_path}/ringfence.yaml:2:10: unknown key listen.prt\n    did you mean port?" in shown
    assert "problems: 2; the gateway would not serve" in shown
