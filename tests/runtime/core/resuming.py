"""Runs to resume from, and what a resume makes of them. No test here."""

from typing import Any

import msgspec

from runtime.core.journal import IssuedLine, Line, ResultLine, RunLine, StartedLine, StateLine, call_key
from runtime.core.model import AgentId, CallIndex, CallOptions, ResumeMode, RunState, Scope
from runtime.core.recorded import Recorded, fold_journal
from runtime.core.replay import Hit, Miss, Replay
from tests.support.workflows import USAGE, Answer, Body, Play, Script, build_spec, echo, play

MODES: tuple[ResumeMode, ...] = ("lineage", "prefix")
VALUE = msgspec.Raw(b'"x"')


def all_but(*prompts: str, given: Any = None) -> Answer:
    """Everything is answered but these."""
    return lambda prompt: given if prompt in prompts else echo(prompt)


def resume(before: Play, body: Body, mode: ResumeMode, **more: Any) -> Play:
    return play(body, replay=Replay(before.recorded, mode), **more)


def fan(*prompts: str) -> Body:
    """One `parallel`, then a summary of what came out."""

    async def body(script: Script) -> Any:
        await script.parallel([lambda prompt=prompt: script.agent(prompt) for prompt in prompts])
        return await script.agent("summary")

    return body


def chain(*prompts: str) -> Body:
    """One call after the other, each answer dropped."""

    async def body(script: Script) -> Any:
        for prompt in prompts:
            await script.agent(prompt)

    return body


def issued(index: int, prompt: str, scope: str = "", **options: Any) -> IssuedLine:
    given = CallOptions(**options)
    return IssuedLine(
        at_ms=0,
        id=index,
        index=CallIndex(index),
        key=call_key(prompt, given),
        scope=Scope(scope),
        prompt=prompt,
        options=given,
    )


def result(line: IssuedLine, **more: Any) -> ResultLine:
    given = {"value": VALUE, "seq": line.index, "usage": USAGE, **more}
    return ResultLine(at_ms=0, index=line.index, key=line.key, scope=line.scope, spent=0, **given)


def started(index: int, attempt: int = 1) -> StartedLine:
    return StartedLine(at_ms=0, index=CallIndex(index), attempt=attempt, agent_id=AgentId("a"))


def journal(*lines: Line, state: RunState = "stopped") -> Recorded:
    return fold_journal(
        [RunLine(at_ms=0, spec=build_spec()), *lines, StateLine(at_ms=0, before="running", after=state)]
    )


def ask(recorded: Recorded, line: IssuedLine, mode: ResumeMode = "lineage", **more: Any) -> Hit | Miss:
    replay = Replay(recorded, mode, **more)
    replay.next_drain()
    return replay.issued(line.key, line.scope, line.options)


def reason(answer: Hit | Miss) -> str | None:
    return answer.reason if isinstance(answer, Miss) else None


def stages(second: str) -> Body:
    async def body(script: Script) -> Any:
        async def s1(_: Any, item: str, index: int) -> Any:
            return await script.agent(f"s1 {item}")

        async def s2(_: Any, item: str, index: int) -> Any:
            return await script.agent(f"{second} {item}")

        return await script.pipeline(["x", "y", "z"], s1, s2)

    return body
