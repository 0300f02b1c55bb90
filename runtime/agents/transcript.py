"""A conversation as it is sent: system, tools, messages, and where the prompt cache may be cut. Pure.

One breakpoint stands behind the tools and the preamble, which siblings share (W97); what differs between them comes
after it. Two more move along with the conversation once it is sure to go on, so that each turn reads what the last one
wrote; a single question with no tools would pay for a write that nobody reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast

import msgspec

from runtime.agents.answer import Answer, mend

OUTPUT_TOKENS_MAX = 32_000
"""Of one model request."""
MOVING_BREAKPOINTS = 2
_BREAKPOINT = {"type": "ephemeral"}


@dataclass(slots=True, kw_only=True)
class Transcript:
    """`messages` alternate between user and assistant; the first is the prompt."""

    system: str
    place: str | None
    """What is said of the working directory."""
    tools: Sequence[dict[str, Any]]
    model: str
    effort: str | None
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add_text(self, text: str) -> None:
        """The user says more, within the same message if it is theirs."""
        self.add_blocks([{"type": "text", "text": text}])

    def add_blocks(self, blocks: Sequence[dict[str, Any]]) -> None:
        """Blocks of the user, such as the results of tools."""
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages[-1]["content"].extend(blocks)
        else:
            self.messages.append({"role": "user", "content": list(blocks)})

    def add_answer(self, answer: Answer) -> None:
        """What the model said; nothing when it said nothing. A turn that was paused is continued by the next."""
        if not answer.content:
            return
        if self.messages and self.messages[-1]["role"] == "assistant":
            self.messages[-1]["content"].extend(answer.content)
        else:
            self.messages.append({"role": "assistant", "content": list(answer.content)})

    def body(self, *, max_tokens: int) -> bytes:
        """The body of the next model request."""
        system = [{"type": "text", "text": self.system, "cache_control": _BREAKPOINT}]
        if self.place is not None:
            system.append({"type": "text", "text": self.place})
        request: dict[str, Any] = {"model": self.model, "max_tokens": max_tokens, "stream": True, "system": system}
        if self.tools:
            request["tools"] = self.tools
        if self.effort is not None:
            request["output_config"] = {"effort": self.effort}
        request["messages"] = self._marked()
        return encode(request)

    def sha256(self) -> str:
        """Of everything that was said, without what serves only the sending."""
        return sha256(encode([self.system, self.place, self.messages])).hexdigest()

    def _marked(self) -> list[dict[str, Any]]:
        marked = list(self.messages)
        if not self.tools and len(marked) < 2:
            return marked
        users = [index for index, message in enumerate(marked) if message["role"] == "user"]
        for index in users[-MOVING_BREAKPOINTS:]:
            *before, last = cast(list[dict[str, Any]], marked[index]["content"])
            marked[index] = {"role": "user", "content": [*before, {**last, "cache_control": _BREAKPOINT}]}
        return marked


def encode(value: Any) -> bytes:
    """As JSON. Text that UTF-8 cannot carry is mended first."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_mended(value))


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, Mapping):
        return {mend(name): _mended(item) for name, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, Sequence):
        return [_mended(item) for item in cast("Sequence[Any]", value)]
    return value
