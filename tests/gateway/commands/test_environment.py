"""What a developer exports."""

import json
import os
import shutil
import subprocess

import pytest

from gateway.commands.environment import MODES, Wanted, print_environment
from gateway.commands.output import EXIT_USAGE, CommandFailed

URL = "http://127.0.0.1:8080"


def printed(capsys: pytest.CaptureFixture[str], wanted: Wanted, *, as_json: bool = False) -> str:
    print_environment(wanted, as_json=as_json)
    return capsys.readouterr().out


def test_shell_that_evaluates_it_is_set_up_for_claude_code_only(capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(capsys, Wanted(URL))
    environ = {"PATH": os.environ["PATH"], "RINGFENCE_CREDENTIAL": "rf_a b'c", "ANTHROPIC_API_KEY": "old"}
    shell = subprocess.run(["sh", "-c", script + "\nenv"], env=environ, capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in shell.stdout.splitlines())
    assert found["ANTHROPIC_BASE_URL"] == URL and found["ANTHROPIC_AUTH_TOKEN"] == "rf_a b'c"
    assert "ANTHROPIC_API_KEY" not in found and "CLAUDE_CODE_USE_BEDROCK" not in found


@pytest.mark.parametrize("credential", ["it's $HOME `id`", 'a"b\\c', "$(touch x)"])
def test_credential_is_quoted_for_the_shell(capsys: pytest.CaptureFixture[str], credential: str) -> None:
    script = printed(capsys, Wanted(URL, mode="bedrock", credential=credential))
    command = ["sh", "-c", script + '\nprintf %s "$ANTHROPIC_AUTH_TOKEN"']
    shell = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    assert shell.stdout == credential


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_sets_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(capsys, Wanted(URL, shell="fish", mode="anthropic", credential="it's \\ $HOME"))
    command = ["fish", "-c", script + '\nprintf %s "$ANTHROPIC_AUTH_TOKEN"']
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "it's \\ $HOME"


def test_other_shells_have_their_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    fish = printed(capsys, Wanted(URL, shell="fish", mode="anthropic", credential="it's"))
    powershell = printed(capsys, Wanted(URL, shell="powershell", mode="anthropic"))
    assert "set -gx ANTHROPIC_AUTH_TOKEN 'it\\'s'" in fish and "set -e ANTHROPIC_API_KEY" in fish
    assert f"$env:ANTHROPIC_BASE_URL = '{URL}'" in powershell
    assert "$env:ANTHROPIC_AUTH_TOKEN = $env:RINGFENCE_CREDENTIAL" in powershell


def test_modes_that_were_not_asked_for_are_comments(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, Wanted(URL)).splitlines()
    assert [line for line in lines if "USE_BEDROCK=" in line] == ["# export CLAUDE_CODE_USE_BEDROCK=1"]
    vertex = printed(capsys, Wanted(URL + "/", mode="vertex"))
    assert f"\nexport ANTHROPIC_VERTEX_BASE_URL={URL}/v1\n" in vertex and "BEDROCK_BASE_URL" not in vertex


def test_json_has_every_mode_and_refers_to_the_credential(capsys: pytest.CaptureFixture[str]) -> None:
    modes = json.loads(printed(capsys, Wanted(URL), as_json=True))
    assert list(modes) == ["anthropic", "bedrock", "vertex", "foundry"]
    assert modes["bedrock"]["set"]["ANTHROPIC_AUTH_TOKEN"] == "${RINGFENCE_CREDENTIAL}"
    assert "ANTHROPIC_API_KEY" in modes["anthropic"]["unset"] and "ANTHROPIC_BASE_URL" in modes["anthropic"]["set"]


SWITCHES = {"CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"}


@pytest.mark.parametrize("mode", MODES)
def test_mode_set_up_after_any_other_leaves_no_switch_of_it(capsys: pytest.CaptureFixture[str], mode: str) -> None:
    scripts = [printed(capsys, Wanted(URL, mode=each, credential="rf_x")) for each in (*MODES, mode)]
    environ = {"PATH": os.environ["PATH"], "AWS_BEARER_TOKEN_BEDROCK": "old", "ANTHROPIC_FOUNDRY_RESOURCE": "old"}
    command = ["sh", "-ec", "\n".join(scripts) + "\nenv"]
    shell = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in shell.stdout.splitlines())
    assert found.keys() & SWITCHES == ({f"CLAUDE_CODE_USE_{mode.upper()}"} & SWITCHES)
    assert "AWS_BEARER_TOKEN_BEDROCK" not in found and "ANTHROPIC_FOUNDRY_RESOURCE" not in found


def test_foundry_mode_is_sent_below_its_prefix_with_the_credential(capsys: pytest.CaptureFixture[str]) -> None:
    foundry = json.loads(printed(capsys, Wanted(URL, mode="foundry", credential="rf_x"), as_json=True))["foundry"]
    assert foundry["set"] == {
        "CLAUDE_CODE_USE_FOUNDRY": "1",
        "ANTHROPIC_FOUNDRY_BASE_URL": f"{URL}/anthropic",
        "ANTHROPIC_FOUNDRY_API_KEY": "rf_x",
    }


@pytest.mark.parametrize("url", ["", "gateway:8080", "ftp://x", "http://", "http://[", "http://x\ny"])
def test_url_that_is_none_is_wrong_usage(url: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        print_environment(Wanted(url), as_json=False)
    assert failed.value.exit_code == EXIT_USAGE
