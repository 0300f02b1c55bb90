"""Streams that fail after they began: no client of any dialect can take one for whole, and what was seen is paid."""

import asyncio
import base64
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.core.wire.sse import EVENT_BYTES_MAX
from tests.gateway.failing import DIALECTS, Bench, asked, failing_clouds, last_words, named, spoken
from tests.support.clouds import faults
from tests.support.clouds.eventstream import (
    EVENT_STREAM_HEADERS,
    encode_event,
    encode_exception,
    event_stream,
)
from tests.support.dialects import read_error, read_events, text_of, tool_calls_of, write_request
from tests.support.upstream import SSE_HEADERS, Answer, error_event, stream, text_block, tool_block

BLOCKS = [text_block("Hello."), tool_block("Bash", {"command": "ls"}), text_block("More.")]
PLACES = {"before anything": 0, "before a block": 1, "within text": 3, "after text": 5, "within a call": 7}
"""After how many events of `BLOCKS` it fails."""
AFTER_CALL = 10
"""The same place once the client has a tool call, which it may be running."""
PING_SECONDS = 0.02
SILENCE_SECONDS = 1.0
"""What an upstream sends at once has all the time that a busy machine needs."""
NAMING = f"{faults.ARN} and projects/{faults.PROJECT_NUMBER} are out of quota"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Case:
    """A stream that fails. `error_type`: as the Messages API names what the client is told; None: it is cut off."""

    name: str
    kind: str
    answer: Callable[[], Answer]
    error_type: str | None = "api_error"
    text: str = ""
    calls: int = 0
    reason: str = "upstream_broke"
    words: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def written(kind: str) -> list[bytes]:
    return event_stream(BLOCKS) if kind == "bedrock" else stream(BLOCKS)


def ended_by(kind: str, events: int, *last: bytes, cut: bool = False) -> Callable[[], Answer]:
    """The first `events` events and what comes instead of the others."""
    headers = EVENT_STREAM_HEADERS if kind == "bedrock" else SSE_HEADERS
    return lambda: Answer(200, headers, [*written(kind)[:events], *last], cut=cut)


def seen(events: int) -> str:
    """The text of the first events."""
    return "Hello." if events > 3 else "Hel" if events == 3 else ""


def broken_anyhow(kind: str, events: int, place: str) -> list[Case]:
    """What can break in any framing, at one place."""
    shown: dict[str, Any] = {"text": seen(events)}
    if events == AFTER_CALL:
        shown |= {"calls": 1, "error_type": None}
    following = written(kind)[events]
    return [
        Case(f"cut {place}", kind, ended_by(kind, events, cut=True), words="broke off", **shown),
        Case(f"ends {place}", kind, ended_by(kind, events), words="in the middle", **shown),
        Case(f"ends in an event {place}", kind, ended_by(kind, events, following[:-3]), words="in the middle", **shown),
    ]


def bedrock_cases(events: int, place: str) -> list[Case]:
    told: dict[str, Any] = {"text": seen(events), "calls": int(events == AFTER_CALL)}
    unread: dict[str, Any] = told | ({"error_type": None} if events == AFTER_CALL else {})

    def ended_with(exception: str, sentence: str = "Try again.") -> Callable[[], Answer]:
        return ended_by("bedrock", events, encode_exception(exception, sentence))

    return [
        Case(f"throttled {place}", "bedrock", ended_with("throttlingException"), "rate_limit_error", **told),
        Case(
            f"exception that names an account {place}",
            "bedrock",
            ended_with("internalServerException", NAMING),
            "api_error",
            **told,
        ),
        Case(f"unavailable {place}", "bedrock", ended_with("serviceUnavailableException"), "overloaded_error", **told),
        Case(f"too slow {place}", "bedrock", ended_with("modelTimeoutException"), "timeout_error", **told),
        Case(
            f"wrong checksum {place}",
            "bedrock",
            lambda: faults.bad_checksum(BLOCKS, events),
            words="checksum",
            **unread,
        ),
    ]


