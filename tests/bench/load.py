"""The load generator: keeps N connections busy for a while and prints what it measured. A process of its own.

    python -m tests.bench.load < spec.json > figures.json

A closed loop: each connection sends its next request when the last answer is whole.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

CONNECT_SECONDS_MAX = 5.0
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(slots=True)
class Measured:
    """Seconds per request, in the order they ended."""

    latencies: list[float] = field(default_factory=list[float])
    first_bytes: list[float] = field(default_factory=list[float])
    bytes_in: int = 0
    refused: str = ""
    """First answer that was not a 200."""


class Caller(asyncio.Protocol):
    """One connection that repeats one request until `deadline`, or until the shared `quota` is used up."""

    def __init__(self, request: bytes, measured: Measured, quota: list[int], deadline: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._measured = measured
        self._quota = quota
        self._deadline = deadline
        self._answer = bytearray()
        self._body_at = 0
        self._length: int | None = None
        self._started = self._first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._measured.refused = self._measured.refused or f"the connection was closed in mid-answer: {exc}"
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._body_at and not self._read_head():
            return
        if not self._first and len(self._answer) > self._body_at:
            self._first = time.perf_counter()
        if self._is_whole():
            self._record()

    def _send(self) -> None:
        if self._quota[0] <= 0 or time.perf_counter() >= self._deadline:
            self.done.set_result(None)
            self._transport.close()
            return
        self._quota[0] -= 1
        self._answer.clear()
        self._body_at, self._first = 0, 0.0
        self._started = time.perf_counter()
        self._transport.write(self._request)

    def _read_head(self) -> bool:
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body_at = end + 4
        head = bytes(self._answer[:end]).lower()
        place = head.find(b"\r\ncontent-length:")
        self._length = int(head[place + 17 :].split(b"\r\n", 1)[0]) if place >= 0 else None
        if not head.startswith(b"http/1.1 200"):
            self._measured.refused = self._measured.refused or bytes(self._answer[:1500]).decode(errors="replace")
        return True

    def _is_whole(self) -> bool:
        if self._length is not None:
            return len(self._answer) - self._body_at >= self._length
        return self._answer.endswith(LAST_CHUNK)

    def _record(self) -> None:
        now = time.perf_counter()
        self._measured.latencies.append(now - self._started)
        self._measured.first_bytes.append(self._first - self._started)
        self._measured.bytes_in += len(self._answer)
        if self._measured.refused:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._send()


async def run(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec`: port, requests (one text per connection), seconds, count."""
    measured, quota = Measured(), [int(spec["count"])]
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    deadline = started + float(spec["seconds"])
    callers: list[Caller] = []
    for request in spec["requests"]:
        raw = request.encode()
        connecting = loop.create_connection(
            lambda raw=raw: Caller(raw, measured, quota, deadline), "127.0.0.1", spec["port"]
        )
        _, caller = await asyncio.wait_for(connecting, CONNECT_SECONDS_MAX)
        callers.append(caller)
    await asyncio.gather(*(caller.done for caller in callers))
    elapsed = time.perf_counter() - started
    return {
        "requests": len(measured.latencies),
        "seconds": elapsed,
        "p50_ms": percentile(measured.latencies, 50),
        "p99_ms": percentile(measured.latencies, 99),
        "first_byte_p50_ms": percentile(measured.first_bytes, 50),
        "bytes_in": measured.bytes_in,
        "refused": measured.refused,
    }


def percentile(seconds: list[float], percent: int) -> float:
    """In milliseconds; 0 of nothing."""
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.load(sys.stdin)))))
