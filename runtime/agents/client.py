"""The gateway as the agents reach it: where it is, and what every request of an attempt says of who asks.

The requests are made by `sdk.py`, which the first of them loads while the loop goes on: that takes most of a second
and 50 MB, and most gateways drive no runs.
"""

import asyncio
import gc
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from gateway.contract import (
    AGENT_HEADERS,
    MAIN_AGENT,
    OWN_HEADER_PREFIX,
    PARENT_AGENT_HEADERS,
    RUN_HEADER,
    SESSION_HEADERS,
)
from runtime.ports import AgentTask

if TYPE_CHECKING:
    from runtime.agents.sdk import SdkClient

ATTEMPT_HEADER = f"{OWN_HEADER_PREFIX}idempotency-key"
"""`run/call/attempt` (W58). Not `idempotency-key`: an attempt makes many requests that differ."""


class GatewayClient:
    """One for all attempts of the process; `close` when none runs any more."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._sdk: SdkClient | None = None
        self._loading = asyncio.Lock()

    def reach(self, base_url: str) -> None:
        """From now on the gateway is there: where it listens is known only once it does."""
        self._base_url = base_url
        if self._sdk is not None:
            self._sdk.reach(base_url)

    async def stream(self, headers: Mapping[str, str], body: bytes, idle_seconds: float) -> AsyncGenerator[object]:
        """The events of an answer, after `OwnWords` if it is the gateway's.

        Raises `Refusal`, or `Stalled` after so many seconds without a byte.
        """
        sdk = self._sdk or await self._load()
        async with aclosing(sdk.stream(headers, body, idle_seconds)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Close every connection."""
        if self._sdk is not None:
            await self._sdk.close()

    async def _load(self) -> "SdkClient":
        async with self._loading:
            if self._sdk is None:
                client = await asyncio.to_thread(_import_sdk)
                self._sdk = client(self._base_url)
            return self._sdk


def headers_of(task: AgentTask) -> dict[str, str]:
    """Who asks: the bearer and the lineage, which never change within an attempt."""
    return {
        "x-api-key": task.bearer,
        SESSION_HEADERS[1]: task.run.session,
        AGENT_HEADERS[1]: task.agent_id,
        PARENT_AGENT_HEADERS[1]: MAIN_AGENT,
        RUN_HEADER: task.run.id,
        ATTEMPT_HEADER: idempotency_key(task),
    }


def idempotency_key(task: AgentTask) -> str:
    """The same for everything that one attempt asks for."""
    return f"{task.run.id}/{task.index}/{task.attempt}"


def _import_sdk() -> "type[SdkClient]":
    """Without the garbage collector, which would hold up everybody to walk again and again what stays for good."""
    collects = gc.isenabled()
    gc.disable()
    try:
        from runtime.agents.sdk import SdkClient
    finally:
        gc.freeze()
        if collects:
            gc.enable()
    return SdkClient
