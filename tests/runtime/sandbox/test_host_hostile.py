"""Every hostile script ends in the way that its second line says, while another script goes on undisturbed."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.core.model import Thrown
from runtime.core.program import AgentOp, Returned, Threw
from runtime.ports import SandboxFailed
from runtime.sandbox.host import ChildSandbox
from tests.runtime.sandbox.stage import Played, agents_of, opened, play, program, value_for

FOLDER = Path(__file__).parents[2] / "golden" / "workflows" / "hostile"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.js"))
META = re.compile(r"^export const meta = .*$", re.MULTILINE)
BUSY_SECONDS_MAX = 1.0
"""Processor time of the host's thread while the other script waits for one answer. Alone it takes about 0.2 ms."""
STEADY = "let count = 0; for (;;) count += (await agent('next')).length"


def answer(op: AgentOp) -> Any:
    if op.prompt == "refused":
        return Thrown(code="limit", message="refused by a test", fields={"fields": {"a": 1}})
    if op.prompt == "mirror":
        assert op.options.schema is not None
        return op.options.schema["default"]
    return op.prompt


def read(name: str) -> tuple[str, dict[str, Any]]:
    """The body of a script, and how it is to end."""
    text = (FOLDER / f"{name}.js").read_text()
    ends = json.loads(text.splitlines()[1].removeprefix("// "))
    return META.sub(lambda found: " " * len(found[0]), text), ends


async def attack(body: str, limits: dict[str, Any]) -> Played | SandboxFailed:
    try:
        return await play(body, answer=answer, limits=limits)
    except SandboxFailed as failure:
        return failure


async def work_steadily(sandbox: ChildSandbox, over: asyncio.Event) -> float:
    """Deliver until it is over; the most that the host's thread had to do meanwhile."""
    drained = await sandbox.start(program(STEADY))
    slowest_seconds = 0.0
    while not over.is_set():
        since = time.thread_time()
        [drained] = await sandbox.deliver([value_for(op, "v") for op in agents_of(drained)])
        slowest_seconds = max(slowest_seconds, time.thread_time() - since)
        await asyncio.sleep(0)
    assert drained.end is None
    return slowest_seconds


def verdict(played: Played | SandboxFailed) -> dict[str, Any]:
    """What came of it, in the words of the second line."""
    if isinstance(played, SandboxFailed):
        return {"failed": played.code}
    if isinstance(played.end, Returned):
        return {"returned": played.value}
    return {"threw": played.threw.message} if isinstance(played.end, Threw) else {"waits": True}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_w103_hostile_script_ends_as_it_should_while_another_goes_on(name: str) -> None:
    body, ends = read(name)
    over = asyncio.Event()
    async with opened() as sandbox, asyncio.TaskGroup() as group:
        steady = group.create_task(work_steadily(sandbox, over))
        try:
            played = await attack(body, ends.pop("limits", {}))
        finally:
            over.set()
    came = verdict(played)
    if "failed" in ends:
        stalled = "waits" in ends and came == {"waits": True}
        assert stalled or came.get("failed") in ends["failed"], came
    elif "threw" in ends:
        assert came.get("threw", "").startswith(ends["threw"]), came
    else:
        assert came == ends
    assert steady.result() < BUSY_SECONDS_MAX
