"""What the fake clouds share: a loopback server that judges every request before it answers. No cloud's own rule.

    async with FakeBedrock(script) as cloud:
        ... send to cloud.base_url ...
        assert cloud.problems == []
        assert cloud.received[0].normal.betas == (...)

Whatever is wrong with a request is written to `problems` and answered in that cloud's own error shape. A request that
is right gets the queued answer, else what the script says: blocks are written as the cloud writes them, a stream of
server-sent events too. The default script says hello.
"""

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Any, Literal, Self

from tests.e2e.script import Block, Conversation, Script
from tests.support.upstream import Answer, Received, ScriptedUpstream, json_answer, message, stream_answer, text_block

COUNTED_TOKENS = 42
Kind = Literal["path", "credential", "unknown", "body"]
_FOREIGN_HEADERS = ("cookie", "x-ringfence-")
"""Meant for the gateway alone."""


@dataclass(frozen=True, slots=True)
class Normal:
    """A request in the form that the Claude API takes, whichever cloud it came to."""

    body: dict[str, Any] = field(default_factory=dict[str, Any])
    betas: tuple[str, ...] = ()
    version: str = ""
    model: str = ""
    """The Claude API's id of the model that serves it, as far as it can be told."""
    stream: bool = False
    counts: bool = False
    """It asks for the number of its tokens."""


@dataclass(slots=True)
class Arrived(Received):
    """One request as it arrived, and what it means."""

    normal: Normal = field(default_factory=Normal)


class Rejected(Exception):
    """What is wrong with a request; the first sentence is answered."""

    def __init__(self, status: int, kind: Kind, *sentences: str) -> None:
        super().__init__(*sentences)
        self.status = status
        self.kind: Kind = kind
        self.sentences = sentences


def say_hello(_: Conversation) -> Sequence[Block]:
    return [text_block("Hello.")]


class Cloud(ABC):
    """A strict cloud. Subclasses say how a request is read and judged and how answers look."""

    def __init__(self, play: Script = say_hello) -> None:
        self.received: list[Arrived] = []
        self.problems: list[str] = []
        self._script = play
        self._answers: deque[Answer] = deque()
        self._server = ScriptedUpstream(self._respond)

    @property
    def base_url(self) -> str:
        return self._server.base_url

    def queue(self, *answers: Answer) -> None:
        """Answers for the next requests that are right, instead of what the script says."""
        self._answers.extend(answers)

    async def wait_for_requests(self, count: int) -> None:
        """Return once `count` requests have arrived in all."""
        await self._server.wait_for_requests(count)

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    @abstractmethod
    def read(self, received: Received) -> Normal:
        """What a request means. Raises Rejected when that cannot be told."""

    @abstractmethod
    def judge(self, received: Received, normal: Normal) -> None:
        """Raises Rejected with everything that this cloud would not take."""

    @abstractmethod
    def refuse(self, rejected: Rejected) -> Answer:
        """The error in this cloud's shape."""

    def count(self, _: Normal) -> Answer:
        return json_answer({"input_tokens": COUNTED_TOKENS})

    def speak(self, normal: Normal, blocks: Sequence[Block], **facts: Any) -> Answer:
        """The script's message as this cloud writes it."""
        return stream_answer(blocks, **facts) if normal.stream else json_answer(message(blocks, **facts))

    def dress(self, answer: Answer) -> Answer:
        """A whole answer of the script's as this cloud writes it."""
        return answer

    def _respond(self, received: Received) -> Answer:
        arrived = Arrived(**{each.name: getattr(received, each.name) for each in fields(Received)})
        self.received.append(arrived)
        try:
            _check_headers(received)
            arrived.normal = self.read(received)
            self.judge(received, arrived.normal)
        except Rejected as rejected:
            self.problems += [f"{received.method} {received.raw_path}: {each}" for each in rejected.sentences]
            return self.refuse(rejected)
        if self._answers:
            return self._answers.popleft()
        return self.count(arrived.normal) if arrived.normal.counts else self._play(arrived)

    def _play(self, arrived: Arrived) -> Answer:
        conversation = Conversation(arrived, arrived.normal.body)
        said = self._script(conversation)
        if isinstance(said, Answer):
            return self.dress(said)
        message_id = f"msg_{conversation.agent}_{conversation.turn}"
        return self.speak(arrived.normal, said, model=arrived.normal.model, message_id=message_id)


def _check_headers(received: Received) -> None:
    foreign = [name for name, _ in received.headers if name.lower().startswith(_FOREIGN_HEADERS)]
    if foreign:
        raise Rejected(400, "body", *(f"header {name} is the gateway's" for name in foreign))
    if received.method != "POST":
        raise Rejected(404, "path", f"{received.method} is not served here")
    if not (received.header("content-type") or "application/json").startswith("application/json"):
        raise Rejected(400, "body", "content-type: must be application/json; boto3 sends none")


def read_object(raw: bytes) -> dict[str, Any]:
    """The body. Raises Rejected: not JSON, not an object, or a key anywhere in it occurs twice."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        read = dict(found)
        if len(read) != len(found):
            raise Rejected(400, "body", f"a key occurs twice: {[name for name, _ in found]}")
        return read

    try:
        body = json.loads(raw, object_pairs_hook=pairs)
    except ValueError as error:
        raise Rejected(400, "body", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Rejected(400, "body", "the body is not an object")
    return body


def header_betas(received: Received) -> tuple[str, ...]:
    """Names in the anthropic-beta header."""
    return tuple(part.strip() for part in (received.header("anthropic-beta") or "").split(",") if part.strip())


def envelope(status: int, error_type: str, sentence: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """An error as the Claude API words it, its id in the headers left to the cloud."""
    body = {"type": "error", "error": {"type": error_type, "message": sentence}, "request_id": "req_cloud"}
    return Answer(status, (("content-type", "application/json"), *headers), [json.dumps(body).encode()])
