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


async def test_cancelled_caller_work_is_finished_all_the_same() -> None:
    tasks, go, settled = Tasks(), asyncio.Event(), list[str]()

    async def settle() -> str:
        await go.wait()
        settled.append("settled")
        return "settled"

    caller = tasks.spawn("caller", tasks.finish("settle", settle()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled() and settled == []
    go.set()
    await tasks.close(timeout_seconds=5)
    assert settled == ["settled"]


async def test_finished_work_gives_its_result_or_its_exception() -> None:
    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise ValueError("no")

    tasks = Tasks()
    assert await tasks.finish("answer", answer()) == 42
    with pytest.raises(ValueError, match="no"):
        await tasks.finish("fail", fail())


async def test_failure_after_the_caller_left_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks, go = Tasks(), asyncio.Event()

    async def fail() -> None:
        await go.wait()
        raise ValueError("too late")

    caller = tasks.spawn("caller", tasks.finish("settle", fail()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    go.set()
    with caplog.at_level(logging.ERROR):
        await tasks.close(timeout_seconds=5)
    assert "settle" in caplog.text and "too late" in caplog.text


async def test_close_cancels_what_does_not_end_and_names_it() -> None:
    tasks, cleaned = Tasks(), list[str]()

    async def clean() -> None:
        cleaned.append("clean")

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await tasks.finish("clean", clean())

    tasks.spawn("hang", hang())
    await asyncio.sleep(0)
    assert await tasks.close(timeout_seconds=0) == ["hang"]
    assert cleaned == ["clean"] and len(tasks) == 0


async def test_start_after_close_is_refused() -> None:
    tasks = Tasks()
    await tasks.close(timeout_seconds=0)
    with pytest.raises(RuntimeError, match="late"):
        tasks.spawn("late", asyncio.Event().wait())
