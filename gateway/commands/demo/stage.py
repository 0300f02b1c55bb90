"""The gateway that the demo plays against: `ringfence serve` in its own process and folder, and its end. No scene.

Everything is in one temporary folder and on free loopback ports; what is started here is stopped here, by its own id.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

import yaml

import gateway
from gateway.commands.client import GatewayClient
from gateway.commands.demo.evidence import Trail, read_trail
from gateway.commands.demo.pace import Pace
from gateway.commands.environment import CREDENTIAL_VARIABLE
from gateway.commands.output import CommandFailed
from gateway.contract import MODELS_PATH

DEVELOPER = "alice"
RESEARCHER = "carol"
OPERATOR = "olga"
RESEARCH_TEAM = "research"
STRICT = {"strict": True, "on_reach": "refuse"}
"""Never passed, and no answer is shortened so that it fits."""
RESEARCH_CAP_USD = 1.00
SESSION_CAP_USD = 25
AGENTS_MAX = 8
AGENT_TYPES = ["general-purpose", "unknown"]
PROJECTS = "projects"
"""Folder in which agents of workflow scripts may work."""

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
COMMAND_SECONDS_MAX = 20.0
WAIT_SECONDS_MAX = 20.0
"""Until a new credential is known (the gateway looks for them once a second), or requests have ended."""
POLL_SECONDS = 0.05
LOG_CHARS_SHOWN = 2_000

_ROOT = Path(gateway.__file__).parents[1]
_SCENARIO = _ROOT / "gateway" / "upstreams" / "scenarios" / "demo.yaml"
_READY = re.compile(r"ready at (\S+), metrics at (\S+),")
_QUIET = re.compile(r"^ringfence_in_flight_requests 0(\.0)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stage:
    """A running gateway with its files and the secrets of its three users."""

    folder: Path
    url: str
    metrics_url: str
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def operator(self) -> GatewayClient:
        """Asks in the operator's name."""
        return self.client(OPERATOR)

    def client(self, user: str) -> GatewayClient:
        """Asks in a user's name."""
        return GatewayClient(self.url, self.secrets[user])

    def workspace(self, name: str) -> Path:
        """A new folder for an agent to work in."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    async def trail(self, sessions: Collection[str]) -> Trail:
        """The audit records of these sessions, once every request has been written down."""
        await _wait_until(lambda: _is_quiet(self.metrics_url), "the gateway's requests did not end")
        return read_trail(self.folder / "audit.jsonl", sessions)

    async def create_credential(self, user: str, *, operator: bool = False) -> None:
        """Through the command that an operator uses, while the gateway serves; returns once it is known there."""
        asked = [
            "credentials",
            "create",
            f"{user}-demo",
            "--user",
            user,
            "--json",
            "--config",
            str(_config(self.folder)),
        ]
        said = await self.command(*asked, *(["--operator"] if operator else []))
        self.secrets[user] = str(json.loads(said)["secret"])
        await _wait_until(lambda: _is_known(self.url, self.secrets[user]), f"the credential of {user} was not taken")

    async def command(self, *arguments: str, user: str = OPERATOR) -> str:
        """Run one `ringfence` command in a user's name; what it printed. Raises CommandFailed."""
        mine = {"RINGFENCE_URL": self.url}
        if user in self.secrets:
            mine[CREDENTIAL_VARIABLE] = self.secrets[user]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *arguments),
            env=_environment(self.folder) | mine,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, complained = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS_MAX)
        except TimeoutError:
            raise CommandFailed(f"`ringfence {arguments[0]}` did not end within {COMMAND_SECONDS_MAX:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            raise CommandFailed(f"`ringfence {' '.join(arguments)}` failed: {complained.decode().strip()}")
        return said.decode()


@contextlib.asynccontextmanager
async def open_stage(folder: Path, pace: Pace) -> AsyncGenerator[Stage]:
    """Serve from `folder` until the block ends. Raises CommandFailed with the gateway's own words."""
    log = folder / "gateway.log"
    (folder / PROJECTS).mkdir(exist_ok=True)
    _write_config(folder, pace)
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--config", str(_config(folder))),
            env=_environment(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C in the terminal is for the demo, which then stops the gateway
        )
    try:
        yield Stage(folder, *await _ready_urls(process, log))
    finally:
        await stop(process)


async def _ready_urls(process: asyncio.subprocess.Process, log: Path) -> tuple[str, str]:
    assert process.stdout is not None
    line = ""
    with contextlib.suppress(TimeoutError):
        line = (await asyncio.wait_for(process.stdout.readline(), READY_SECONDS_MAX)).decode()
    found = _READY.search(line)
    if found is None:
        raise CommandFailed(f"the gateway did not get ready; it said:\n{line}{_tail(log)}")
    return found[1], found[2]


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and end it when it does not. The asking is done before anything is waited for."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()


def build_config(folder: Path, scenario: str) -> dict[str, Any]:
    """Everything on: strict budgets, fuses, the packaged policies, an audit file. Ports are any free ones."""
    return {
        "listen": {"host": "127.0.0.1", "port": 0},
        "metrics": {"host": "127.0.0.1", "port": 0},
        "store": {"url": f"sqlite:///{folder / 'ringfence.db'}"},
        "audit": {"path": str(folder / "audit.jsonl")},
        "org": {
            "id": "acme",
            "teams": [{"id": "platform", "users": [DEVELOPER]}, {"id": RESEARCH_TEAM, "users": [RESEARCHER]}],
        },
        "upstreams": [{"id": "simulated", "backend": "simulated", "scenario": scenario}],
        "routes": [{"models": ["claude-*"], "upstreams": ["simulated"]}],
        "budgets": [
            {"account": "org", "window": "monthly", "limit_usd": 1000} | STRICT,
            {"account": "session", "window": "total", "limit_usd": SESSION_CAP_USD} | STRICT,
            {"account": f"team:{RESEARCH_TEAM}", "window": "total", "limit_usd": RESEARCH_CAP_USD} | STRICT,
        ],
        "fuses": {
            "agent": {"requests": 100, "tool_calls": 200, "identical_tool_calls": 10, "consecutive_errors": 15},
            "session": {"agents": AGENTS_MAX, "depth": 4},
        },
        "policy": {"settings": {"spawn": {"agent_types": AGENT_TYPES}}},
        "runs": {"workspaces": [str(folder / PROJECTS)]},
    }


def _config(folder: Path) -> Path:
    return folder / "ringfence.yaml"


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_CHARS_SHOWN:]


