"""The turns of one attempt: ask, look at the answer, carry out what it calls, ask again, until there is a value.

a tool was called       its results go back, the next turn begins; a valid output call is the value
end of turn             the text is the value; with a schema the agent is reminded of the output call
cut off by max_tokens   the agent goes on, a few times in a row; its text is joined
paused                  the same conversation is sent once more
refused, window full    over: `api_error`, `limit`
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.contract import DENIED_TOOL
from runtime.agents.allowance import Allowance, limit_reached
from runtime.agents.answer import Answer, ToolUse
from runtime.agents.asking import Asker
from runtime.agents.endings import AttemptOver, CallThrew
from runtime.agents.judging import SchemaJudge, SchemaUnusable
from runtime.agents.prompts import GO_ON, OUTPUT_TOOL, UNREADABLE_INPUT
from runtime.agents.structured import Mismatch, OutputDialogue
from runtime.agents.toolcalls import ToolCaller, result_block
from runtime.agents.transcript import OUTPUT_TOKENS_MAX, Transcript, encode
from runtime.core.model import Thrown
from runtime.ports import ToolAnswer, Watch

CUT_OFFS_MAX = 3
"""Answers in a row that reach the limit of output before the agent is given up."""


@dataclass(slots=True, kw_only=True)
class Conversation:
    """One attempt's. `last_text` is what a call with `onLimit: "partial"` gets."""

    asker: Asker
    transcript: Transcript
    allowance: Allowance
    caller: ToolCaller
    judge: SchemaJudge
    watch: Watch
    schema: dict[str, Any] | None
    dialogue: OutputDialogue
    last_text: str = ""
    _cut_offs: list[str] = field(default_factory=list[str])
    """Texts of the answers in a row that were cut off."""
    _told_of_model: bool = False

    async def run(self) -> bytes:
        """JSON of the value. Raises `AttemptOver` and `CallThrew`."""
        while True:
            max_tokens = self.allowance.begin_turn(OUTPUT_TOKENS_MAX)
            answer = await self.asker.ask(self.transcript, max_tokens)
            self._note(answer)
            value = await self._take(answer)
            if value is not None:
                return value

    def _note(self, answer: Answer) -> None:
        text = "".join([*self._cut_offs, answer.text])
        self.last_text = text if text.strip() else self.last_text
        requested = self.transcript.model
        if not self._told_of_model and not is_same_model(requested, answer.model):
            self._told_of_model = True
            self.watch.warn("model_substituted", f"{requested} was asked for, {answer.model} answered")

    async def _take(self, answer: Answer) -> bytes | None:
        """What becomes of an answer: the value, or None when the conversation goes on."""
        if answer.stop_reason == "refusal":
            why = f": {answer.stop_detail}" if answer.stop_detail else ""
            raise AttemptOver("api_error", f"the model refused to answer{why}")
        if answer.stop_reason == "model_context_window_exceeded":
            raise limit_reached("the conversation has filled the context window of the model")
        self.transcript.add_answer(answer)
        if answer.tool_uses:
            self._cut_offs.clear()
            return await self._carry_out(answer.tool_uses)
        if answer.stop_reason == "max_tokens":
            self._cut_off(answer)
            return None
        if answer.stop_reason == "pause_turn":
            return None
        if self.schema is not None:
            self._remind(answer)
            return None
        return self._text_value(answer)

    def _text_value(self, answer: Answer) -> bytes:
        text = "".join([*self._cut_offs, answer.text])
        if not text.strip():
            raise AttemptOver("empty", "the agent ended without any text", transient=True)
        return encode(text)

    def _cut_off(self, answer: Answer) -> None:
        left = self.allowance.tokens_left()
        if left is not None and left <= 0:
            most = self.allowance.options.max_tokens
            raise limit_reached(f"the agent reached its limit of {most} output tokens (maxTokens)")
        self._cut_offs.append(answer.text)
        if len(self._cut_offs) > CUT_OFFS_MAX:
            raise limit_reached(f"{len(self._cut_offs)} answers in a row were cut off at the limit of output")
        self.transcript.add_text(GO_ON)

    def _remind(self, answer: Answer) -> None:
        told = self.dialogue.ended_without(answer.text)
        if isinstance(told, Thrown):
            raise CallThrew(told)
        self._cut_offs.clear()
        self.transcript.add_text(told)

    async def _carry_out(self, calls: Sequence[ToolUse]) -> bytes | None:
        """Everything before the first valid output call; without one, everything."""
        results: list[dict[str, Any]] = []
        waiting: list[ToolUse] = []
        for call in calls:
            if self.schema is None or call.name != OUTPUT_TOOL:
                self._note_denial(call)
                waiting.append(call)
                continue
            results += await self._results(waiting)
            waiting = []
            told = await self._try_output(call)
            if told is None:
                return encode(call.input)
            results.append(result_block(call, ToolAnswer(content=told, is_error=True)))
        results += await self._results(waiting)
        self.transcript.add_blocks(results)
        return None

    async def _results(self, calls: Sequence[ToolUse]) -> list[dict[str, Any]]:
        async with self.allowance.in_time():
            return await self.caller.results(calls)

    async def _try_output(self, call: ToolUse) -> str | None:
        """What the agent is told of its output; None: it fits. Raises `CallThrew`."""
        assert self.schema is not None
        if call.input is None:
            told = self.dialogue.tried(call.raw, [Mismatch("", UNREADABLE_INPUT.format(why=call.fault))])
        else:
            try:
                mismatches = await self.judge.mismatches(self.schema, call.input)
            except SchemaUnusable as fault:
                raise CallThrew(Thrown(code="schema_invalid", message=f"no output can be checked: {fault}")) from None
            told = self.dialogue.tried(call.raw, mismatches)
        if (thrown := self.dialogue.exhausted()) is not None:
            raise CallThrew(thrown)
        return told

    def _note_denial(self, call: ToolUse) -> None:
        denied = call.name == DENIED_TOOL and call.input is not None and call.input.get("tool") == OUTPUT_TOOL
        if denied and call.input is not None:
            self.dialogue.denial = str(call.input.get("reason") or "")


def is_same_model(requested: str, answered: str) -> bool:
    """Is that the model that was asked for, by whatever name: with a date, of another backend, by an alias?"""
    asked, told = (name.lower().split("[")[0] for name in (requested, answered))
    return not told or asked in told or told in asked
