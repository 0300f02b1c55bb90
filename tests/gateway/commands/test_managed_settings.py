"""What is deployed as the client's managed settings."""

import json
from typing import Any

import pytest

from gateway.__main__ import main
from gateway.commands.environment import MODES
from gateway.commands.managed_settings import managed_settings
from gateway.core.inquiries.hooks import USED_EVENTS

URL = "http://gateway:8080"


def settings(mode: str = "anthropic", url: str = URL, *, disable_workflows: bool = False) -> dict[str, Any]:
    return managed_settings(url, mode, disable_workflows=disable_workflows)


def test_every_used_event_comes_to_the_gateway_with_the_developers_credential() -> None:
    printed = settings()
    hooks = {event: entry for event, (matcher,) in printed["hooks"].items() for entry in matcher["hooks"]}
    assert set(hooks) == set(USED_EVENTS)
    for event, hook in hooks.items():
        assert (hook["type"], hook["url"]) == ("http", f"{URL}/ringfence/v1/hooks/{event}")
        assert hook["headers"] == {"Authorization": "Bearer $RINGFENCE_CREDENTIAL"}
        assert hook["allowedEnvVars"] == printed["httpHookAllowedEnvVars"] == ["RINGFENCE_CREDENTIAL"]


def test_only_the_hook_that_can_keep_a_call_back_blocks_when_it_fails() -> None:
    hooks = settings()["hooks"]
    blocking = [event for event, (matcher,) in hooks.items() if "onFailure" in matcher["hooks"][0]]
    assert blocking == ["PreToolUse"] and hooks["PreToolUse"][0]["hooks"][0]["onFailure"] == "block"
    assert "matcher" not in hooks["PreToolUse"][0]


def test_nothing_else_may_send_hooks_or_step_round_permissions() -> None:
    printed = settings()
    assert printed["allowManagedHooksOnly"] is True
    assert printed["allowedHttpHookUrls"] == [f"{URL}/ringfence/v1/hooks/*"]
    assert printed["permissions"] == {"disableBypassPermissionsMode": "disable"}


@pytest.mark.parametrize("mode", MODES)
def test_environment_leads_to_the_gateway_in_this_mode_and_nowhere_in_the_others(mode: str) -> None:
    env = settings(mode)["env"]
    switches = {name: value for name, value in env.items() if name.startswith("CLAUDE_CODE_USE_")}
    assert [name for name, value in switches.items() if value] == (
        [] if mode == "anthropic" else [f"CLAUDE_CODE_USE_{mode.upper()}"]
    )
    assert any(value.startswith(URL) for value in env.values()) and env["ANTHROPIC_API_KEY"] == ""
    assert "ANTHROPIC_AUTH_TOKEN" not in env and "ANTHROPIC_FOUNDRY_API_KEY" not in env


def test_tag_in_the_path_is_for_requests_only() -> None:
    printed = settings(url=f"{URL}/gw/team-a")
    assert printed["env"]["ANTHROPIC_BASE_URL"] == f"{URL}/gw/team-a"
    assert printed["hooks"]["Stop"][0]["hooks"][0]["url"] == f"{URL}/ringfence/v1/hooks/Stop"


def test_workflows_are_disabled_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--managed-settings", "--url", URL]) == 0
    assert "disableWorkflows" not in json.loads(capsys.readouterr().out)
    assert main(["env", "--managed-settings", "--url", URL, "--disable-workflows"]) == 0
    assert json.loads(capsys.readouterr().out)["disableWorkflows"] is True


@pytest.mark.parametrize(
    "arguments", [["--managed-settings", "--credential", "rf_secret"], ["--disable-workflows"], ["--url", "nowhere"]]
)
def test_what_does_not_go_together_is_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["env", "--managed-settings", *arguments] if "--url" in arguments else ["env", *arguments]) == 2
    told = capsys.readouterr()
    assert "ringfence: " in told.err and "rf_secret" not in told.out + told.err
