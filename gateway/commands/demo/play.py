"""`ringfence demo`: plays five scenes against a real gateway on the simulated backend, and fails when a promise breaks.

No key, no network, nothing left behind. What is played is in `scenes.py`, `budget.py` and `workflows.py`, on the stage
of `stage.py`.
"""

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anthropic

from gateway.commands.demo.budget import play_budget
from gateway.commands.demo.claude import ClaudeCode, find_client
from gateway.commands.demo.narration import Narrator, build_narrator
from gateway.commands.demo.pace import PACES
from gateway.commands.demo.player import Player
from gateway.commands.demo.report import broken_promises, build_json, tell_ending
from gateway.commands.demo.scenes import Scene, play_denial, play_edit, play_fanout
from gateway.commands.demo.sdk import SdkAgent, open_client
from gateway.commands.demo.stage import DEVELOPER, OPERATOR, RESEARCHER, Stage, open_stage
from gateway.commands.demo.workflows import play_workflows
from gateway.commands.output import EXIT_DONE, EXIT_FAILED, CommandFailed, print_json

DEMO_SECONDS_MAX = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for: the pace by name, the real client for scenes 1 to 3, JSON on stdout."""

    pace: str
    claude: bool
    as_json: bool


def run_demo(options: Options, environ: Mapping[str, str]) -> int:
    """Play it; the exit code. Whatever happens, what was started is stopped. Raises CommandFailed."""
    client = find_client(environ) if options.claude else None
    narrator = build_narrator(stderr=options.as_json)
    with TemporaryDirectory(prefix="ringfence-demo-", ignore_cleanup_errors=True) as folder:
        try:
            scenes = asyncio.run(_play(Path(folder).resolve(), narrator, options.pace, client))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    tell_ending(narrator, scenes)
    if options.as_json:
        print_json(build_json(scenes))
    return EXIT_FAILED if broken_promises(scenes) else EXIT_DONE


async def _play(folder: Path, narrator: Narrator, pace: str, client: Path | None) -> list[Scene]:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with asyncio.timeout(DEMO_SECONDS_MAX):
            return await _play_all(folder, narrator, pace, client)
    except anthropic.APIConnectionError as error:
        raise CommandFailed(f"the gateway did not answer the SDK: {error.__cause__ or error}") from None
    except TimeoutError:
        raise CommandFailed(f"the demo did not end within {DEMO_SECONDS_MAX:.0f} s") from None


async def _play_all(folder: Path, narrator: Narrator, pace: str, client: Path | None) -> list[Scene]:
    narrator.tell("set-up", "$ ringfence serve --config ringfence.yaml", "yellow")
    began = time.monotonic()
    async with open_stage(folder, PACES[pace]) as stage:
        seconds = time.monotonic() - began
        narrator.tell("", f"ready after {seconds:.1f} s at {stage.url}, a simulated model behind it, policies checked")
        for user in (OPERATOR, DEVELOPER, RESEARCHER):
            narrator.tell(
                "",
                f"$ ringfence credentials create {user}-demo --user {user}{' --operator' if user == OPERATOR else ''}",
                "yellow",
            )
            await stage.create_credential(user, operator=user == OPERATOR)
        async with open_client(stage.url, stage.secrets[DEVELOPER]) as sdk:
            return await _play_scenes(stage, narrator, _player(stage, narrator, sdk, client), PACES[pace].pause_seconds)


async def _play_scenes(stage: Stage, narrator: Narrator, player: Player, pause_seconds: float) -> list[Scene]:
    narrator.tell("", f"the client is {player.name}")
    scenes: list[Scene] = []
    for play in (play_edit, play_denial, play_fanout):
        scenes.append(await play(stage, player, narrator))
        await asyncio.sleep(pause_seconds)
    scenes.append(await play_budget(stage, narrator))
    await asyncio.sleep(pause_seconds)
    scenes.append(await play_workflows(stage, narrator))
    return scenes


def _player(stage: Stage, narrator: Narrator, sdk: anthropic.AsyncAnthropic, client: Path | None) -> Player:
    if client is None:
        return SdkAgent(sdk, narrator)
    return ClaudeCode(client, stage.url, stage.secrets[DEVELOPER], home=stage.folder / "home", narrator=narrator)
