"""Background tasks that are named, kept and awaited; the only home of `create_task`.

Not a pool and not a queue: how many tasks there may be is decided by whoever spawns them.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")

CANCEL_GRACE_SECONDS = 1.0
"""How long `close` waits for cancelled tasks, so that one that swallows cancellation cannot hold a shutdown up."""


class Tasks:
    """Keeps every task it starts until the task has ended. One per application, used on its event loop only."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    @property
    def names(self) -> list[str]:
        """Names of what still runs, sorted."""
        return sorted(task.get_name() for task in self._running)

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start `work` in the background. An exception it raises is logged under `name` and goes no further.

        Raises RuntimeError after `close`, when nobody would wait for it any more.
        """
        self._require_open(name, work)
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._keep(task)
        task.add_done_callback(_report_failure)
        return task

    async def finish(self, name: str, work: Coroutine[Any, Any, T], left: Callable[[asyncio.Task[T]], None]) -> T:
        """Await `work`, which goes on when the caller is cancelled meanwhile: `left` is then given its task, in time.

        Whoever gets the task is answerable for it: awaits it, or cancels it, and lets go of what it may have brought.
        Until then only the caller keeps it, so that the usual case costs little.
        """
        self._require_open(name, work)
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        task = loop.create_task(_told(work, ended), name=name)
        try:
            await ended
        except asyncio.CancelledError:
            self._keep(task)
            left(task)
            raise
        return task.result()

    async def close(self, timeout_seconds: float) -> list[str]:
        """Wait for all tasks, cancel what is left after `timeout_seconds`; the names of those that had to be cancelled.

        Tasks started meanwhile are waited for as well, also those that a cancelled task starts to clean up.
        Once it returns nothing can be started.
        """
        await self._drain(timeout_seconds)
        cancelled = self.names
        for task in self._running:
            task.cancel()
        await self._drain(CANCEL_GRACE_SECONDS)
        self._closed = True
        return cancelled

    async def _drain(self, timeout_seconds: float) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_seconds
        while self._running and (left_seconds := deadline - now()) > 0:
            await asyncio.wait(set(self._running), timeout=left_seconds)

    def _require_open(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        if self._closed:
            work.close()
            raise RuntimeError(f"task {name!r} was started after the tasks were closed")

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _told(work: Coroutine[Any, Any, T], ended: asyncio.Future[None]) -> T:
    """Told by the work itself: a callback of its task would come a round of the event loop later."""
    try:
        return await work
    finally:
        if not ended.done():
            ended.set_result(None)


def _report_failure(task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        return
    failure = task.exception()
    if failure is not None:
        _log.error("background task %s failed", task.get_name(), exc_info=failure)
