"""`ringfence runs` against `ringfence serve`, both as processes: exit codes, what is printed, interrupts."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.output import EXIT_REFUSED
from tests.gateway.running import Asked, Said, Say, reply
from tests.support.gateway import CREDENTIAL, OPERATOR
from tests.support.process import Served, command, environment, served
from tests.support.upstream import Answer, Received, ScriptedUpstream, error_answer

META = "export const meta = {name: 'sweep', description: 'looks around', phases: [{title: 'Look'}]}\n"
TWO = "phase('Look')\nreturn [await agent('one'), await agent('two')]"


@dataclass(slots=True)
class Told:
    """What a command did."""

    code: int | None
    out: str
    err: str

    def last(self) -> Any:
        """The last line, as JSON."""
        return json.loads(self.out.splitlines()[-1])


@dataclass
class Shell:
    """Somebody at a terminal that is none, in front of a running gateway."""

    directory: Path
    gateway: Served
    upstream: ScriptedUpstream

    def write(self, body: str, name: str = "sweep.js") -> str:
        """A script file."""
        file = self.directory / name
        file.write_text(META + body)
        return str(file)

    async def begin(self, *arguments: str, secret: str = CREDENTIAL) -> asyncio.subprocess.Process:
        """A command under way."""
        known = {"RINGFENCE_URL": self.gateway.url, "RINGFENCE_CREDENTIAL": secret, "COLUMNS": "160"}
        return await asyncio.create_subprocess_exec(
            *command(*arguments),
            cwd=self.directory,
            env=environment(self.directory) | known,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, secret: str = CREDENTIAL) -> Told:
        """A command, to its end."""
        return await ended(await self.begin(*arguments, secret=secret))


async def ended(process: asyncio.subprocess.Process) -> Told:
    out, err = await process.communicate()
    return Told(process.returncode, out.decode(), err.decode())


@contextlib.asynccontextmanager
async def shell(directory: Path, say: Say, **sections: Any) -> AsyncGenerator[Shell]:
    """Until the block ends."""

    def respond(received: Received) -> Answer:
        asked = Asked(received.json())
        return reply(say(asked), asked.body["model"])

    async with ScriptedUpstream(respond) as upstream, served(directory, upstream.base_url, **sections) as gateway:
        yield Shell(directory, gateway, upstream)
        code, _, told = await gateway.stop()
        assert (code, told) == (0, b""), told.decode()


def echo(asked: Asked) -> Said:
    """`bad` is refused by the model's provider."""
    if asked.prompt == "bad":
        return error_answer(400, "invalid_request_error", "no")
    return f"re {asked.prompt}"


ENDS = {
    "completed": (TWO, 0),
    "degraded": ("return [await agent('one'), await agent('bad')]", 3),
    "failed": ("await agent('one'); throw new Error('on purpose')", 4),
}


async def test_run_is_started_waited_for_and_told_by_its_exit_code(tmp_path: Path) -> None:
    record: dict[str, Any] = {}
    async with shell(tmp_path, echo) as at:
        for end, (body, code) in ENDS.items():
            plain = await at.run("runs", "start", at.write(body), "--yes", "--wait")
            assert (plain.code, "Traceback" in plain.err) == (code, False), (end, plain)
            told = await at.run("runs", "start", at.write(body), "--yes", "--wait", "--json")
            record = told.last()
            assert (told.code, record["degraded"] or record["state"] == "failed") == (code, end != "completed"), told
        assert record["failure"]["message"].startswith("Error: on purpose")
        rows = json.loads((await at.run("runs", "list", "--json")).out)
        assert len(rows["runs"] if isinstance(rows, dict) else rows) == 2 * len(ENDS)


async def test_what_a_run_did_can_be_read_again(tmp_path: Path) -> None:
    async with shell(tmp_path, echo) as at:
        run = (await at.run("runs", "start", at.write(TWO), "--yes", "--wait", "--json")).last()["id"]
        shown = await at.run("runs", "show", run)
        assert shown.code == 0 and "sweep" in shown.out and "completed" in shown.out and "Look" in shown.out
        result = await at.run("runs", "result", run, "--json")
        assert json.loads(result.out) == ["re one", "re two"]
        lines = (await at.run("runs", "journal", run)).out.splitlines()
        assert [json.loads(lines[0])["type"], json.loads(lines[-1])["type"]] == ["run", "ended"]
        plan = await at.run("runs", "resume-plan", run, "--json")
        assert json.loads(plan.out)["hits"] == 2
        again = await at.run("runs", "start", "--resume-from", run, "--yes", "--wait", "--json")
        assert again.last()["outcome"]["cached"] == 2 and len(at.upstream.received) == 2
        missing = await at.run("runs", "show", "wf_0000000000000000")
        assert missing.code == EXIT_REFUSED and "there is no run" in missing.err and "Traceback" not in missing.err