def sse_cases(kind: str, events: int, place: str) -> list[Case]:
    told: dict[str, Any] = {"text": seen(events), "calls": int(events == AFTER_CALL)}
    unread: dict[str, Any] = told | ({"error_type": None} if events == AFTER_CALL else {})
    google = json.dumps({"error": {"code": 429, "message": NAMING, "status": "RESOURCE_EXHAUSTED"}}).encode()
    return [
        Case(
            f"overloaded {place}",
            kind,
            ended_by(kind, events, error_event("overloaded_error", "Overloaded")),
            "overloaded_error",
            **told,
        ),
        Case(
            f"error that names an account {place}",
            kind,
            ended_by(kind, events, error_event("api_error", NAMING)),
            "api_error",
            words="out of quota",
            **told,
        ),
        Case(
            f"error of Google's {place}",
            kind,
            ended_by(kind, events, b"data: " + google + b"\n\n"),
            "rate_limit_error",
            words="out of quota",
            **told,
        ),
        Case(
            f"event that is no JSON {place}",
            kind,
            ended_by(kind, events, b'event: content_block_delta\ndata: {"type":\n\n'),
            words="not a JSON object",
            **unread,
        ),
    ]


def once(kind: str) -> list[Case]:
    """What is the same wherever it happens."""
    big = stream([text_block("x" * EVENT_BYTES_MAX * 2)])[2]
    return [
        Case(
            "event too large",
            kind,
            ended_by(kind, 2, encode_event(big.partition(b"data: ")[2]) if kind == "bedrock" else big),
            words="longer than",
        ),
        Case("stream of another framing", kind, lambda: misframed(kind)),
        Case("page that says it is a stream", kind, lambda: page(kind)),
    ]


def misframed(kind: str) -> Answer:
    """Bytes in one framing that are said to be in the other."""
    chunks = stream(BLOCKS) if kind == "bedrock" else event_stream(BLOCKS)
    return Answer(200, EVENT_STREAM_HEADERS if kind == "bedrock" else SSE_HEADERS, chunks)


def page(kind: str) -> Answer:
    return dataclasses.replace(faults.html_page(200), headers=misframed(kind).headers)


def array_in_a_stream() -> Answer:
    """Google's error in an array, though the headers had promised events."""
    return Answer(200, SSE_HEADERS, faults.google_denied(array=True).chunks)


def error_frame() -> Answer:
    return faults.error_frame("throttlingException", NAMING)


