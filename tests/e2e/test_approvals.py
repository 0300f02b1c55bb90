"""A script that a person must approve is held before the client has it; what the person says is what becomes of it."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live import going_live
from tests.e2e.script import Block, Conversation
from tests.support.upstream import text_block, tool_block

HOLD_SECONDS = 120.0
SILENCE_SECONDS_MAX = 18.0
"""The gateway promises a sign of life at least every 15 s."""
TOOL_USE_ID = "toolu_e2e_workflow"
SCRIPT = """export const meta = { name: 'trio', description: 'Ask three' }
const said = await parallel([1, 2, 3].map(number => () => agent(`ASK ${number} of three`)))
return { said }
"""
ASKED: Mapping[str, Any] = {"policy": {"settings": {"workflows": {"approve_above": 1}}}}


def trio(conversation: Conversation) -> Sequence[Block]:
    """Main starts the script; when it may not, it does something else."""
    if conversation.agent != "main":
        return [text_block("Said it.")]
    if conversation.turn == 0:
        return [text_block("Starting."), tool_block("Workflow", {"script": SCRIPT}, TOOL_USE_ID)]
    if conversation.results[TOOL_USE_ID].get("is_error"):
        return [text_block("Did it alone.")]
    return [text_block("The run is over." if conversation.heard("<task-notification>") else "Waiting.")]


async def test_script_held_for_two_minutes_runs_once_it_is_approved(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, trio, ASKED) as live, live.running("ultracode: ask.") as run:
        waiting = await live.waiting_approval()
        shown = await live.read(f"/approvals/{waiting['id']}")
        await asyncio.wait([run], timeout=HOLD_SECONDS)
        held = not run.done() and live.model.agents == ["main"] and len(live.model.arrivals) == 1
        await live.post(f"/approvals/{waiting['id']}", {"verdict": "approve", "why": "three are fine"})
        outcome = await run

    assert (shown["script"], shown["profile"]["fan_out"]) == (SCRIPT, 3)
    assert held and live.wire.longest_silence_seconds() < SILENCE_SECONDS_MAX
    assert (outcome.exit_code, outcome.text) == (0, "The run is over.")
    assert len(live.model.agents) == 1 + 3
    assert live.wire.request_count == len(live.model.arrivals)


async def test_script_that_is_denied_starts_nobody_and_main_is_told_why(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, trio, ASKED) as live, live.running("ultracode: ask.") as run:
        waiting = await live.waiting_approval()
        await live.post(f"/approvals/{waiting['id']}", {"verdict": "deny", "why": "one agent is enough"})
        outcome = await run

    told = live.model.of_agent("main")[-1].results[TOOL_USE_ID]
    assert (outcome.exit_code, outcome.text) == (0, "Did it alone.")
    assert live.model.agents == ["main"]
    assert told["is_error"] is True and "one agent is enough" in str(told["content"])
    (word,) = live.records("approval")[-1]["decisions"]
    assert (word["by"], word["verdict"], word["why"]) == ("olga", "deny", "one agent is enough")


async def test_script_that_nobody_decides_expires_to_a_denial(client_binary: Path, tmp_path: Path) -> None:
    overrides = {**ASKED, "approvals": {"expires_seconds": 3}}
    async with going_live(client_binary, tmp_path, trio, overrides) as live:
        outcome = await live.run("ultracode: ask.")
        (item,) = (await live.read("/approvals"))["approvals"]

    told = live.model.of_agent("main")[-1].results[TOOL_USE_ID]
    assert item["state"] == "expired"
    assert (outcome.exit_code, outcome.text) == (0, "Did it alone.")
    assert live.model.agents == ["main"] and told["is_error"] is True


@pytest.mark.parametrize(("scope", "asked"), [("session", 1), ("once", 2)])
async def test_approval_holds_for_its_scope(client_binary: Path, tmp_path: Path, scope: str, asked: int) -> None:
    """Main starts the same script twice; what was approved for the session is not asked again."""

    def twice(conversation: Conversation) -> Sequence[Block]:
        if conversation.agent == "main" and conversation.turn == 1:
            return [tool_block("Workflow", {"script": SCRIPT}, f"{TOOL_USE_ID}_again")]
        return trio(conversation)

    async def approve_all(run: asyncio.Task[Any]) -> int:
        approved = 0
        while not run.done():
            for item in (await live.read("/approvals?state=waiting"))["approvals"]:
                await live.post(f"/approvals/{item['id']}", {"verdict": "approve", "scope": scope})
                approved += 1
            await asyncio.wait([run], timeout=0.2)
        return approved

    async with going_live(client_binary, tmp_path, twice, ASKED) as live, live.running("ultracode: ask.") as run:
        approved = await approve_all(run)
        outcome = await run

    assert approved == asked
    assert (outcome.exit_code, len(live.model.agents)) == (0, 1 + 6)
