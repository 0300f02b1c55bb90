"""Every hostile script ends in its defined way in the whole gateway, while another run goes on and /healthz answers.

How long the gateway takes is told by the time that its own thread worked: other processes of the machine, the hostile
script among them, have no part in that, nor has the garbage collector with what other tests left in this process.
"""

import asyncio
import gc
import itertools
import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.decisions.decision import Principal
from gateway.mount.policy import owner_of
from runtime.check import prepare
from runtime.core.limits import Limits
from runtime.launch import Launch, Settings, build_spec
from tests.gateway.running import GOLDEN, Asked, Refused, Running, Said, running, script

FOLDER = GOLDEN / "hostile"
NEEDS_ANOTHER_HOST = {"escape_by_error", "poison_descriptors", "poison_prototypes"}
"""They need errors that only a test's own host throws (`tests/runtime/sandbox/test_host_hostile.py`)."""
REFUSED_BY_THE_CHECK = {"escape_by_import"}
SCRIPTS = sorted({path.stem for path in FOLDER.glob("*.js")} - NEEDS_ANOTHER_HOST - REFUSED_BY_THE_CHECK)
FAMILIES = {name: list(each) for name, each in itertools.groupby(SCRIPTS, lambda name: name.partition("_")[0])}
ANSWER_SECONDS_MAX = 0.1
"""Of the gateway's thread, from a question at /healthz to its answer."""
GAP_SECONDS_MAX = 15.0
"""Between two agents of the other run, on a machine that has much to do. Alone it takes about 0.02."""
SILENCE_SECONDS_MAX = 30.0
"""Of a script that works, on such a machine: what it may take is processor time."""
OWNER = Principal(org="acme", team="platform", user="alice", credential="alice-laptop")
STEADY = "for (;;) { await agent('next'); await new Promise(go => setTimeout(go, 20)) }"


def echo(asked: Asked) -> Said:
    """A schema's default, or the prompt."""
    output = next((each for each in asked.body.get("tools", []) if each["name"] == "StructuredOutput"), None)
    return asked.prompt if output is None else output["input_schema"].get("default", {asked.prompt: asked.prompt})


class Steady:
    """A model that notes how long the steady run was kept waiting."""

    def __init__(self) -> None:
        self.gap_seconds = 0.0
        self.count = 0
        self._last = time.monotonic()

    def __call__(self, asked: Asked) -> Said:
        if asked.prompt == "next":
            now = time.monotonic()
            self.gap_seconds, self._last = max(self.gap_seconds, now - self._last), now
            self.count += 1
        return echo(asked)


async def probe(gateway: Running, over: asyncio.Event) -> float:
    """Ask at /healthz until it is over; the longest that the gateway's thread took to answer."""
    slowest_seconds, ending = 0.0, asyncio.create_task(over.wait())
    while not over.is_set():
        since = time.thread_time()
        async with gateway.serving.client.get(f"{gateway.serving.url}/healthz") as response:
            assert response.status == 200
        slowest_seconds = max(slowest_seconds, time.thread_time() - since)
        await asyncio.wait([ending], timeout=0.02)
    return slowest_seconds


async def attack(gateway: Running, name: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """How the script is to end, the record it ended with, and its id."""
    text = (FOLDER / f"{name}.js").read_text()
    ends = json.loads(text.splitlines()[1].removeprefix("// "))
    limits = ends.pop("limits", None)
    if limits is None:
        run = await gateway.start(text)
    else:
        patient = {"heartbeat_seconds": SILENCE_SECONDS_MAX} | limits
        settings = Settings(limits=Limits(**patient), model="claude-sonnet-5-5")
        launch = Launch(owner=owner_of(OWNER), script=text)
        now_ms = time.time_ns() // 1_000_000
        prepared = await asyncio.to_thread(prepare, text)
        spec = build_spec(launch, prepared, settings, now_ms=now_ms, script_path=None)
        run = await gateway.gateway.mounted.runs.begin(spec, ask=None, idempotency=None)
    return ends, await gateway.ended(run), run


async def check_end(gateway: Running, name: str) -> None:
    ends, record, run = await attack(gateway, name)
    failure = record["failure"] or {}
    if "failed" in ends:
        assert failure.get("detail") in ends["failed"], (name, failure)
    elif "threw" in ends:
        assert failure["detail"] in ("script_threw", "result_not_serializable"), (name, failure)
        assert failure["message"].startswith(ends["threw"]), (name, failure)
    elif "waits" in ends:
        assert failure["detail"] == "script_stalled", (name, failure)
    else:
        assert record["state"] == "completed" and await gateway.result(run) == ends["returned"], (name, record)


@pytest.fixture
def spared_collector() -> Generator[None]:
    """As `ringfence serve` does it: what was there before is not walked."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.waits
@pytest.mark.usefixtures("spared_collector")
@pytest.mark.parametrize("family", FAMILIES)
async def test_w103_hostile_scripts_end_as_they_should_while_the_gateway_serves(tmp_path: Path, family: str) -> None:
    steady, over = Steady(), asyncio.Event()
    async with running(tmp_path, steady, runs={"agents_max": 10_000}) as gateway, asyncio.TaskGroup() as group:
        other = await gateway.start(script(STEADY))
        await gateway.prompted("next")
        probing = group.create_task(probe(gateway, over))
        try:
            for name in FAMILIES[family]:
                await check_end(gateway, name)
        finally:
            over.set()
        before = steady.count
        await gateway.prompted("next", before + 1)
        assert (await gateway.order(other, "stop"))["state"] == "stopped"
    assert probing.result() < ANSWER_SECONDS_MAX
    assert steady.gap_seconds < GAP_SECONDS_MAX


async def test_w22_hostile_import_is_refused_before_anything_runs(tmp_path: Path) -> None:
    async with running(tmp_path, echo) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.start((FOLDER / "escape_by_import.js").read_text())
        assert (refused.value.status, refused.value.error["code"]) == (400, "module_loading")
        assert (await gateway.call("GET", "runs"))["runs"] == []