AT = [*PLACES.items(), ("after a call", AFTER_CALL)]
CASES = [
    *(
        case
        for kind in ("bedrock", "vertex", "anthropic")
        for place, at in AT
        for case in broken_anyhow(kind, at, place)
    ),
    *(case for place, at in AT for case in bedrock_cases(at, place)),
    *(case for kind in ("vertex", "anthropic") for place, at in AT for case in sse_cases(kind, at, place)),
    *(case for kind in ("bedrock", "vertex", "anthropic") for case in once(kind)),
    Case("error frame", "bedrock", error_frame, "rate_limit_error", words="out of quota"),
    Case("Google's array", "vertex", array_in_a_stream, words="in the middle"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with failing_clouds(tmp_path_factory.mktemp("streams"), ping_seconds=PING_SECONDS) as opened:
        yield opened


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_broken_stream_cannot_be_taken_for_whole_and_is_paid(bench: Bench, case: Case, dialect: str) -> None:
    outcome = await bench.ask(case.kind, dialect, case.answer(), stream=True)

    events = outcome.events
    assert (outcome.status, outcome.cut) == (200, case.error_type is None)
    assert not [event for event in events if event.get("type") in ("message_delta", "message_stop")]
    assert len(tool_calls_of(events)) == case.calls and outcome.leaks == []
    if case.error_type is not None:
        assert named(events[-1]) == last_words(dialect, case.error_type)
        assert case.words in json.dumps(events[-1])
    assert case.text in text_of(events) and "More" not in text_of(events)
    assert outcome.headers["request-id"] and outcome.headers["x-ringfence-decision"].startswith("dec_")
    assert (outcome.record["reason"], outcome.money) == (case.reason, "estimated")


STALLS = [
    ("before headers", lambda kind: Answer(never=True), None),
    ("before anything", lambda kind: stalled(kind, 0), ""),
    ("within text", lambda kind: stalled(kind, 3), "Hel"),
    ("within a call", lambda kind: stalled(kind, 7), "Hello."),
    ("after a call", lambda kind: stalled(kind, AFTER_CALL), "Hello."),
]


def stalled(kind: str, events: int) -> Answer:
    return faults.stalled(BLOCKS, events=events, until=asyncio.Event(), binary=kind == "bedrock")


async def test_stalled_upstream_is_given_up_and_paid_by_what_was_seen(tmp_path: Path) -> None:
    async with failing_clouds(tmp_path, ping_seconds=PING_SECONDS, read_timeout_seconds=SILENCE_SECONDS) as bench:
        pairs = list(itertools.product(bench.clouds, DIALECTS))
        for _, answer, text in STALLS:
            answers = {kind: answer(kind) for kind in bench.clouds}
            for outcome in await bench.ask_all(pairs, answers, stream=True):
                assert (outcome.record["reason"], outcome.money, outcome.leaks) == ("upstream_timeout", "estimated", [])
                if text is None:
                    said_type, said = read_error(outcome.dialect, outcome.headers, outcome.body)
                    assert (outcome.status, said_type) == spoken(outcome.dialect, 504, "timeout_error")
                    assert "did not answer in time" in said
                    continue
                events = outcome.events
                assert text in text_of(events) and "More" not in text_of(events)
                assert outcome.cut == bool(tool_calls_of(events))
                assert outcome.cut or named(events[-1]) == last_words(outcome.dialect, "api_error")


async def test_stalled_whole_answer_is_a_timeout(tmp_path: Path) -> None:
    silent = asyncio.Event()
    begun = Answer(200, (faults.JSON,), [b'{"type":"message",', silent])
    async with failing_clouds(tmp_path, read_timeout_seconds=SILENCE_SECONDS) as bench:
        for answer, words in ((Answer(never=True), "did not answer in time"), (begun, "fell silent")):
            pairs = list(itertools.product(bench.clouds, DIALECTS))
            for outcome in await bench.ask_all(pairs, dict.fromkeys(bench.clouds, answer), stream=False):
                said_type, said = read_error(outcome.dialect, outcome.headers, outcome.body)
                assert (outcome.status, said_type) == spoken(outcome.dialect, 504, "timeout_error")
                assert words in said and outcome.headers["x-ringfence-decision"].startswith("dec_")
                assert (outcome.record["reason"], outcome.money) == ("upstream_timeout", "estimated")


@pytest.mark.parametrize(
    ("kind", "dialect", "events"),
    [("bedrock", "anthropic", 0), ("bedrock", "vertex", 3), ("vertex", "bedrock", 7), ("bedrock", "bedrock", 7)],
)
async def test_client_hears_pings_of_its_dialect_while_the_upstream_is_silent(
    bench: Bench, kind: str, dialect: str, events: int
) -> None:
    """A binary stream has no pings of its own; a client of the Messages API waits for them."""
    until = asyncio.Event()
    bench.clouds[kind].queue(faults.stalled(BLOCKS, events=events, until=until, binary=kind == "bedrock"))
    sent = write_request(dialect, asked(kind, dialect, stream=True))
    async with bench.gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
        got = b""
        while pings_in(dialect, got) < 3:
            got += await response.content.readany()
        until.set()
        got += await response.read()
    found = [event for event in read_events(dialect, got) if event["type"] != "ping"]
    assert text_of(found) == "Hello.More." and found[-1]["type"] == "message_stop"
    assert tool_calls_of(found) == [("Bash", {"command": "ls"})]


def pings_in(dialect: str, stream_so_far: bytes) -> int:
    return stream_so_far.count(base64.b64encode(b'{"type": "ping"}') if dialect == "bedrock" else b"event: ping\n")
