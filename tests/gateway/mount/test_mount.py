"""The runtime on the gateway: settings, chores, a store that cannot be used, when runs are taken up and left."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config.model import Runs as RunsConfig
from gateway.errors import GatewayError, Reason
from gateway.mount import build_settings, chores_of, find_shell, own_name
from runtime.attempts import Places
from runtime.core.governor import Governor
from runtime.core.limits import Limits
from runtime.tools.bubblewrap import NoSandbox
from tests.gateway.running import listening, running
from tests.runtime.driving import driving
from tests.support.clock import FakeClock

NAMES: Mapping[str, str] = {"haiku": "claude-haiku-4-5"}


def test_configuration_becomes_the_settings_of_the_runtime() -> None:
    config = RunsConfig(
        concurrency=3, agents_max=40, lifetime_seconds=60, approval="ask", keep_days=2, auto_resume=True
    )
    settings = build_settings(config, NAMES)
    assert (settings.limits.concurrency, settings.limits.agents, settings.limits.lifetime_seconds) == (3, 40, 60)
    assert (settings.asks, settings.keep_days, settings.auto_resume, settings.models) == (True, 2, True, NAMES)


def test_w145_thresholds_pause_only_where_it_is_set() -> None:
    warns, pauses = (
        build_settings(RunsConfig(confirm=confirm, confirm_agents=7), NAMES) for confirm in ("warn", "pause")
    )
    assert (warns.confirm_agents, warns.limits.warn_agents) == (None, 7)
    assert (pauses.confirm_agents, pauses.limits.warn_agents) == (7, 7)


def test_w97_w101_w102_w120_limits_of_scripts_and_the_hold_of_siblings_are_what_was_set() -> None:
    config = RunsConfig(
        stagger_ms=0, admission_reserve=True, script_drain_seconds=6, script_heap_mib=8, script_stack_kib=64
    )
    limits = build_settings(config, NAMES).limits
    assert (limits.stagger_ms, limits.admission_reserve, limits.drain_cpu_seconds) == (0, True, 6)
    assert (limits.heap_bytes, limits.stack_bytes) == (8 * 1024 * 1024, 64 * 1024)
    assert limits.heartbeat_seconds > limits.drain_cpu_seconds


def test_section_that_says_nothing_sets_the_limits_of_the_specification() -> None:
    assert build_settings(RunsConfig(), NAMES).limits == Limits()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (RunsConfig(bash=False, workspaces=(Path("/srv"),)), "runs.bash is off in the configuration"),
        (RunsConfig(), "runs.workspaces names no folder that agents may work in"),
    ],
)
async def test_shell_that_no_agent_may_have_is_not_looked_for(config: RunsConfig, why: str) -> None:
    assert await find_shell(config) == NoSandbox(why)


def test_names_of_processes_differ() -> None:
    assert own_name() != own_name()


async def test_every_chore_can_be_done_while_nothing_runs() -> None:
    async with driving() as site:
        chores = chores_of(site.runs, Places(Governor(1), FakeClock()), site.desk.mailbox)
        for _, seconds, work in chores:
            assert seconds > 0
            await work()
        assert len({name for name, _, _ in chores}) == len(chores)


async def test_store_of_runs_that_cannot_be_used_keeps_the_gateway_from_serving(tmp_path: Path) -> None:
    (tmp_path / "ringfence-runs.db").mkdir()
    with pytest.raises(GatewayError) as refused:
        async with listening(tmp_path, "http://127.0.0.1:9"):
            raise AssertionError("it serves")
    assert refused.value.reason is Reason.STORE_UNAVAILABLE and str(refused.value).startswith("store.url: ")


async def test_run_reaches_the_gateway_it_is_mounted_on(tmp_path: Path) -> None:
    async with running(tmp_path, lambda asked: f"re {asked.prompt}") as gateway:
        assert await gateway.outcome("return await agent('look')") == "re look"
        assert (tmp_path / "ringfence-runs.db").exists()


async def test_w127_gateway_that_leaves_hands_its_runs_over_to_the_next(tmp_path: Path) -> None:
    async with running(tmp_path, lambda asked: "never") as gateway:
        run = await gateway.start("await new Promise(done => setTimeout(done, 600000))")
        await gateway.in_state(run, "running")
    async with running(tmp_path, lambda asked: "never") as gateway:
        record = await gateway.in_state(run, "paused")
        assert [pause["reason"] for pause in record["pauses"]] == ["host_restart"]
        await gateway.order(run, "stop")


def test_w192_chosen_guideline_says_what_is_large_and_pauses_go_by_their_own_number() -> None:
    settings = build_settings(RunsConfig(size_guideline="small", confirm="pause"), NAMES)
    assert (settings.limits.warn_agents, settings.confirm_agents, settings.guideline) == (4, 25, "small")
