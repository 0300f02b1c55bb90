"""Checking a configuration with its policies."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.checking import check, library_problems
from gateway.commands.output import EXIT_DONE, EXIT_FAILED
from gateway.config import Secret, UpstreamConfig
from gateway.config.backends import Backend

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


def test_routes_are_summed_up_with_weights_and_principals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """\
upstreams: [{id: a, backend: simulated}, {id: b, backend: simulated}]
routes: [{models: ["claude-*"], upstreams: [a, b], weights: {a: 3}, principals: ["group:ci"]}]
"""
    _, said = checked(tmp_path, text, capsys)
    assert said["summary"]["routes"] == "claude-* for group:ci -> a x3, b"
    assert said["warnings"] == []


@pytest.mark.parametrize("library", ["no_such_cloud", "no_such_cloud.auth", "json.no_such_part"])
def test_missing_library_is_a_problem_with_the_line_that_installs_it(library: str) -> None:
    backends = {"cloud": Backend("vertex", extra="cloud", library=library), "plain": Backend("anthropic")}
    upstreams = [UpstreamConfig("a", "plain"), UpstreamConfig("b", "cloud"), UpstreamConfig("c", "cloud")]
    found = library_problems(upstreams, backends)
    assert [problem.place for problem in found] == ["upstreams[1]", "upstreams[2]"]
    assert library in found[0].message and found[0].suggestion == "pip install 'ringfence[cloud]'"


def test_library_that_is_there_or_not_needed_is_no_problem() -> None:
    backends = {
        "missing": Backend("vertex", extra="cloud", library="no_such_cloud"),
        "there": Backend("vertex", extra="cloud", library="importlib.util"),
    }
    upstreams = [UpstreamConfig("a", "there"), UpstreamConfig("b", "missing", bearer=Secret("token"))]
    assert library_problems(upstreams, backends) == []
