"""The fifth scene: workflow scripts that the gateway runs itself. One is hostile, one is stopped.

The tools of their agents are the gateway's own: files in a folder. Neither Git nor a sandbox for a shell is needed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from gateway.commands.client import GatewayClient
from gateway.commands.demo.evidence import Trail, figures, read_limit
from gateway.commands.demo.narration import Check, Narrator
from gateway.commands.demo.scenes import Scene, finish, held_first, said_of
from gateway.commands.demo.stage import DEVELOPER, POLL_SECONDS, PROJECTS, Stage
from gateway.commands.output import CommandFailed
from gateway.commands.run_rows import AgentRow, RunRow
from gateway.commands.run_start import RUNS, Launch
from gateway.commands.runs import Agents, Runs

SCRIPTS = Path(__file__).parent / "scripts"
CLIENT = "workflow scripts"
SECRET = "hunter2-of-the-demo"
"""Stands in a file that agents must not read."""
SLOW, QUICK = "Write the index, and take your time", "Write the index"
CHAPTERS = 2
ENDS_OF_A_LOOP = frozenset({"script_timeout", "script_killed"})
"""Its time on the CPU is up; or, on a machine that has much to do, it has not answered for too long before that."""
RUN_SECONDS_MAX = 60.0


class Ended(RunRow, frozen=True):
    """A run's record, with its times."""

    started_ms: int | None = None
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """A run of agents that read files: its record, its agents, and what it returned."""

    run: Ended
    agents: list[AgentRow]
    value: Any


