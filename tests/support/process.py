"""`ringfence serve` as a process of its own, on any free ports, and what it says when it does not start. No test here.

    async with served(tmp_path, upstream.base_url, budgets=[...]) as gateway:
        status, body = await gateway.ask()
        assert await gateway.stop() == (0, b"", b"")

For the gateway in the test's own process: `gateway.py`.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.gateway import CREDENTIAL, OPERATOR, SESSION, config_document, request_body

ROOT = Path(__file__).parents[2]
READY = re.compile(
    r"ringfence ready at (http://127\.0\.0\.1:\d+), metrics at (http://127\.0\.0\.1:\d+/metrics), "
    r"policies ([0-9a-f]{12}), config (\S+)\n"
)
NOWHERE = "http://127.0.0.1:9"


@dataclass(slots=True)
class Served:
    """A gateway that is ready, in its own process."""

    process: asyncio.subprocess.Process
    ready: re.Match[str]
    client: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return self.ready[1]

    async def ask(self, secret: str = CREDENTIAL, **fields: Any) -> tuple[int, bytes]:
        """Status and body of a model request."""
        headers = {"x-api-key": secret, "x-claude-code-session-id": SESSION}
        async with self.client.post(
            f"{self.url}/v1/messages", data=request_body(max_tokens=15_000, **fields), headers=headers
        ) as response:
            return response.status, await response.read()

    async def operator(self, path: str) -> Any:
        async with self.client.get(f"{self.url}/ringfence/v1/{path}", headers={"x-api-key": OPERATOR}) as response:
            return await response.json()

    async def org(self) -> tuple[int, int]:
        """Spent and held of the organisation, in nano-dollars."""
        (limit,) = (await self.operator("limits?account=org"))["limits"]
        return limit["used"], limit["held"]

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int | None, bytes, bytes]:
        """Exit code, and what was still written to stdout and stderr."""
        self.process.send_signal(number)
        said, told = await self.process.communicate()
        return self.process.returncode, said, told


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway", *arguments]


def environment(directory: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def write_config(directory: Path, upstream_url: str = NOWHERE, **sections: Any) -> Path:
    any_port = {"host": "127.0.0.1", "port": 0}
    document = {"listen": any_port, "metrics": any_port} | config_document(directory, upstream_url, **sections)
    file = directory / "ringfence.yaml"
    file.write_text(json.dumps(document))
    return file


@contextlib.asynccontextmanager
async def served(directory: Path, upstream_url: str = NOWHERE, **sections: Any) -> AsyncGenerator[Served]:
    """Serve until the block ends; what is still running then is killed."""
    process = await asyncio.create_subprocess_exec(
        *command("serve", "--config", str(write_config(directory, upstream_url, **sections))),
        cwd=directory,
        env=environment(directory),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        line = (await process.stdout.readline()).decode()
        ready = READY.fullmatch(line)
        assert ready is not None, line or (await process.stderr.read()).decode()
        async with aiohttp.ClientSession() as client:
            yield Served(process, ready, client)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def refusal_to_serve(directory: Path, **sections: Any) -> str:
    """The one message of a gateway that does not start."""
    file = write_config(directory, **sections)
    ended = subprocess.run(
        command("serve", "--config", str(file)),
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    assert ended.stderr.startswith("ringfence: ") and "Traceback" not in ended.stderr
    return ended.stderr


async def run_cli(directory: Path, *arguments: str) -> Any:
    """What a command prints as JSON."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments, "--config", str(directory / "ringfence.yaml"), "--json"),
        cwd=directory,
        env=environment(directory),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(said)
