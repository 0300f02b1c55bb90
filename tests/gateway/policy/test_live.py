"""Policies that change while they decide."""

import shutil
from pathlib import Path

import pytest

from gateway.errors import GatewayError, Reason
from gateway.policy.live import LiveEngine
from tests.support.policies import POLICIES, build_query

ODD = build_query({"kind": "tool_call", "tool": "Bash", "input": {"command": "frobnicate now"}})
DENY_ODD = {"tools": {"deny": [{"tool": "Bash", "commands": ["frobnicate *"]}]}}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(POLICIES, tmp_path / "policies"))


def forbid_odd(policies: Path) -> None:
    """Change a default of the copy."""
    defaults = policies / "data" / "defaults.yaml"
    defaults.write_text(
        defaults.read_text().replace(
            "  deny: []\n  # Types", '  deny: [{tool: Bash, commands: ["frobnicate *"]}]\n  # Types'
        )
    )


async def test_changed_policies_decide_after_a_reload_and_not_before(policies: Path) -> None:
    engine = LiveEngine(policies, {}, "enforce")
    before = engine.revision
    forbid_odd(policies)
    still = await engine.decide(ODD)
    reloaded = await engine.reload()
    after = await engine.decide(ODD)
    assert (still.allow, still.revision, after.allow, after.revision) == (True, before, False, reloaded)
    assert before != reloaded == engine.revision


async def test_bad_policies_are_refused_and_the_old_ones_stay(policies: Path) -> None:
    engine = LiveEngine(policies, DENY_ODD, "enforce")
    before = engine.revision
    (policies / "main.rego").write_text("package ringfence\n\ndecision := no_such_function(1)\n")
    with pytest.raises(GatewayError) as refused:
        await engine.reload()
    assert refused.value.reason is Reason.POLICY_FAILED and "main.rego" in refused.value.message
    assert (engine.revision, (await engine.decide(ODD)).allow) == (before, False)


async def test_settings_of_the_configuration_stay_over_reloaded_policies(policies: Path) -> None:
    engine = LiveEngine(policies, DENY_ODD, "shadow")
    await engine.reload()
    decision = await engine.decide(ODD)
    assert decision.allow and [reason.rule for reason in decision.shadow] == ["tools/denylist"]
