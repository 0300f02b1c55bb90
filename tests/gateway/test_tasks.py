"""Named, kept, awaited background tasks."""

import asyncio
import logging

import pytest

from gateway.tasks import Tasks


async def test_running_task_is_kept_and_forgotten_when_done() -> None:
    tasks, go = Tasks(), asyncio.Event()
    tasks.spawn("settle", go.wait())
    assert tasks.names == ["settle"]
    go.set()
    await tasks.close(timeout_seconds=5)
    assert len(tasks) == 0


async def test_failing_task_is_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("disk full")

    tasks = Tasks()
    with caplog.at_level(logging.ERROR):
        tasks.spawn("drain-7", fail())
        assert await tasks.close(timeout_seconds=5) == []
    assert "drain-7" in caplog.text and "disk full" in caplog.text


async def test_work_of_a_cancelled_caller_goes_on_with_whoever_takes_it_over() -> None:
    tasks, go, heirs = Tasks(), asyncio.Event(), list[asyncio.Task[str]]()

    async def send() -> str:
        await go.wait()
        return "answer"

    caller = tasks.spawn("caller", tasks.finish("send", send(), heirs.append))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled() and tasks.names == ["send"]
    go.set()
    assert await heirs[0] == "answer" and await tasks.close(timeout_seconds=5) == []


async def test_work_that_ended_just_before_its_caller_was_cancelled_is_taken_over_too() -> None:
    tasks, go, heirs = Tasks(), asyncio.Event(), list[asyncio.Task[str]]()
    callers: list[asyncio.Task[str]] = []

    async def send() -> str:
        await go.wait()
        asyncio.get_running_loop().call_soon(callers[0].cancel)
        return "answer"

    callers.append(tasks.spawn("caller", tasks.finish("send", send(), heirs.append)))
    go.set()
    await asyncio.wait(callers)
    assert callers[0].cancelled() and heirs[0].result() == "answer"


async def test_finished_work_gives_its_result_or_its_exception_and_is_nobody_elses() -> None:
    heirs: list[object] = []

    async def answer() -> int:
        return 42

    async def fail() -> int:
        raise ValueError("no")

    tasks = Tasks()
    assert await tasks.finish("answer", answer(), heirs.append) == 42
    with pytest.raises(ValueError, match="no"):
        await tasks.finish("fail", fail(), heirs.append)
    assert (heirs, len(tasks)) == ([], 0)


async def test_close_cancels_what_does_not_end_and_names_it() -> None:
    tasks, cleaned = Tasks(), list[str]()

    async def clean() -> None:
        cleaned.append("clean")

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await tasks.spawn("clean", clean())

    tasks.spawn("hang", hang())
    await asyncio.sleep(0)
    assert await tasks.close(timeout_seconds=0) == ["hang"]
    assert cleaned == ["clean"] and len(tasks) == 0


async def test_start_after_close_is_refused() -> None:
    tasks = Tasks()
    await tasks.close(timeout_seconds=0)
    with pytest.raises(RuntimeError, match="late"):
        tasks.spawn("late", asyncio.Event().wait())
    with pytest.raises(RuntimeError, match="later"):
        await tasks.finish("later", asyncio.Event().wait(), lambda task: None)
