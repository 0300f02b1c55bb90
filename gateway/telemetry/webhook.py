"""Tells one HTTP address of what happens: a signed JSON event each, in order, tried again, never waited for.

    POST <url>   x-ringfence-signature: sha256=<hex HMAC-SHA256 of the body with the secret>
    {"type": "approval.waiting" | "approval.decided", "id": "evt_...", "at_ms": ..., "change": ..., "approval": {...}}
    {"type": "run.<state>", "id": "evt_...", "at_ms": ..., "run": {...}}

Not a log: what cannot be delivered is lost and counted. `id` is the same in every attempt. Nothing of a call's input
but the item's title is in it, and no redirect is followed. What is told of runs is `runs/told.py`.
"""

import asyncio
import hmac
import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from gateway.config.model import WebhookConfig
from gateway.core.oversight.approvals import Item, outline
from gateway.ports import Clock

SIGNATURE_HEADER = "x-ringfence-signature"
QUEUE_MAX = 1_000
"""Events that wait for delivery; past it the oldest is lost."""
TIMEOUT_SECONDS = 10.0
RETRY_SECONDS: Sequence[float] = (1.0, 5.0, 25.0)
"""Pauses before the further attempts."""

_log = logging.getLogger(__name__)


class Webhook:
    """One address. `run` delivers, and is started once as a task."""

    def __init__(
        self,
        config: WebhookConfig,
        session: aiohttp.ClientSession,  # noqa: TID251  # the one that app.py hands down
        clock: Clock,
        *,
        section: str = "approvals",
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        """`section` of the configuration, for messages about the address."""
        self.delivered = 0
        self.lost = 0
        """Events that were not delivered, since the start."""
        self._config = config
        self._session = session
        self._clock = clock
        self._section = section
        self._retry_seconds = retry_seconds
        self._queue: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._failing = False

    def tell(self, change: str, item: Item) -> None:
        """Queue the event of a change of an approval."""
        if change != "remembered":
            kind = "approval.waiting" if change == "asked" else "approval.decided"
            self.send(kind, {"change": change, "approval": outline(item)})

    def send(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Queue an event. Never waits, never fails."""
        event = {"type": kind, "id": f"evt_{os.urandom(8).hex()}", "at_ms": self._clock.unix_ms(), **fields}
        if len(self._queue) >= QUEUE_MAX:
            self._queue.popleft()
            self._lose(f"more than {QUEUE_MAX} events wait")
        self._queue.append(msgspec.json.encode(event))
        self._filled.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._filled.wait()
            while self._queue:
                await self._deliver(self._queue.popleft())
            self._filled.clear()

    async def _deliver(self, body: bytes) -> None:
        problem = ""
        for pause_seconds in (0.0, *self._retry_seconds):
            await asyncio.sleep(pause_seconds)
            problem = await self._send(body)
            if not problem:
                self.delivered += 1
                if self._failing:
                    self._failing = False
                    _log.warning("the %s webhook takes events again; %d were lost so far", self._section, self.lost)
                return
        self._lose(problem)

    async def _send(self, body: bytes) -> str:
        """What went wrong; empty when it was taken."""
        signature = hmac.new(self._config.secret.reveal().encode(), body, "sha256").hexdigest()
        headers = {"content-type": "application/json", SIGNATURE_HEADER: f"sha256={signature}"}
        try:
            async with self._session.post(
                self._config.url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            ) as answer:
                return "" if 200 <= answer.status < 300 else f"it answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return f"it did not answer ({type(error).__name__})"

    def _lose(self, problem: str) -> None:
        """Said once, until it works again. The address may carry a secret, so it is not shown."""
        self.lost += 1
        if not self._failing:
            self._failing = True
            _log.error("an event was not delivered: %s; see %s.webhook in the configuration", problem, self._section)
