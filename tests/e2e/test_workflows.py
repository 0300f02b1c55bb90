"""A script that starts more agents than it may is cut at the cap: nobody beyond it reaches a model.

Judged by what reached the model and when; what the gateway shows must agree with it.
"""

import asyncio
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Invocation
from tests.e2e.gateway import CREDENTIAL
from tests.e2e.live import Live, going_live
from tests.e2e.script import Block, Conversation, Script, message_id
from tests.support.upstream import Answer, stream, text_block, tool_block

CAP = 20
MANY = 200
TOOL_USE_ID = "toolu_e2e_workflow"
WIDE_OPEN = {"policy": {"settings": {"workflows": {"fan_out": 1000}, "spawn": {"total": 1000, "width": 1000}}}}
"""What the policies say of the size of a run is out of the way: the fuse is what holds."""
WIRE_MS_MAX = 300
"""What was released before the fuse blew may be that long on its way on a machine that is busy."""
TOLD = "ringfence fuses replace"


def crowd(count: int, name: str = "crowd") -> str:
    """A script that starts `count` agents in parallel."""
    return (
        f"export const meta = {{ name: '{name}', description: 'Look at {count} parts' }}\n"
        f"const parts = Array.from({{ length: {count} }}, (_, number) => number)\n"
        "const found = await parallel(parts.map(part => () => agent(`PART ${part} of the crowd`, { label: 'part' })))\n"
        "return { answered: found.filter(each => each !== null).length }\n"
    )


def launching(script: str, of_agent: Script) -> Script:
    """Main starts the script and closes when it is told of its end; `of_agent` is everybody else."""

    def answer(conversation: Conversation) -> Sequence[Block] | Answer:
        if conversation.agent != "main":
            return of_agent(conversation)
        if conversation.turn == 0:
            return [tool_block("Workflow", {"script": script}, TOOL_USE_ID)]
        return [text_block("The run is over." if conversation.heard("<task-notification>") else "Waiting.")]

    return answer


def at_once(concurrency: int) -> Invocation:
    """The client starts so many of a run's agents at once, none held back for the first."""
    return Invocation(
        environment={
            "CLAUDE_CODE_WORKFLOW_MAX_CONCURRENT_AGENTS": str(concurrency),
            "CLAUDE_CODE_WORKFLOW_PREFIX_STAGGER_MS": "0",
        }
    )


def answer_part(_: Conversation) -> Sequence[Block]:
    return [text_block("Looked at it.")]


def first_tokens(live: Live) -> dict[str, float]:
    """When (unix ms) each agent but main received the beginning of its first answer."""
    return {agent: at_ms for agent, at_ms in live.beginnings().items() if agent != "main"}


def blown_fuse(live: Live, meter: str) -> dict[str, Any]:
    """The one fuse of a meter that blew, as the audit trail has it."""
    fuses = [record["fuse"] for record in live.records("fuse")]
    (blown,) = [fuse for fuse in fuses if fuse["meter"] == meter and fuse["state"] == "blown"]
    return blown


def refused_agents(live: Live) -> set[str]:
    """The agents that a blown fuse ended."""
    return {record["lineage"]["agent"] for record in live.records("request") if record["reason"] == "fuse_blown"}


def reached(live: Live) -> set[str]:
    """The agents but main that reached the model."""
    return set(live.model.agents) - {"main"}


async def test_run_past_its_cap_gets_no_further_agent_to_a_model_and_main_is_told(
    client_binary: Path, tmp_path: Path
) -> None:
    overrides = WIDE_OPEN | {"fuses": {"run": {"agents": CAP}}}
    script = launching(crowd(MANY), answer_part)
    async with going_live(client_binary, tmp_path, script, overrides) as live:
        outcome = await live.run("ultracode: look at all parts.", at_once(16))

    blown, told = blown_fuse(live, "agents"), live.model.of_agent("main")[-1]
    assert (blown["scope"], blown["limit"]) == ("run", CAP)
    # Whoever stood at the door when the fuse blew did not get in either.
    assert CAP - 16 < len(reached(live)) <= CAP
    assert max(first_tokens(live).values()) <= blown["at_ms"] + WIRE_MS_MAX
    assert (outcome.exit_code, outcome.text) == (0, "The run is over.")
    assert told.heard(TOLD) and told.heard(f"<agents_error>{MANY - len(first_tokens(live))}</agents_error>")


