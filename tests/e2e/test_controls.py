"""A person stops or holds a part of the tree while it runs: that part feels it at once, the rest goes on."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.live import Live, going_live
from tests.e2e.script import Block, Conversation, Script, message_id
from tests.support.upstream import Answer, stream, text_block, tool_block

FEEL_SECONDS_MAX = 5.0
"""From the word to the end of what is under way, which would go on for ever; on a machine that has much else to do."""


def spawn(prompt: str, tool_use_id: str) -> Block:
    spec = {"description": "t", "prompt": prompt, "subagent_type": "general-purpose", "run_in_background": False}
    return tool_block("Agent", spec, tool_use_id)


def endless(conversation: Conversation, released: asyncio.Event) -> Answer:
    """Some words at once, the rest when the model is let go on."""
    words = [text_block("I am looking into it."), text_block("It is done.")]
    frames = stream(words, model=conversation.body["model"], message_id=message_id(conversation))
    return Answer(chunks=[*frames[:5], released, *frames[5:]])


def four(released: asyncio.Event) -> Script:
    """Main asks for four agents at once; each of them is slow."""

    def answer(conversation: Conversation) -> Sequence[Block] | Answer:
        if conversation.agent != "main":
            return endless(conversation, released)
        if conversation.turn == 0:
            return [spawn(f"PART {part} of four", f"toolu_e2e_{part}") for part in range(4)]
        return [text_block("Main goes on.")]

    return answer


def agents_under_way(live: Live) -> int:
    return len(set(live.model.agents) - {"main"})


async def test_stopped_agent_ends_at_once_and_the_others_finish(client_binary: Path, tmp_path: Path) -> None:
    released = asyncio.Event()
    async with (
        going_live(client_binary, tmp_path, four(released)) as live,
        live.running("Use four agents.") as run,
    ):
        await live.until(lambda: agents_under_way(live) == 4 and len(live.beginnings()) == 1 + 4, of="four answers")
        victim = live.model.asked("PART 2 of four")[0]
        said = await live.command(
            "sessions", "stop", live.session, "--agent", victim.agent, "--reason", "it looks at what is not its own"
        )
        spoken_at = time.monotonic()
        await asyncio.wait_for(victim.received.gone.wait(), FEEL_SECONDS_MAX)
        felt = time.monotonic() - spoken_at
        released.set()
        outcome = await run
        tree = await live.tree()

    results = live.model.of_agent("main")[-1].results
    assert said.exit_code == 0 and "is stopped" in said.stdout
    assert felt < FEEL_SECONDS_MAX
    assert (outcome.exit_code, outcome.text) == (0, "Main goes on.")
    assert "it looks at what is not its own" in str(results["toolu_e2e_2"]["content"])
    assert all("It is done." in str(results[f"toolu_e2e_{part}"]["content"]) for part in (0, 1, 3))
    assert tree[victim.agent]["requests"] >= 1 and len(live.model.of_agent(victim.agent)) == 1


async def test_held_session_asks_no_model_until_it_is_released(client_binary: Path, tmp_path: Path) -> None:
    held = asyncio.Event()

    def script(conversation: Conversation) -> Sequence[Block] | Answer:
        if conversation.turn > 0:
            return [text_block("Went on.")]
        call = tool_block("Bash", {"command": "echo ran > ran.txt", "description": "t"}, "toolu_e2e_held")
        frames = stream([call], model=conversation.body["model"], message_id=message_id(conversation))
        return Answer(chunks=[frames[0], held, *frames[1:]])

    async with going_live(client_binary, tmp_path, script) as live, live.running("Run it.") as run:
        await live.until(lambda: bool(live.model.arrivals), of="the first request")
        hold = await live.command("sessions", "hold", live.session, "--reason", "let me look")
        held.set()
        done, _ = await asyncio.wait([run], timeout=3)
        waited = not done and not (live.workspace / "ran.txt").exists() and len(live.model.arrivals) == 1
        release = await live.command("sessions", "release", live.session, "--reason", "looked")
        outcome = await run

    assert (hold.exit_code, release.exit_code) == (0, 0) and waited
    assert (outcome.exit_code, outcome.text) == (0, "Went on.")
    assert (live.workspace / "ran.txt").exists()
    assert [record["control"]["state"] for record in live.records("control")] == ["held", "free"]


async def test_stop_of_everything_ends_the_session_and_refuses_the_next(client_binary: Path, tmp_path: Path) -> None:
    released = asyncio.Event()
    async with (
        going_live(client_binary, tmp_path, four(released)) as live,
        live.running("Use four agents.") as run,
    ):
        await live.until(lambda: agents_under_way(live) == 4 and len(live.beginnings()) == 1 + 4, of="four answers")
        said = await live.command("sessions", "stop", "--everything", "--reason", "fire drill")
        spoken_at = time.monotonic()
        gone = [arrival.conversation.received.gone.wait() for arrival in live.model.arrivals if arrival.agent != "main"]
        await asyncio.wait_for(asyncio.gather(*gone), FEEL_SECONDS_MAX)
        felt = time.monotonic() - spoken_at
        outcome = await run
        reached = len(live.model.arrivals)

    assert said.exit_code == 0 and felt < FEEL_SECONDS_MAX
    assert outcome.exit_code == 1 and "fire drill" in outcome.text
    assert reached == 1 + 4
