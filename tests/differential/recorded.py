"""Runs of the real client's workflows, as they were recorded, and a model that answers again as it did then. No test.

A recording holds the script, each model request of its agents with what was answered, and the result that the client
told. Times matter only by their order: an answer is given once every request that came before it then has come now.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.gateway.running import Asked, Running, Said, reply
from tests.support.upstream import Answer, error_answer

FOLDER = Path(__file__).parents[1] / "golden" / "workflows" / "recorded"
TOGETHER_MS = 5
"""A request so soon after an answer is not a consequence of it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One model request of an agent. `told`: what the agent heard before it, if it was not its first."""

    agent: int
    turn: int
    start_ms: int
    end_ms: int
    prompt: str
    said: Mapping[str, Any]
    facts: Mapping[str, Any]
    """`schema`, `model`, `effort`; empty: the body was not recorded."""
    told: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """One run."""

    script: str
    requests: Sequence[Request]
    result: Any
    usage: Mapping[str, int]
    failures: str | None

    @property
    def order(self) -> list[tuple[Literal["start", "end"], int]]:
        """Starts and ends of requests, by number, as they followed each other."""
        starts = [(each.start_ms - TOGETHER_MS, 0, index) for index, each in enumerate(self.requests)]
        ends = [(each.end_ms, 1, index) for index, each in enumerate(self.requests)]
        return [("end" if is_end else "start", index) for _, is_end, index in sorted(starts + ends)]

    def is_last(self, index: int) -> bool:
        """Of its agent."""
        agent = self.requests[index].agent
        return all(each.agent != agent for each in self.requests[index + 1 :])


def load(name: str) -> Recording:
    """A recording by the name of its file."""
    kept = json.loads((FOLDER / f"{name}.json").read_text())
    requests: list[Request] = []
    for each in kept["requests"]:
        turn = sum(before.agent == each["agent"] for before in requests) + 1
        facts = {key: each[key] for key in ("schema", "model", "effort") if key in each}
        place = (each["agent"], turn, each["start_ms"], each["end_ms"])
        requests.append(Request(*place, each["prompt"], each["said"], facts, each.get("told", ())))
    return Recording(kept["script"], requests, kept["result"], kept["usage"], kept["failures"])


@dataclass
class Replay:
    """The model. `eager`: answers begin at once, so that nobody waits for a first byte; they still end in order."""

    recording: Recording
    eager: bool = False
    errors: Mapping[int, Answer] = field(default_factory=dict[int, Answer])
    """Instead of what a request was answered then."""
    asked: dict[int, Asked] = field(default_factory=dict[int, Asked])
    """By the number of the recorded request that it matches."""
    strays: list[Asked] = field(default_factory=list[Asked])
    """Requests that were not made then."""
    at_work: list[tuple[set[int], set[int]]] = field(default_factory=list[tuple[set[int], set[int]]])
    """Whenever new requests had come: the agents at work then, and now."""
    _arrived: list[asyncio.Event] = field(default_factory=list[asyncio.Event])
    _released: list[asyncio.Event] = field(default_factory=list[asyncio.Event])

    def __post_init__(self) -> None:
        self._arrived = [asyncio.Event() for _ in self.recording.requests]
        self._released = [asyncio.Event() for _ in self.recording.requests]

    def say(self, asked: Asked) -> Said:
        """The answer that this request got then, held until its turn."""
        for index, request in enumerate(self.recording.requests):
            if (request.prompt, request.turn) == (asked.prompt, asked.turn) and index not in self.asked:
                self.asked[index] = asked
                self._arrived[index].set()
                return self._answer(index, request, asked.body["model"])
        self.strays.append(asked)
        return error_answer(400, "invalid_request_error", "this was not asked then")

    def _answer(self, index: int, request: Request, model: str) -> Answer:
        answer = self.errors.get(index) or _said(request, model)
        begun = 1 if self.eager else 0
        return Answer(
            answer.status,
            answer.headers,
            [*answer.chunks[:begun], self._released[index], *answer.chunks[begun:]],
        )

    async def perform(self, gateway: Running, run: str) -> None:
        """Every recorded request comes and is answered, in the recorded order."""
        working: set[int] = set()
        has_new = False
        for kind, index in self.recording.order:
            agent = self.recording.requests[index].agent
            if kind == "start":
                await self._arrived[index].wait()
                working.add(agent)
                has_new = True
                continue
            if has_new:
                now = {row["index"] for row in await gateway.agents(run) if row["state"] == "running"}
                self.at_work.append((set(working), now))
                has_new = False
            self._released[index].set()
            if self.recording.is_last(index):
                working.discard(agent)


def _said(request: Request, model: str) -> Answer:
    match request.said:
        case {"text": str(text)}:
            return reply(text, model)
        case {"output": output}:
            return reply(output, model)
        case {"error": error}:
            headers = [("x-should-retry", "false")]
            return error_answer(error["status"], error["type"], error["message"], headers)
        case other:
            raise AssertionError(other)
