"""What a tool call would start, as policies are asked about it."""

from hashlib import sha256

import pytest

from gateway.core.agents.questions import run_of, script_of, spawn_of
from gateway.core.decisions.decision import Run, ScriptProfile, Spawn

SCRIPT = "export const meta = {name: 'scan', description: 'd'}"
DIGEST = sha256(SCRIPT.encode()).hexdigest()


def test_script_in_the_call_is_known_by_its_hash_and_named_by_its_profile() -> None:
    profile = ScriptProfile(valid=True, name="scan")
    run = run_of({"script": SCRIPT, "name": "harmless", "args": [1]}, SCRIPT, profile, None)
    assert (run.name, run.script_sha256, run.opaque, run.args_bytes) == ("scan", DIGEST, False, 3)


@pytest.mark.parametrize(
    "tool_input", [{"name": "x"}, {"scriptPath": "/x.js"}, {"script": SCRIPT, "scriptPath": "/x.js"}, {"script": 7}]
)
def test_script_that_the_client_does_not_take_from_the_call_is_none(tool_input: dict[str, object]) -> None:
    assert script_of(tool_input) is None
    run = run_of(tool_input, None, None, None)
    assert (run.opaque, run.script_sha256, run.profile) == (True, None, None)


def test_spawn_has_the_facts_of_the_call_and_of_who_asks() -> None:
    tool_input = {"prompt": "look", "subagent_type": "Explore", "model": "haiku", "run_in_background": True}
    spawn = spawn_of(tool_input, parent_type="main", workflow=False)
    assert (spawn.agent_type, spawn.model, spawn.background, spawn.parent_type) == ("Explore", "haiku", True, "main")
    assert (spawn.via, spawn.prompt_bytes, spawn.prompt_sha256) == ("tool_use", 4, sha256(b"look").hexdigest())


def test_members_of_another_type_count_as_not_given() -> None:
    spawn = spawn_of({"prompt": 1, "subagent_type": [], "run_in_background": "yes"}, parent_type=None, workflow=True)
    assert spawn == Spawn("tool_use", workflow=True)


def test_text_that_is_no_unicode_is_measured_all_the_same() -> None:
    assert spawn_of({"prompt": "\ud800"}, parent_type=None, workflow=False).prompt_bytes == 3
    assert isinstance(run_of({"args": "\ud800"}, None, None, None), Run)