@dataclass(frozen=True, slots=True)
class Show:
    """Where the scripts play: the session of all of them, the folder of their agents, who starts them."""

    stage: Stage
    narrator: Narrator
    session: str
    workspace: Path

    @property
    def developer(self) -> GatewayClient:
        """Starts them."""
        return self.stage.client(DEVELOPER)

    async def start(self, script: str, name: str, **more: Any) -> str:
        """The id of the run that was started."""
        self.narrator.tell("you", f"$ POST /ringfence/v1/runs  {name}", "bold")
        body = {"script": script, "session": self.session, "workspace": str(self.workspace)} | more
        launch = await asyncio.to_thread(self.developer.order, RUNS, body, Launch)
        return launch.run_id

    async def until(self, run: str, is_so: Callable[[Ended], bool]) -> Ended:
        """The run's record once it is as asked for. Raises CommandFailed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RUN_SECONDS_MAX
        while not is_so(record := await asyncio.to_thread(self.developer.read, f"{RUNS}/{run}", Ended)):
            if loop.time() > deadline:
                raise CommandFailed(f"run {run} is still {record.state} after {RUN_SECONDS_MAX:.0f} s")
            await asyncio.sleep(POLL_SECONDS)
        return record

    async def end(self, run: str) -> Ended:
        """Its record once it is over, told."""
        record = await self.until(run, lambda each: not each.is_open)
        failure = f": {record.failure.message}" if record.failure is not None else ""
        style = "red" if record.failure is not None else "green"
        self.narrator.tell(record.name, f"{record.status.text}; {census_of(record)}{failure}", style)
        return record


async def play_workflows(stage: Stage, narrator: Narrator) -> Scene:
    """Three scripts of one session: two at once, and one that is stopped and resumed with a change."""
    title = "Scripts are governed too"
    narrator.scene(5, title)
    show = Show(stage, narrator, str(uuid4()), stage.workspace(f"{PROJECTS}/shop"))
    (show.workspace / "api.py").write_text("def orders(): ...\n")
    (show.workspace / ".env").write_text(f"PASSWORD={SECRET}\n")
    hostile, survey = await _play_two(show)
    stopped, resumed = await _play_resume(show)
    trail = await stage.trail({show.session})
    checks = (
        *survey_checks(survey, trail),
        *hostile_checks(hostile, survey.run, trail),
        *resume_checks(stopped, resumed, trail),
        held_first(Trail(tuple(each for each in trail.requests if each.completed))),
    )
    limit = read_limit(stage.operator, f"session:{show.session}")
    return finish(narrator, Scene(5, title, CLIENT, figures(trail, limit), checks))


async def _play_two(show: Show) -> tuple[Ended, Survey]:
    """A hostile script and a decent one, at the same time."""
    hostile = await show.start(_script("endless"), "endless.js")
    await show.until(hostile, lambda each: each.state == "running")
    files = [str(show.workspace / name) for name in ("api.py", ".env")]
    run = await show.start(_script("survey"), "survey.js", args={"files": files})
    record = await show.end(run)
    page = await asyncio.to_thread(show.developer.read, f"{RUNS}/{run}/agents", Agents)
    result = await asyncio.to_thread(show.developer.read, f"{RUNS}/{run}/result", dict[str, Any])
    survey = Survey(record, [msgspec.convert(each, AgentRow) for each in page.agents], result.get("value"))
    await _tell_agents(show, survey)
    return await show.end(hostile), survey


async def _tell_agents(show: Show, survey: Survey) -> None:
    """Each agent, and what was denied to it."""
    denied = [call for call in (await show.stage.trail({show.session})).calls if not call.allowed]
    for call in denied:
        show.narrator.tell("", f"DENIED   {call.tool}: {call.message}", "bold red")
    for agent in survey.agents:
        row = await asyncio.to_thread(
            show.developer.read, f"{RUNS}/{survey.run.id}/agents/{agent.index}", dict[str, Any]
        )
        words, _, _ = str(row.get("value")).partition("\n")
        told = f"DENIED   {row.get('detail') or agent.reason}" if agent.reason else f"{agent.state}: {words}"
        show.narrator.tell(agent.label, told, "bold red" if agent.reason else "green")


async def _play_resume(show: Show) -> tuple[Ended, Ended]:
    """A run is stopped while its last agent works; an edited script takes over what was finished."""
    script = _script("handbook")
    run = await show.start(script, "handbook.js")
    await show.until(run, lambda each: each.outcome.get("done") == CHAPTERS and each.agents.get("running") == 1)
    show.narrator.tell("you", f"$ ringfence runs stop {run}", "bold")
    await show.stage.command("runs", "stop", run, user=DEVELOPER)
    stopped = await show.end(run)
    edited = show.stage.folder / "handbook.js"
    edited.write_text(script.replace(SLOW, QUICK))
    plan = ("runs", "resume-plan", run, "--script", str(edited))
    show.narrator.tell("you", f"$ ringfence runs resume-plan {run} --script handbook.js", "bold")
    show.narrator.tell("gateway", (await show.stage.command(*plan, user=DEVELOPER)).partition("\n")[0])
    again = ("--session", show.session, "--workspace", str(show.workspace), "--yes", "--wait")
    show.narrator.tell("you", f"$ ringfence runs start handbook.js --resume-from {run} --wait", "bold")
    await show.stage.command("runs", "start", str(edited), "--resume-from", run, *again, user=DEVELOPER)
    rows = (await asyncio.to_thread(show.developer.read, RUNS, Runs, session=show.session)).runs
    resumed = next(str(row["id"]) for row in rows if row.get("resumed_from") == run)
    return stopped, await show.end(resumed)


def survey_checks(survey: Survey, trail: Trail) -> tuple[Check, ...]:
    """Did the agents of a script pass the gate, each call and each of themselves?"""
    mine = trail.of_run(survey.run.id)
    denied = [call.message for call in mine.calls if not call.allowed]
    refused = [agent for agent in survey.agents if agent.reason == "permission"]
    outcome = survey.run.outcome
    told = ", ".join(f"{agent.label}: {agent.reason}" for agent in refused) or "none was refused"
    return (
        Check(
            "a script ran in the gateway to its end",
            survey.run.state == "completed" and outcome.get("done") == len(survey.agents) - 1 > 0,
            f"{survey.run.status.text}, {len(mine.requests)} model requests",
        ),
        Check(
            "a tool call of its agents was denied by a rule",
            len(denied) == 1 and denied[0].startswith("files/secrets") and any(call.allowed for call in mine.calls),
            said_of([(call.tool, call.allowed) for call in mine.calls]),
        ),
        Check(
            "what it was after stayed where it is",
            SECRET not in str(survey.value),
            f"the script was given {survey.value}",
        ),
        Check(
            "an agent that may not live asked for nothing, and the census tells it",
            outcome.get("null") == len(refused) == 1 and survey.run.degraded and refused[0].tokens == 0,
            told,
        ),
    )


def hostile_checks(hostile: Ended, other: Ended, trail: Trail) -> tuple[Check, ...]:
    """Was an endless loop ended, and did the other run go on while it looped?"""
    began, ended = hostile.started_ms or 0, hostile.ended_ms or 0
    requests = trail.of_run(other.id).requests
    meanwhile = [
        each
        for each in requests
        if each.completed and began <= each.at_ms and each.at_ms + 1000 * each.total_seconds <= ended
    ]
    detail = hostile.failure.detail if hostile.failure is not None else "nothing"
    return (
        Check(
            "an endless script was ended",
            hostile.state == "failed" and detail in ENDS_OF_A_LOOP,
            f"{hostile.state} with {detail}, after {(ended - began) / 1000:.1f} s",
        ),
        Check(
            "another run went on meanwhile",
            bool(meanwhile),
            f"{len(meanwhile)} of its {len(requests)} requests were answered while that one looped",
        ),
    )


def resume_checks(stopped: Ended, resumed: Ended, trail: Trail) -> tuple[Check, ...]:
    """Was what was finished taken over, and only the rest paid?"""
    paid, cached = len(trail.of_run(resumed.id).requests), resumed.outcome.get("cached")
    replayed, spent = resumed.usage.replayed, resumed.usage.new
    return (
        Check(
            "a stopped run keeps what was finished",
            stopped.state == "stopped" and stopped.outcome.get("done") == CHAPTERS,
            f"{stopped.state}; {census_of(stopped)}",
        ),
        Check(
            "its resume takes that over and pays for the rest alone",
            resumed.state == "completed" and cached == CHAPTERS and resumed.outcome.get("done") == paid == 1,
            f"{cached} calls of {replayed.total_tokens} tokens taken over, {paid} request of {spent.total_tokens} paid",
        ),
    )


def census_of(run: Ended) -> str:
    """`2 done, 1 null`."""
    counts = (f"{count} {what}" for what, count in run.outcome.items() if count and what != "planned")
    return ", ".join(counts) or "no agents"


def _script(name: str) -> str:
    return (SCRIPTS / f"{name}.js").read_text()
