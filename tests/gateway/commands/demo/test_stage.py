"""The demo's gateway is configured as its scenes need it; one that does not start is told in its own words."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from gateway.commands.demo.pace import PACES
from gateway.commands.demo.stage import PROJECTS, Stage, build_config, open_stage, stop
from gateway.commands.output import CommandFailed
from gateway.config import parse_config


def test_configuration_has_no_problem_and_no_warning(tmp_path: Path) -> None:
    (tmp_path / PROJECTS).mkdir()
    config = parse_config(json.dumps(build_config(tmp_path, "demo")), tmp_path / "ringfence.yaml", {})
    assert config.warnings == () and all(row.strict for row in config.budgets)
    assert (config.listen.host, config.listen.port, config.metrics.port) == ("127.0.0.1", 0, 0)


async def test_gateway_that_does_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "ringfence.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(CommandFailed, match="did not get ready") as failed:
        async with open_stage(tmp_path, PACES["fast"]):
            pass
    assert "ringfence.db" in failed.value.message and "Traceback" not in failed.value.message


async def test_command_that_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:1/metrics", {"olga": "rf_secret"})
    with pytest.raises(CommandFailed, match="`ringfence fuses list` failed: ringfence: no answer") as failed:
        await stage.command("fuses", "list")
    assert "rf_secret" not in failed.value.message + repr(stage)


async def test_process_is_asked_to_end_before_it_is_made_to() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    await stop(process)
    assert process.returncode == -15
    await stop(process)
