"""Carries out the tool calls of one answer, in their order; those that only read, and stand side by side, at once.

Only what was offered is executed. A call that the gateway denied comes as one of a tool that does not exist, and is
answered like any other unknown one: the gateway puts the denied call and its reason back into the history (DESIGN 6).
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from runtime.agents.answer import ToolUse
from runtime.agents.prompts import UNREADABLE_INPUT, unknown_tool
from runtime.ports import ToolAnswer, Tools, Watch

READ_ONLY = frozenset({"Read", "Glob", "Grep"})
TITLE_CHARS_MAX = 80
_TELLING = ("file_path", "path", "pattern", "command", "url", "description")
"""Members of an input that say what a call is about, the most telling first."""


@dataclass(slots=True)
class ToolCaller:
    """The tools of one attempt, as far as they were offered to it. `ran`: how many calls were executed."""

    tools: Tools
    offered: Collection[str]
    idempotency_key: str
    watch: Watch
    ran: int = 0

    async def results(self, calls: Sequence[ToolUse]) -> list[dict[str, Any]]:
        """A `tool_result` for each call."""
        results: list[dict[str, Any]] = []
        for group in _side_by_side(calls):
            if len(group) == 1:
                answers = [await self._answer(group[0])]
            else:
                async with asyncio.TaskGroup() as tasks:
                    running = [tasks.create_task(self._answer(call)) for call in group]
                answers = [task.result() for task in running]
            results += [result_block(call, answer) for call, answer in zip(group, answers, strict=True)]
        return results

    async def _answer(self, call: ToolUse) -> ToolAnswer:
        if call.name not in self.offered:
            return ToolAnswer(content=unknown_tool(call.name), is_error=True)
        if call.input is None:
            return ToolAnswer(content=UNREADABLE_INPUT.format(why=call.fault), is_error=True)
        self.ran += 1
        answer = await self.tools.call(call.name, call.input, idempotency_key=self.idempotency_key)
        self.watch.used_tool(call.name, title_of(call.input), failed=answer.is_error)
        return answer


def _side_by_side(calls: Sequence[ToolUse]) -> Iterator[Sequence[ToolUse]]:
    for reads, group in groupby(calls, lambda call: call.name in READ_ONLY):
        if reads:
            yield list(group)
        else:
            yield from ([call] for call in group)


def result_block(call: ToolUse, answer: ToolAnswer) -> dict[str, Any]:
    """An answer as the Messages API takes it."""
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call.id, "content": answer.content}
    return {**block, "is_error": True} if answer.is_error else block


def title_of(tool_input: dict[str, Any]) -> str:
    """What a call is about, in a few words on one line."""
    told = next((tool_input[name] for name in _TELLING if isinstance(tool_input.get(name), str)), "")
    text = " ".join(told[: 4 * TITLE_CHARS_MAX].split())
    return text if len(text) <= TITLE_CHARS_MAX else text[: TITLE_CHARS_MAX - 1] + "…"
