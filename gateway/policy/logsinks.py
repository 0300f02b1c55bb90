"""Where the records of the decision log go: a file, or a service that takes them zipped. Knows no record's content.

Writing never holds up a decision: what cannot be written or sent is kept up to a limit, then lost and counted.
"""

import asyncio
import gzip
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp

from gateway.config.model import Secret

FILE_MODE = 0o640
SEND_EVERY_SECONDS = 5.0
SEND_SECONDS_MAX = 10.0
AGAIN_SECONDS_MAX = 60.0
"""Longest wait between two tries of a service that does not take records; it doubles up to here."""
CHUNK_BYTES_MAX = 256 * 1024
"""Of one upload, before it is zipped."""
WAITING_BYTES_MAX = 8 * 1024 * 1024
"""Of the records that wait to be sent; beyond it the oldest are lost."""
ZIP_LEVEL = 6

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes records, each a JSON text."""

    def put(self, record: bytes) -> None:
        """Never waits and never fails; what is lost is counted."""
        ...

    @property
    def lost(self) -> int: ...


class FileSink:
    """One record a line, appended. Rotating the file is left to whoever reads it."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be opened."""
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        self.lost = 0
        self._failing = False

    def put(self, record: bytes) -> None:
        line = record + b"\n"
        try:
            failing = os.write(self._descriptor, line) != len(line)
            cause = "no space for the whole record"
        except OSError as error:
            failing, cause = True, error.strerror or str(error)
        self.lost += failing
        if failing and not self._failing:
            _log.error("the decision log %s cannot be written: %s; what is lost is counted", self._path, cause)
        self._failing = failing

    def close(self) -> None:
        os.close(self._descriptor)


class ServiceSink:
    """Sends records to `<url>/logs` as OPA does: zipped lists, every few seconds or when there are many."""

    def __init__(self, url: str, token: Secret | None) -> None:
        self._url = f"{url}/logs"
        self._token = token
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._many = asyncio.Event()
        self._failing = False
        self.lost = 0

    def put(self, record: bytes) -> None:
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        while self._waiting_bytes > WAITING_BYTES_MAX:
            self._waiting_bytes -= len(self._waiting.popleft())
            self.lost += 1
        if self._waiting_bytes >= CHUNK_BYTES_MAX:
            self._many.set()

    async def keep_sending(self) -> None:
        """Until cancelled."""
        again_seconds = 1.0
        while True:
            try:
                async with asyncio.timeout(SEND_EVERY_SECONDS):
                    await self._many.wait()
            except TimeoutError:
                pass
            self._many.clear()
            if await self.send():
                again_seconds = 1.0
            else:
                await asyncio.sleep(again_seconds)
                again_seconds = min(2 * again_seconds, AGAIN_SECONDS_MAX)

    async def send(self) -> bool:
        """Send all that waits; False when the service does not take it: then it goes on waiting."""
        while self._waiting:
            chunk = list(self._next_chunk())
            problem: str | None = "it was not asked to the end"
            try:
                body = await asyncio.to_thread(gzip.compress, b"[" + b",".join(chunk) + b"]", ZIP_LEVEL)
                problem = await self._post(body)
            finally:
                if problem is not None:
                    self._put_back(chunk)
            if problem is not None and not self._failing:
                _log.error("%s takes no decision log: %s; it is tried again", self._url, problem)
            self._failing = problem is not None
            if self._failing:
                return False
        return True

    def _next_chunk(self) -> Iterator[bytes]:
        size_bytes = 0
        while self._waiting and (not size_bytes or size_bytes + len(self._waiting[0]) <= CHUNK_BYTES_MAX):
            record = self._waiting.popleft()
            size_bytes += len(record)
            self._waiting_bytes -= len(record)
            yield record

    def _put_back(self, chunk: Sequence[bytes]) -> None:
        self._waiting.extendleft(reversed(chunk))
        self._waiting_bytes += sum(map(len, chunk))

    async def _post(self, body: bytes) -> str | None:
        """What is wrong, or None."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        timeout = aiohttp.ClientTimeout(total=SEND_SECONDS_MAX)
        try:
            async with aiohttp.request("POST", self._url, data=body, headers=headers, timeout=timeout) as answer:
                return None if answer.status < 300 else f"it answered {answer.status}"
        except TimeoutError:
            return f"it took longer than {SEND_SECONDS_MAX:g} seconds"
        except aiohttp.ClientError as error:
            return f"it cannot be reached ({error})"
