"""A sandbox as its host sees it: what its process has and has not, how it is ended, what it costs."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from math import ceil
from pathlib import Path

import msgspec
import pytest

from runtime.core.limits import Limits
from runtime.core.model import Scope
from runtime.core.program import Delivery
from runtime.ports import SandboxFailed
from runtime.sandbox.framing import FRAME_BYTES_MAX
from runtime.sandbox.host import FRAMES_AT_ONCE, MEASURES, STARTS_AT_ONCE, ChildSandbox, ChildSandboxes
from tests.runtime.sandbox.stage import agents_of, opened, play, program, value_for, value_of

ROOT = Path(__file__).parents[3]
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


async def failure(sandbox: ChildSandbox, body: str) -> SandboxFailed:
    with pytest.raises(SandboxFailed) as caught:
        await sandbox.start(program(body))
    return caught.value


@linux_only
async def test_w28_child_has_two_pipes_and_nothing_of_its_host() -> None:
    os.environ["SECRET_OF_THE_HOST"] = "x"
    try:
        async with opened() as sandbox:
            place = Path(f"/proc/{sandbox.pid}")
            await sandbox.start(program("await agent('x')"))
            opened_files = sorted(os.listdir(place / "fd"))
            environment = (place / "environ").read_bytes()
            folder = os.readlink(place / "cwd")
    finally:
        del os.environ["SECRET_OF_THE_HOST"]
    assert (opened_files, environment, folder) == (["0", "1"], b"TZ=UTC0\0", "/")


@linux_only
async def test_w103_child_has_a_session_of_its_own_and_is_filtered() -> None:
    async with opened() as sandbox:
        status = Path(f"/proc/{sandbox.pid}/status").read_text()
        session = os.getsid(sandbox.pid)
    assert session == sandbox.pid
    assert ["NoNewPrivs:\t1" in status, "Seccomp:\t2" in status, "Threads:\t1" in status] == [True] * 3


@linux_only
async def test_w103_script_does_not_take_the_core_of_the_host_that_wakes_it() -> None:
    async with opened() as sandbox:
        assert os.sched_getscheduler(sandbox.pid) == os.SCHED_BATCH


async def test_hardening_tells_what_could_be_had() -> None:
    sandboxes = ChildSandboxes()
    before = sandboxes.hardening
    await (await sandboxes.open(Limits())).close()
    after = sandboxes.hardening
    assert before is None and after is not None
    assert {*after.measures, *after.missing} == MEASURES
    assert ("memory" in after.measures) == ("memory" not in after.missing)


async def test_w39_each_delivery_has_a_drain_of_its_own() -> None:
    body = "for (const p of ['a', 'b', 'c']) agent(p).then((v) => agent(v + 1)).then(() => log(p))\nawait agent('end')"
    async with opened() as sandbox:
        drained = await sandbox.start(program(body))
        agents = agents_of(drained)
        drains = await sandbox.deliver([value_for(op, op.prompt) for op in (agents[1], agents[0], agents[2])])
    assert [[op.prompt for op in agents_of(drain)] for drain in drains] == [["b1"], ["a1"], ["c1"]]


async def test_w39_script_that_ends_leaves_the_rest_of_a_batch() -> None:
    async with opened() as sandbox:
        drained = await sandbox.start(program("agent('a')\nagent('b')\nreturn await agent('c')"))
        agents = agents_of(drained)
        drains = await sandbox.deliver([value_for(op, op.prompt) for op in (agents[0], agents[2], agents[1])])
    assert [drain.end is not None for drain in drains] == [False, True]


async def test_delivery_of_nothing_that_is_waited_for_is_an_empty_drain() -> None:
    async with opened() as sandbox:
        await sandbox.start(program("await agent('a')"))
        drains = await sandbox.deliver([Delivery(id=77, scope=Scope("")), Delivery(id=77, scope=Scope(""))])
    assert [(drain.ops, drain.end) for drain in drains] == [((), None)] * 2


async def test_delivery_of_no_settlements_gives_no_drains() -> None:
    async with opened() as sandbox:
        await sandbox.start(program("await agent('a')"))
        assert list(await sandbox.deliver([])) == []


async def test_w101_cpu_of_a_drain_is_counted_and_limited() -> None:
    async with opened(drain_cpu_seconds=0.2) as sandbox:
        drained = await sandbox.start(program("for (let i = 0; i < 100000; i++);\nawait agent('x')\nfor (;;);"))
        with pytest.raises(SandboxFailed, match=r"more than 0.2 s of CPU without waiting") as caught:
            await sandbox.deliver([value_for(op, 1) for op in agents_of(drained)])
    assert caught.value.code == "script_timeout"
    assert 0.0005 < drained.cpu_seconds < 0.2


async def test_w101_cpu_of_all_drains_is_limited() -> None:
    with pytest.raises(SandboxFailed, match=r"more than 0.3 s of CPU in all") as caught:
        await play(
            "for (;;) { await agent('x'); for (let i = 0; i < 300000; i++); }",
            limits={"drain_cpu_seconds": 0.25, "total_cpu_seconds": 0.3},
        )
    assert caught.value.code == "script_timeout"


async def test_w102_heap_is_as_large_as_it_may_be_and_no_larger() -> None:
    body = "const held = []\nfor (let i = 0; i < {}; i++) held.push('x'.repeat(1000) + i)\nreturn held.length"
    played = await play(body.format(20_000), limits={"heap_bytes": 32 << 20})
    assert played.value == 20_000
    for heap_mib in (30, 31, 32, 33):
        with pytest.raises(SandboxFailed) as caught:
            await play(body.format(60_000), limits={"heap_bytes": heap_mib << 20})
        assert caught.value.code == "script_out_of_memory"


async def test_w102_stack_is_as_deep_as_it_may_be() -> None:
    body = "let depth = 0\nconst down = () => { depth++; down() }\ntry { down() } catch (e) { return [e.name, depth] }"
    small = await play(body, limits={"stack_bytes": 128 << 10})
    large = await play(body, limits={"stack_bytes": 1 << 20})
    assert small.value[0] == large.value[0] == "RangeError"
    assert large.value[1] > 4 * small.value[1]


async def test_w103_script_that_does_not_answer_is_killed() -> None:
    async with opened(heartbeat_seconds=0.3) as sandbox:
        failed = await failure(sandbox, "return 'a'.repeat(4e6).indexOf('a'.repeat(2e6) + 'b')")
        assert failed.code == "script_killed"
        assert await _soon_gone(sandbox.pid)


async def _soon_gone(pid: int) -> bool:
    async with asyncio.timeout(30):
        while not is_gone(pid):
            await asyncio.sleep(0)
    return True


async def test_w103_slow_batch_that_answers_in_between_is_no_silence() -> None:
    slow = "const slow = () => { for (let i = 0; i < 1000000; i++); }"
    body = f"{slow}\nfor (let i = 0; i < 999; i++) agent('x').then(slow)\nawait agent('y')"
    silence_seconds, batch, worked_seconds = 2.0, 1, 0.0
    async with opened(heartbeat_seconds=silence_seconds) as sandbox:
        waiting = [value_for(op, 1) for op in agents_of(await sandbox.start(program(body)))]
        while worked_seconds <= silence_seconds:
            drains = await sandbox.deliver(waiting[:batch])
            assert len(drains) == batch
            worked_seconds, waiting = sum(drain.cpu_seconds for drain in drains), waiting[batch:]
            batch = ceil(1.3 * batch * silence_seconds / worked_seconds)


async def test_w104_script_that_waits_for_nothing_shows_as_waiting() -> None:
    async with opened() as sandbox:
        drained = await sandbox.start(program("await new Promise(() => {})"))
    assert (drained.ops, drained.end) == ((), None)


async def test_w128_closed_sandbox_is_gone_and_answers_nothing() -> None:
    async with opened() as sandbox:
        await sandbox.start(program("try { await agent('x') } finally { await agent('late') }"))
        await sandbox.close()
        assert is_gone(sandbox.pid)
        with pytest.raises(SandboxFailed, match="was closed"):
            await sandbox.deliver([Delivery(id=0, scope=Scope(""))])


async def test_request_that_is_given_up_kills_the_child() -> None:
    async with opened(drain_cpu_seconds=30.0, heartbeat_seconds=30.0) as sandbox:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await sandbox.start(program("for (;;);"))
        assert await _soon_gone(sandbox.pid)


async def test_child_that_is_killed_by_somebody_is_reported() -> None:
    async with opened() as sandbox:
        os.kill(sandbox.pid, signal.SIGKILL)
        failed = await failure(sandbox, "return 1")
    assert (failed.code, "signal 9" in failed.message) == ("script_killed", True)


async def test_value_that_no_message_can_hold_fails_before_it_is_sent() -> None:
    async with opened() as sandbox:
        await sandbox.start(program("await agent('x')"))
        huge = msgspec.Raw(b'"' + b"x" * FRAME_BYTES_MAX + b'"')
        with pytest.raises(SandboxFailed, match="too large") as caught:
            await sandbox.deliver([Delivery(id=0, scope=Scope(""), value=huge)])
    assert caught.value.code == "script_out_of_memory"


HOST = """
import asyncio, sys
from runtime.core.limits import Limits
from runtime.sandbox.host import ChildSandboxes
from tests.runtime.sandbox.stage import program