def _write_config(folder: Path, pace: Pace) -> None:
    scenario = yaml.safe_load(_SCENARIO.read_text()) | {"pace": pace.scripted}
    paced = folder / "scenario.yaml"
    paced.write_text(yaml.safe_dump(scenario, sort_keys=False))
    _config(folder).write_text(json.dumps(build_config(folder, str(paced)), indent=2))


def _environment(folder: Path) -> dict[str, str]:
    """All that a process of the demo sees of this machine."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "PYTHONPATH": str(_ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


async def _wait_until(is_so: Callable[[], bool], complaint: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_SECONDS_MAX
    while not await asyncio.to_thread(is_so):
        if loop.time() > deadline:
            raise CommandFailed(f"{complaint} within {WAIT_SECONDS_MAX:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


def _fetch(url: str, headers: dict[str, str] | None = None) -> str:
    """No proxy: it is this machine."""
    with build_opener(ProxyHandler({})).open(Request(url, headers=headers or {}), timeout=WAIT_SECONDS_MAX) as answer:
        return answer.read().decode()


def _is_quiet(metrics_url: str) -> bool:
    return _QUIET.search(_fetch(metrics_url)) is not None


def _is_known(url: str, secret: str) -> bool:
    try:
        return bool(_fetch(url + MODELS_PATH, {"x-api-key": secret}))
    except URLError:
        return False
