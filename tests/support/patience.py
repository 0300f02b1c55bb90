"""How long a test waits for what the product does: time in which this process was kept waiting does not count.

async with within(1.0):
    await told.wait()

A machine that has much to do, or stands still, makes nothing late; a poll, a timer or work of this thread does. Other
processes, such as Postgres, are slower there as well, and that counts: bounds on what they do need room.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

STEP_SECONDS = 0.01


class Patience:
    """What has passed: step by step, of each no more than it was meant to take and this thread worked in it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def end(self, seconds: float) -> None:
        """Return when so much has passed."""
        never = asyncio.get_running_loop().create_future()
        while self.seconds < seconds:
            began, worked = time.monotonic(), time.thread_time()
            await asyncio.wait([never], timeout=STEP_SECONDS)
            worked = time.thread_time() - worked
            self.seconds += min(time.monotonic() - began, STEP_SECONDS + worked)


@contextlib.asynccontextmanager
async def within(seconds: float) -> AsyncGenerator[Patience]:
    """Raises `TimeoutError` when the block takes longer."""
    patience = Patience()
    async with asyncio.timeout(None) as bound:

        async def lose() -> None:
            await patience.end(seconds)
            bound.reschedule(asyncio.get_running_loop().time())

        losing = asyncio.create_task(lose())
        try:
            yield patience
        finally:
            losing.cancel()
