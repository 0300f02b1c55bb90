"""Rules change while an agent runs: its next call meets the new ones, and it is told, at one place for good."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.gateway import ROOT
from tests.e2e.live import Live, going_live
from tests.e2e.script import Block, Conversation, message_id, raw_messages
from tests.support.upstream import Answer, stream, text_block, tool_block

NOTICE = "From now on nothing is printed twice: say it once."
CHANGES = (
    ("  deny: []\n", '  deny: [{tool: Bash, commands: ["echo two*"]}]\n'),
    ("notices: []\n", f"notices: [{{text: '{NOTICE}', teams: [platform]}}]\n"),
)


def bash(number: str) -> Block:
    command = {"command": f"echo {number} > {number}.txt", "description": "t"}
    return tool_block("Bash", command, f"toolu_e2e_{number}")


def unmarked(message: str) -> str:
    """What a message says: the client moves its cache marks from turn to turn, and then writes a lone text as such."""
    entry = json.loads(message)
    content = entry["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    kept = [{name: value for name, value in block.items() if name != "cache_control"} for block in blocks]
    return json.dumps([entry["role"], kept])


def copy_policies(directory: Path) -> Path:
    """The packaged policies as a folder that may be edited, without the one rule whose examples know of no notices."""
    folder = directory / "policies"
    shutil.copytree(ROOT / "policies", folder)
    shutil.rmtree(folder / "rules" / "spawn" / "models")
    return folder


async def change_rules(live: Live, folder: Path) -> None:
    """Edit the settings and let the gateway read them again."""
    defaults = folder / "data" / "defaults.yaml"
    text = defaults.read_text()
    for old, new in CHANGES:
        assert old in text
        text = text.replace(old, new, 1)
    defaults.write_text(text)
    os.kill(live.gateway.pid, signal.SIGHUP)
    log = live.directory / "gateway.log"
    await live.until(lambda: "reloaded" in log.read_text(), of="the policies' reload")
    assert "policies reloaded" in log.read_text()


async def test_changed_rule_meets_the_next_call_and_the_agent_is_told(client_binary: Path, tmp_path: Path) -> None:
    changed = asyncio.Event()

    def script(conversation: Conversation) -> Sequence[Block] | Answer:
        if conversation.turn == 1:
            facts = {"model": conversation.body["model"], "message_id": message_id(conversation)}
            frames = stream([bash("two")], **facts)
            return Answer(chunks=[frames[0], changed, *frames[1:]])
        names = ("one", "two", "three", "four")
        return [bash(names[conversation.turn])] if conversation.turn < len(names) else [text_block("End.")]

    folder = copy_policies(tmp_path)
    async with (
        going_live(client_binary, tmp_path, script, {"policy": {"path": str(folder)}}) as live,
        live.running("Print numbers.") as run,
    ):
        await live.until(lambda: len(live.model.arrivals) == 2, of="the second request")
        await change_rules(live, folder)
        changed.set()
        outcome = await run

    arrived = [arrival.conversation for arrival in live.model.arrivals]
    assert (outcome.exit_code, outcome.text) == (0, "End.")
    assert sorted(path.stem for path in live.workspace.glob("*.txt")) == ["four", "one", "three"]
    assert "tools/denylist" in str(arrived[2].results["toolu_e2e_two"]["content"])
    assert [conversation.heard(NOTICE) for conversation in arrived] == [False, False, True, True, True]


async def test_notice_stands_at_the_same_bytes_in_every_later_request(client_binary: Path, tmp_path: Path) -> None:
    def script(conversation: Conversation) -> Sequence[Block]:
        names = ("one", "three", "four", "five")
        return [bash(names[conversation.turn])] if conversation.turn < len(names) else [text_block("End.")]

    settings = {"notices": [{"text": NOTICE}]}
    async with going_live(client_binary, tmp_path, script, {"policy": {"settings": settings}}) as live:
        outcome = await live.run("Print numbers.")

    bodies = [arrival.conversation.received.body for arrival in live.model.arrivals]
    told = [[(at, text) for at, text in enumerate(raw_messages(body)) if NOTICE in text] for body in bodies]
    assert outcome.exit_code == 0 and len(bodies) == 5
    assert all(len(each) == 1 for each in told)
    assert len({each[0] for each in told}) == 1
    place = told[0][0][0]
    assert len({tuple(map(unmarked, raw_messages(body)[: place + 1])) for body in bodies}) == 1
