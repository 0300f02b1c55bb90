"""The places of one upstream that takes only so many requests at once: waits for one, and gives it back.

Who is next is `core/routes/fairqueue.py`.
"""

import asyncio

from gateway.core.routes.fairqueue import FairQueue, Ticket


class Slots:
    """Places of one upstream. Without a maximum they are only counted. Used on one event loop."""

    def __init__(self, concurrent_max: int | None) -> None:
        self._queue = None if concurrent_max is None else FairQueue(concurrent_max)
        self._unlimited_in_use = 0
        self._wakers: dict[Ticket, asyncio.Future[None]] = {}

    @property
    def in_use(self) -> int:
        """Places taken now."""
        return self._unlimited_in_use if self._queue is None else self._queue.in_use

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return 0 if self._queue is None else self._queue.waiting

    async def take(self, user: str, *, timeout_seconds: float) -> bool:
        """Take a place, waiting for it in turn with other users. False: too many wait, or it took too long.

        Whoever gets True calls `release` once. A caller that is cancelled has no place, also when it was just granted.
        """
        if self._queue is None:
            self._unlimited_in_use += 1
            return True
        ticket = self._queue.ask(user)
        if ticket is None or ticket.standing == "granted":
            return ticket is not None
        return await self._wait(self._queue, ticket, timeout_seconds)

    def release(self) -> None:
        """Give a place back; whoever waits for it is woken. Raises ValueError when none was taken."""
        if self._queue is not None:
            self._wake(self._queue.release())
        elif self._unlimited_in_use == 0:
            raise ValueError("a place was given back that nobody had taken")
        else:
            self._unlimited_in_use -= 1

    async def _wait(self, queue: FairQueue, ticket: Ticket, timeout_seconds: float) -> bool:
        waker = asyncio.get_running_loop().create_future()
        self._wakers[ticket] = waker
        try:
            await asyncio.wait([waker], timeout=timeout_seconds)
        except BaseException:
            self._leave(queue, ticket)
            raise
        if ticket.standing != "granted":
            self._leave(queue, ticket)
            return False
        return True

    def _leave(self, queue: FairQueue, ticket: Ticket) -> None:
        self._wakers.pop(ticket, None)
        self._wake(queue.cancel(ticket))

    def _wake(self, ticket: Ticket | None) -> None:
        if ticket is not None:
            self._wakers.pop(ticket).set_result(None)
