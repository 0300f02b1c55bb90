"""A tool call that stays open for a minute: the client hears pings, stays, and goes on when the call is released."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.e2e.conftest import Scene
from tests.e2e.script import Block, Conversation
from tests.support.upstream import Answer, stream, text_block, tool_block

HOLD_SECONDS = 60.0
SILENCE_SECONDS_MAX = 18.0
"""The gateway promises a sign of life at least every 15 s."""


def slow_tool(conversation: Conversation) -> Sequence[Block] | Answer:
    """The block opens, its input takes a minute to arrive, and the model says so."""
    if conversation.turn > 0:
        return [text_block("Patience paid.")]
    released = asyncio.Event()
    asyncio.get_running_loop().call_later(HOLD_SECONDS, released.set)
    call = tool_block("Bash", {"command": "echo waited > waited.txt", "description": "t"}, "toolu_e2e_slow")
    frames = stream([text_block("Thinking long."), call], model=conversation.body["model"])
    opened = next(place for place, frame in enumerate(frames) if b'"tool_use"' in frame) + 1
    return Answer(chunks=[*frames[:opened], released, *frames[opened:]])


@pytest.mark.waits
async def test_minute_long_hold_is_bridged_by_pings_and_the_loop_goes_on(scene: Scene) -> None:
    played = await scene.play("Wait for it.", slow_tool)

    assert (played.outcome.exit_code, played.outcome.text) == (0, "Patience paid.")
    assert (played.workspace / "waited.txt").exists()
    assert played.outcome.seconds > HOLD_SECONDS
    assert played.wire.longest_silence_seconds() < SILENCE_SECONDS_MAX
    assert played.wire.request_count == 2
