"""What a request goes through: which models are told in entries, and what stood before stands again."""

import json
from contextlib import AsyncExitStack
from pathlib import Path

from gateway.app import profile_script
from gateway.assembly import RequestPath, build_entry_check, build_path
from gateway.config import parse_config
from gateway.core.oversight.controls import Order
from gateway.ground import open_ground
from tests.gateway.test_toolcalls import Bench
from tests.support.clock import FakeClock
from tests.support.gateway import config_document

NOWHERE = "http://127.0.0.1:9"


async def path_of(directory: Path, stack: AsyncExitStack) -> RequestPath:
    document = json.dumps(config_document(directory, NOWHERE))
    config = parse_config(document, directory / "ringfence.yaml", {})
    ground = await open_ground(config, FakeClock(), stack)
    return await build_path(ground, profile_script, 15.0)


async def test_only_models_that_are_documented_to_take_entries_are_told_in_them(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        takes = build_entry_check((await path_of(tmp_path, stack)).pipeline.forwarding)
        ctx = Bench().ctx
        told: dict[str, bool] = {}
        for model in ("claude-opus-4-8", "claude-opus-5-5", "claude-sonnet-4-5-20250929", "gpt-unknown"):
            ctx.model = model
            told[model] = takes(ctx)
    assert list(told.values()) == [True, True, False, False]


async def test_what_a_person_stopped_is_stopped_when_the_gateway_comes_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        controls = (await path_of(tmp_path, stack)).boards.controls
        await controls.change(Order("stop", "session:s", "olga", "runaway"))
    async with AsyncExitStack() as stack:
        standing = (await path_of(tmp_path, stack)).boards.controls.standing()
    assert [(record.target, record.by) for record in standing] == [("session:s", "olga")]