async def main():
    sandbox = await ChildSandboxes().open(Limits(drain_cpu_seconds=50.0, heartbeat_seconds=50.0))
    print(sandbox.pid, flush=True)
    await sandbox.start(program(sys.argv[1]))
    await asyncio.Event().wait()

asyncio.run(main())
"""


@linux_only
@pytest.mark.parametrize("body", ["await agent('x')", "for (;;);"], ids=["waiting", "busy"])
def test_w103_child_dies_with_its_host(body: str) -> None:
    with subprocess.Popen([sys.executable, "-c", HOST, body], cwd=ROOT, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        host.kill()
        host.wait()
        deadline = time.monotonic() + 20
        while not is_gone(pid) and time.monotonic() < deadline:
            os.sched_yield()
    assert is_gone(pid)


async def test_w103_fifty_sandboxes_work_side_by_side() -> None:
    body = "return await parallel(Array.from({ length: 16 }, (_, i) => () => agent(`${args} ${i}`)))"
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(play(body, number)) for number in range(50)]
    values = [run.result().value for run in runs]
    assert values == [[f"{number} {i}" for i in range(16)] for number in range(50)]


@linux_only
async def test_many_runs_that_begin_together_start_a_few_children_at_a_time() -> None:
    sandboxes, most = ChildSandboxes(), 0

    async def one() -> None:
        nonlocal most
        sandbox = await sandboxes.open(Limits())
        most = max(most, len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()) - before)
        await sandbox.close()

    before = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    await asyncio.gather(*(one() for _ in range(5 * STARTS_AT_ONCE)))
    assert most <= 2 * STARTS_AT_ONCE


async def test_thousand_calls_settle_in_one_batch() -> None:
    async with opened() as sandbox:
        drained = await sandbox.start(
            program("return (await parallel(Array.from({ length: 1000 }, (_, i) => () => agent(`do ${i}`)))).length")
        )
        agents = agents_of(drained)
        drains = await sandbox.deliver([value_for(op, "v") for op in agents])
    assert len(drains) == 1_000
    assert value_of(drains[-1]) == 1_000


async def test_script_that_asks_for_much_is_told_the_rest_when_that_was_taken_in() -> None:
    much = "const much = () => { for (let i = 0; i < 15000; i++) phase('a') }"
    body = f"{much}\nfor (let i = 0; i < 49; i++) agent(`do ${{i}}`).then(much)\nawait agent('last'); return 'all'"
    async with opened() as sandbox:
        waiting, times, last = [value_for(op, 1) for op in agents_of(await sandbox.start(program(body)))], 0, None
        while waiting:
            drains = await sandbox.deliver(waiting)
            assert sum(len(drained.ops) for drained in drains) <= FRAMES_AT_ONCE * 15_000
            waiting, times, last = waiting[len(drains) :], times + 1, drains[-1]
    assert times > 1 and last is not None and value_of(last) == "all"