async def test_session_past_its_cap_gets_no_further_agent_to_a_model_and_ends(
    client_binary: Path, tmp_path: Path
) -> None:
    overrides = WIDE_OPEN | {"fuses": {"session": {"agents": CAP}}}
    script = launching(crowd(MANY), answer_part)
    async with going_live(client_binary, tmp_path, script, overrides) as live:
        outcome = await live.run("ultracode: look at all parts.", at_once(2))

    blown = blown_fuse(live, "agents")
    assert (blown["scope"], blown["limit"]) == ("session", CAP)
    assert CAP - 2 < len(reached(live)) <= CAP
    assert max(first_tokens(live).values()) <= blown["at_ms"] + WIRE_MS_MAX
    assert outcome.exit_code == 1 and TOLD in outcome.text


async def test_hundred_agents_in_flight_when_the_fuse_blows_get_no_token(client_binary: Path, tmp_path: Path) -> None:
    blew = asyncio.Event()

    def late(conversation: Conversation) -> Answer:
        frames = stream(
            [text_block("Too late.")], model=conversation.body["model"], message_id=message_id(conversation)
        )
        return Answer(chunks=[blew, *frames])

    overrides = WIDE_OPEN | {"fuses": {"session": {"agents": 60}}}
    script = launching(crowd(MANY), late)
    async with (
        going_live(client_binary, tmp_path, script, overrides) as live,
        live.running("ultracode: look at all parts.", at_once(100)) as run,
    ):
        await live.until(lambda: len(reached(live) | refused_agents(live)) >= 100, of="100 at once")
        waiting = reached(live)
        blew.set()
        outcome = await run

    assert reached(live) == waiting and 30 < len(waiting) <= 60
    assert first_tokens(live) == {}
    assert outcome.exit_code == 1 and TOLD in outcome.text


async def test_run_of_eight_is_counted_with_its_id_script_and_agents(client_binary: Path, tmp_path: Path) -> None:
    source = crowd(8, "eight")
    async with going_live(client_binary, tmp_path, launching(source, answer_part)) as live:
        outcome = await live.run("ultracode: look at eight parts.", at_once(4))
        shown = await live.read(f"/sessions/{live.session}")

    (run,) = shown["runs"]
    started = live.model.of_agent("main")[1].results[TOOL_USE_ID]
    assert (outcome.exit_code, outcome.text) == (0, "The run is over.")
    assert run["script_sha256"] == sha256(source.encode()).hexdigest()
    assert (run["name"], run["tool_use_id"], run["agents"], run["state"]) == ("eight", TOOL_USE_ID, 8, "ended")
    by_then_known = f"Run ID: {run['run']}" in str(started["content"])
    assert by_then_known or run["run"] == TOOL_USE_ID  # that of the call, where an agent came before its result
    of_run = {agent["agent"] for agent in shown["agents"] if agent["run"] == run["run"] and not agent["run_inferred"]}
    assert of_run == reached(live) and len(shown["agents"]) == 1 + 8


async def test_runs_of_one_script_are_told_apart_by_hooks(client_binary: Path, tmp_path: Path) -> None:
    source = (
        "export const meta = { name: 'twin', description: 'Look from one side' }\n"
        "const found = await parallel([1, 2, 3].map(part => () => agent(`${args.side} ${part}`)))\n"
        "return { found }\n"
    )

    def script(conversation: Conversation) -> Sequence[Block]:
        if conversation.agent != "main":
            return [text_block("Looked at it.")]
        if conversation.turn == 0:
            calls = {side: {"script": source, "args": {"side": f"SIDE-{side}"}} for side in ("left", "right")}
            return [tool_block("Workflow", call, f"toolu_e2e_{side}") for side, call in calls.items()]
        return [text_block("Both are over.")]

    async with going_live(client_binary, tmp_path, script) as live:
        printed = await live.command("env", "--managed-settings", "--url", live.gateway.base_url)
        settings = tmp_path / "settings.json"
        settings.write_text(json.dumps({"hooks": json.loads(printed.stdout)["hooks"]}))
        environment = {**at_once(4).environment, "RINGFENCE_CREDENTIAL": CREDENTIAL}
        outcome = await live.run("ultracode: both.", Invocation(("--settings", str(settings)), environment))
        shown = await live.read(f"/sessions/{live.session}")

    runs = {run["tool_use_id"]: run for run in shown["runs"]}
    agents = {agent["agent"]: agent for agent in shown["agents"]}
    assert outcome.exit_code == 0 and len(agents) == 1 + 6
    for side in ("left", "right"):
        of_side = {conversation.agent for conversation in live.model.asked(f"SIDE-{side}")}
        joined = {agents[agent]["run"] for agent in of_side}
        assert len(of_side) == 3 and joined == {runs[f"toolu_e2e_{side}"]["run"]}
        assert not any(agents[agent]["run_inferred"] for agent in of_side)
