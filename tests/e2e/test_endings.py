"""What a blown fuse leaves of an agent: one last request to sum up, or a turn that ends in the gateway's words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Invocation
from tests.e2e.live import going_live
from tests.e2e.script import Block, Conversation
from tests.support.upstream import text_block, tool_block

LIMIT = 3
LAST_WORDS = "This is your last request"
WRAP_UP_TOKENS_MAX = 4096


def fuses(on_blow: str) -> dict[str, Any]:
    return {"fuses": {"agent": {"requests": {"limit": LIMIT, "on_blow": on_blow}}}}


def bash(number: int) -> Block:
    return tool_block("Bash", {"command": f"echo {number} > {number}.txt", "description": "t"}, f"toolu_e2e_{number}")


def summing_up(conversation: Conversation) -> Sequence[Block]:
    """Works on and on, unless it is told that this is the end."""
    return [text_block("All I did.")] if conversation.heard(LAST_WORDS) else [bash(conversation.turn)]


async def test_wrapped_up_agent_sums_up_once_and_is_refused_then(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, summing_up, fuses("wrap_up")) as live:
        first = await live.run("Loop.")
        second = await live.run("Go on.", Invocation(args=("--resume", live.session)))

    last = live.model.arrivals[-1].conversation
    assert (first.exit_code, first.text) == (0, "All I did.")
    assert len(live.model.arrivals) == LIMIT + 1
    assert last.heard(LAST_WORDS) and last.body["max_tokens"] <= WRAP_UP_TOKENS_MAX
    assert second.exit_code == 1 and "ringfence fuses replace" in second.text


async def test_wrapped_up_subagent_that_works_on_gets_no_tool_and_no_further_request(
    client_binary: Path, tmp_path: Path
) -> None:
    spec = {"description": "t", "prompt": "LOOP: go", "subagent_type": "general-purpose", "run_in_background": False}

    def script(conversation: Conversation) -> Sequence[Block]:
        if conversation.agent != "main":
            return [text_block(f"Step {conversation.turn}."), bash(conversation.turn)]
        return [tool_block("Agent", spec, "toolu_e2e_agent")] if conversation.turn == 0 else [text_block("Main ends.")]

    async with going_live(client_binary, tmp_path, script, fuses("wrap_up")) as live:
        outcome = await live.run("Use an agent.")

    (agent,) = set(live.model.agents) - {"main"}
    assert (outcome.exit_code, outcome.text) == (0, "Main ends.")
    assert len(live.model.of_agent(agent)) == LIMIT + 1
    assert sorted(path.stem for path in live.workspace.glob("*.txt")) == ["0", "1", "2"]
    assert f"Step {LIMIT}." in str(live.model.of_agent("main")[-1].results["toolu_e2e_agent"]["content"])


async def test_turn_that_is_ended_shows_why_and_exits_cleanly(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, summing_up, fuses("end_turn")) as live:
        outcome = await live.run("Loop.")

    assert outcome.exit_code == 0
    assert outcome.text.startswith("Ringfence ended this turn") and "ringfence fuses replace" in outcome.text
    assert len(live.model.arrivals) == LIMIT
    assert live.wire.request_count == LIMIT + 1
