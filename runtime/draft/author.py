"""The model that writes a script: one conversation, held through the gateway as an agent's is.

Nobody can be asked to wait for a budget or a quota here: what would pause a run ends a draft.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.agents.allowance import Allowance
from runtime.agents.answer import Answer
from runtime.agents.asking import Asker, Dispatch
from runtime.agents.endings import AttemptOver
from runtime.agents.prompts import unknown_tool
from runtime.agents.toolcalls import result_block
from runtime.agents.transcript import OUTPUT_TOKENS_MAX, Transcript
from runtime.attempts import Places
from runtime.core.model import NullReason, Usage
from runtime.core.views.counts import Sum
from runtime.core.views.view import usage_row
from runtime.launch import Kind, RunError
from runtime.ports import AgentTask, Limited, ToolAnswer

KINDS: dict[NullReason, Kind] = {"permission": "denied", "stopped": "denied", "limit": "limited"}
"""What ends a conversation for good; all else is that the model cannot be reached, or that it was asked wrongly."""


@dataclass(slots=True)
class DraftWatch:
    """Implements `ports.Watch`: a place at the upstream for each request, and an end where a run would pause."""

    places: Places
    upstream: str
    used_so_far: Sum = field(default_factory=Sum)
    _has_place: bool = False

    async def before_request(self) -> Sequence[str]:
        """Wait for a place."""
        self.close()
        await self.places.enter(self.upstream)
        self._has_place = True
        return ()

    def began(self) -> None:
        """Nobody waits for it."""

    def used(self, usage: Usage) -> None:
        """A request was answered."""
        self.close()
        self.used_so_far.add(usage)

    def used_tool(self, name: str, title: str, *, failed: bool) -> None:
        """There are no tools."""

    def warn(self, code: str, message: str) -> None:
        """The answer says which model wrote."""

    async def limited(self, limit: Limited) -> None:
        """Raises `RunError` for what time alone does not mend."""
        self.close()
        if limit.kind == "throttled":
            self.places.burst(self.upstream)
            return
        raise RunError("over_budget" if limit.kind == "budget" else "limited", limit.message)

    def close(self) -> None:
        """Give the place back."""
        if self._has_place:
            self._has_place = False
            self.places.leave(self.upstream)


class Author:
    """One conversation. `told` is what it costs so far, and who answers."""

    def __init__(self, dispatch: Dispatch, places: Places, task: AgentTask, *, guide: str) -> None:
        limits, clock = task.run.limits, dispatch.clock
        self._model = task.run.model or ""
        self._allowance = Allowance(task.options, limits, clock, clock.monotonic())
        self._watch = DraftWatch(places, self._model)
        self._asker = Asker(dispatch, task, self._watch, self._allowance)
        self._transcript = Transcript(system=guide, place=None, tools=[], model=self._model, effort=None)

    def tell(self, text: str) -> None:
        """Something for its next answer."""
        self._transcript.add_text(text)

    async def answer(self) -> Answer:
        """What it says now. Raises `RunError`."""
        try:
            answer = await self._asker.ask(self._transcript, OUTPUT_TOKENS_MAX)
        except AttemptOver as over:
            raise refusal(over) from None
        if answer.stop_reason == "refusal":
            why = f": {answer.stop_detail}" if answer.stop_detail else ""
            raise RunError("draft_failed", f"the model refused to write a script for this task{why}")
        self._transcript.add_answer(answer)
        told = ((call, unknown_tool(call.name)) for call in answer.tool_uses)
        results = [result_block(call, ToolAnswer(content=text, is_error=True)) for call, text in told]
        if results:
            self._transcript.add_blocks(results)
        return answer

    def told(self) -> dict[str, Any]:
        """As it stands in an answer of the API."""
        return {"model": self._asker.answered_by or self._model, "usage": usage_row(self._watch.used_so_far)}

    def close(self) -> None:
        """It asks nothing more."""
        self._watch.close()


def refusal(over: AttemptOver) -> RunError:
    """Why no answer came, as whoever asked for the draft is told."""
    known = KINDS.get(over.null)
    if known is not None:
        return RunError(known, over.detail)
    if over.transient:
        return RunError("unavailable", f"the model did not answer: {over.detail}")
    return RunError("invalid_request", f"the model could not be asked: {over.detail}")