async def test_script_that_is_wrong_is_told_of_with_its_place(tmp_path: Path) -> None:
    async with shell(tmp_path, echo) as at:
        told = await at.run("runs", "start", at.write("return await agent('one'"), "--yes", "--wait")
        assert told.code == 4 and "sweep.js:2:" in told.err and "syntax_error" in told.err
        assert at.upstream.received == []


async def test_interrupt_of_who_waits_leaves_the_run_at_work(tmp_path: Path) -> None:
    go = asyncio.Event()

    def hold(asked: Asked) -> Said:
        answer = reply(f"re {asked.prompt}")
        answer.chunks = [*answer.chunks[:3], go, *answer.chunks[3:]]
        return answer

    async with shell(tmp_path, hold) as at:
        waiting = await at.begin("runs", "start", at.write("return await agent('one')"), "--yes", "--wait")
        await at.upstream.wait_for_requests(1)
        assert waiting.stdout is not None
        first = (await waiting.stdout.readline()).decode()
        run = first.split()[0]
        waiting.send_signal(signal.SIGINT)
        told = await ended(waiting)
        assert told.code == 130 and run in told.err and "Traceback" not in told.err
        go.set()
        watched = await at.run("runs", "watch", run)
        assert watched.code == 0 and "completed" in watched.out


async def test_stop_from_another_terminal_ends_who_waits_with_its_own_code(tmp_path: Path) -> None:
    go = asyncio.Event()

    def hold(asked: Asked) -> Said:
        answer = reply(f"re {asked.prompt}")
        answer.chunks = [*answer.chunks[:3], go, *answer.chunks[3:]]
        return answer

    async with shell(tmp_path, hold) as at:
        waiting = await at.begin("runs", "start", at.write("return await agent('one')"), "--yes", "--wait", "--json")
        await at.upstream.wait_for_requests(1)
        assert waiting.stdout is not None
        run = json.loads(await waiting.stdout.readline())["runId"]
        paused = await at.run("runs", "pause", run, "--why", "a look")
        resumed = await at.run("runs", "resume", run)
        stopped = await at.run("runs", "stop", run)
        assert [each.code for each in (paused, resumed, stopped)] == [0, 0, 0]
        told = await ended(waiting)
        assert (told.code, told.last()["state"]) == (5, "stopped")
        go.set()
        again = await at.run("runs", "pause", run)
        assert again.code != 0 and "stopped" in again.err and "Traceback" not in again.err


@pytest.mark.parametrize(("verb", "code"), [("approve", 0), ("deny", 5)])
async def test_w141_run_that_a_policy_holds_is_decided_with_approvals(tmp_path: Path, verb: str, code: int) -> None:
    policy = {"settings": {"workflows": {"approve_above": 0}}}
    async with shell(tmp_path, echo, policy=policy) as at:
        waiting = await at.begin("runs", "start", at.write(TWO), "--yes", "--wait", "--json")
        assert waiting.stdout is not None
        run = json.loads(await waiting.stdout.readline())["runId"]
        while not (items := json.loads((await at.run("approvals", "list", "--json", secret=OPERATOR)).out)):
            pass
        rows = items["approvals"] if isinstance(items, dict) else items
        refused = await at.run("runs", "approve", run)
        assert refused.code != 0 and "approvals" in refused.err and at.upstream.received == []
        decided = await at.run("approvals", verb, rows[0]["id"], "--why", "read", secret=OPERATOR)
        assert decided.code == 0, decided
        assert (await ended(waiting)).code == code


async def test_run_that_policy_denies_ends_with_its_own_code(tmp_path: Path) -> None:
    async with shell(tmp_path, echo, policy={"settings": {"workflows": {"allow": False}}}) as at:
        told = await at.run("runs", "start", at.write(TWO), "--yes", "--wait", "--json")
        assert told.code == 5 and "switched off" in told.err + told.out and at.upstream.received == []
