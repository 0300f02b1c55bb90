"""A script that broke out of its engine and speaks for its process: its run ends in a defined way, beside one that goes
on undisturbed.
"""

import asyncio
import time
from dataclasses import replace

import msgspec
import pytest

from runtime.core.model import RunId
from runtime.launch import Settings
from tests.runtime.driving import MODEL, OLGA, Site, driving, with_limits
from tests.runtime.lying import LyingSandboxes

STALL_SECONDS_MAX = 1.0
"""Of processor time that one run may keep the gateway's loop busy with. Alone it takes below 0.2 s."""
PATIENCE_SECONDS, SILENCE_SECONDS = 20.0, 2.0
"""How long a child may say nothing: one that talks, on a machine that has much to do, and one that never ends."""
CONTROL = "\\x1b[2J\\x9b31m\\u202e"
ASKS = "hear(); say(drain(*[agent(id) for id in range(100)])); at = 100\n"
FLOOD = ASKS + "while True:\n hear(); say(drain(*[{op} for id in range(at, at + {many})])); at += {many}\n"
WAITS = "\nwhile True: hear(); say(drain())"
DEEP = "[" * 900 + "]" * 900

LIES: dict[str, tuple[str, str | None]] = {
    "half a frame": ("hear(); say((100).to_bytes(4, 'big')); time.sleep(100)", "script_killed"),
    "frame without an end": ("hear(); say(bytes([0, 16, 0, 0, 17]))\nwhile True: say(b'x' * 4096)", "protocol"),
    "drop by drop": ("hear(); say(bytes([0, 16, 0, 0, 17]))\nwhile True: say(b'x'); time.sleep(0.01)", "script_killed"),
    "more than was asked": ("hear(); say(drain(agent(0)) + drain()); hear()", "protocol"),
    "flood of frames": ("hear(); say(drain(agent(0)))\nwhile True: say(drain())", "protocol"),
    "frame too large": ("hear(); say(bytes([255] * 9))", "protocol"),
    "flood of calls": (FLOOD.format(op="agent(id)", many=6_000), "agent_limit_error"),
    "flood of nested": (
        FLOOD.format(op="{'op': 'workflow', 'id': id, 'scope': '', 'name': 'q'}", many=6_000),
        "runaway_script",
    ),
    "flood of warnings": (
        FLOOD.format(op="{'op': 'warn', 'code': 'unknown_option', 'message': str(id) + 'y' * 3900}", many=1_500),
        "script_stalled",
    ),
    "flood of timers": (
        FLOOD.format(op="{'op': 'timer', 'id': id, 'ms': 1, 'scope': ''}", many=6_000),
        "protocol",
    ),
    "flood of groups": (
        FLOOD.format(op="{'op': 'group', 'scope': '', 'group': '/' + 'g' * 8000, 'items': 5}", many=700),
        "script_stalled",
    ),
    "time that never was": ("hear(); say(drain(agent(0), cpu=1e308)); hear(); say(drain(cpu=1e308))", "script_timeout"),
    "time that goes back": ("hear(); say(drain(cpu=-1))", "protocol"),
    "a schema that is deep": (
        "hear(); s = {}\nfor _ in range(400): s = {'items': s}\nsay(drain(agent(0, options={'schema': s})))" + WAITS,
        "script_stalled",
    ),
    "a number without an end": (
        "hear(); say(drain(agent(0, options={'schema': {'const': 10**400}})))" + WAITS,
        "script_stalled",
    ),
    "a value that is deep": (
        f'hear(); say(frame(DRAINED, b\'{{"ops":[],"end":{{"end":"returned","value":{DEEP}}},"cpu_seconds":0}}\'))',
        None,
    ),
    "a reason that is not its own": ("hear(); say(frame(FAILED, b'journal_lost it is gone'))", "protocol"),
    "controls in its error": (
        f"hear(); say(drain(end={{'end': 'threw', 'message': '{CONTROL}', 'stack': '{CONTROL}'}}))",
        "script_threw",
    ),
    "controls everywhere": (
        f"o = '{CONTROL}'; hear(); say(drain({{'op': 'phase', 'title': o}}, {{'op': 'log', 'text': o}}, agent(0, o, "
        "options={'label': o, 'phase': o, 'model': o, 'agentType': o, 'tools': [o]})))" + WAITS,
        "script_stalled",
    ),
}


async def look(over: asyncio.Event) -> float:
    """The most that the loop's thread worked while nobody else got a turn."""
    longest, since = 0.0, time.thread_time()
    while not over.is_set():
        await asyncio.sleep(0)
        longest, since = max(longest, time.thread_time() - since), time.thread_time()
    return longest


async def shown(site: Site, run: RunId) -> str:
    """All that people are shown of it; what is data is read as well."""
    readings = site.readings
    events = await readings.events(OLGA, run, after=0, types=(), most=1_000)
    agents = await readings.agents(OLGA, run, after=-1, most=1_000)
    if agents:
        await readings.agent(OLGA, run, 0)
    await readings.result(OLGA, run)
    told = (await readings.notification(OLGA, run))["text"].replace("\n", " ")
    everything = [await site.show(run), told, *agents, *(msgspec.json.decode(event.text) for event in events)]
    return msgspec.json.encode(everything).decode()


@pytest.mark.parametrize("name", LIES)
async def test_w103_child_that_lies_ends_its_own_run_alone(name: str) -> None:
    lie, code = LIES[name]
    settings = with_limits(Settings(model=MODEL), heartbeat_seconds=PATIENCE_SECONDS, stagger_ms=0, concurrency=100)
    async with driving(settings=settings) as site, asyncio.TaskGroup() as group:
        honest = await site.start("return await agent('look')")
        assert await site.value(honest) == "re look"
        silence = SILENCE_SECONDS if code == "script_killed" else None
        site.runs.ground = replace(site.runs.ground, sandboxes=LyingSandboxes(lie, silence_seconds_max=silence))
        over = asyncio.Event()
        watching = group.create_task(look(over))
        run = await site.start("return 1")
        record = await site.ended(run)
        over.set()
        failure = record["failure"] or {"detail": None}
        assert failure["detail"] == code, failure
        text = await shown(site, run)
        assert text.isprintable() and "\\u001b" not in text
    assert watching.result() < STALL_SECONDS_MAX
