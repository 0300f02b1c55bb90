"""Answers of clouds that fail before a stream began: what clients of every dialect are told, and what they cost."""

import dataclasses
import gzip
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.web.received import MESSAGE_BYTES_MAX
from tests.gateway.failing import DIALECTS, Bench, failing_clouds, spoken
from tests.support.clouds import faults
from tests.support.clouds.bedrock import bedrock_error
from tests.support.clouds.cloud import envelope
from tests.support.clouds.eventstream import event_stream_answer
from tests.support.clouds.vertex import google_error
from tests.support.dialects import read_error
from tests.support.upstream import Answer, json_answer, message, stream_answer, text_block, tool_block

BLOCKS = [text_block("Hello."), tool_block("Bash", {"command": "ls"})]
ELSEWHERE = "https://elsewhere.internal.example.net/v1/messages"
GOOGLE = {"error": {"code": 429, "message": "Resource exhausted.", "status": "RESOURCE_EXHAUSTED"}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
NAMING = f"role {faults.ARN} of project projects/{faults.PROJECT_NUMBER} is out of quota"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Case:
    """A failure of a kind of upstream, and what becomes of it. Status and type are those of the Messages API."""

    name: str
    kind: str
    answer: Callable[[], Answer]
    status: int
    error_type: str
    words: str
    """Part of what the client is told."""
    reason: str = "upstream_refused"
    money: str = "nothing"
    streams: tuple[bool, ...] = (False, True)

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def zipped(answer: Answer) -> Answer:
    """The answer compressed, though nobody asked for it."""
    whole = b"".join(chunk for chunk in answer.chunks if isinstance(chunk, bytes))
    return Answer(answer.status, (*answer.headers, ("content-encoding", "gzip")), [gzip.compress(whole)])


def oversized() -> Answer:
    """More than is taken of a whole answer."""
    return json_answer(b'{"type":"message","content":"' + b"x" * MESSAGE_BYTES_MAX + b'"}')


def cut_short(body: bytes, status: int = 200) -> Answer:
    """The connection ends within the body."""
    return Answer(status, (faults.JSON,), [body[:-9]], cut=True)


def azure_error() -> Answer:
    return json_answer({"error": {"code": "429", "message": NAMING}})


def anywhere(kind: str) -> list[Case]:
    """What can stand before any upstream."""
    broke: dict[str, Any] = {"reason": "upstream_broke", "money": "estimated"}
    whole: dict[str, Any] = {"streams": (False,)}
    streamed = event_stream_answer(BLOCKS) if kind == "bedrock" else stream_answer(BLOCKS)
    return [
        Case("page of a balancer", kind, faults.html_page, 502, "api_error", "failed"),
        Case("page in a 200", kind, lambda: faults.html_page(200), 502, "api_error", "no message", **broke),
        Case("page of a 404", kind, lambda: faults.html_page(404), 404, "not_found_error", "does not have"),
        Case(
            "redirect",
            kind,
            lambda: faults.redirected(ELSEWHERE),
            502,
            "api_error",
            "redirect (307)",
            reason="upstream_unreachable",
        ),
        Case("empty 200", kind, lambda: Answer(200, (faults.JSON,)), 502, "api_error", "no message", **broke),
        Case(
            "object that is no message",
            kind,
            lambda: json_answer({"detail": NAMING}),
            502,
            "api_error",
            "no message",
            **broke,
        ),
        Case("compressed 200", kind, lambda: faults.gzipped(BLOCKS), 502, "api_error", "'gzip'", **broke),
        Case("compressed stream", kind, lambda: zipped(streamed), 502, "api_error", "'gzip'", **broke),
        Case("too large", kind, oversized, 502, "api_error", "larger than", **broke, **whole),
        Case("cut within a 200", kind, lambda: cut_short(message(BLOCKS)), 502, "api_error", "broke off", **broke),
        Case("cut within a 400", kind, lambda: cut_short(b"x" * 99, 400), 400, "invalid_request_error", "rejected"),
        Case(
            "half a message", kind, lambda: json_answer(message(BLOCKS)[:-9]), 502, "api_error", "no message", **broke
        ),
        Case("stream to no stream", kind, lambda: streamed, 502, "api_error", "stream", **broke, **whole),
        Case(
            "no stream to a stream",
            kind,
            lambda: json_answer(message(BLOCKS)),
            502,
            "api_error",
            "stream",
            reason="upstream_broke",
            money="reported",
            streams=(True,),
        ),
    ]


BEDROCK = [
    ("throttled", faults.throttled, 429, "rate_limit_error", "Too many requests"),
    ("access denied", faults.access_denied, 403, "permission_error", "credential"),
    ("expired credentials", faults.expired_signature, 403, "permission_error", "the gateway's own credential"),
    ("no model on demand", faults.on_demand_refused, 400, "invalid_request_error", "on-demand throughput"),
    (
        "model not in this region",
        lambda: bedrock_error(404, "ResourceNotFoundException", f"Could not resolve {faults.ARN}."),
        404,
        "not_found_error",
        "does not have this model",
    ),
    (
        "unavailable",
        lambda: bedrock_error(503, "ServiceUnavailableException", f"try {faults.ARN} later"),
        529,
        "overloaded_error",
        "overloaded",
    ),
    ("compressed error", lambda: zipped(faults.throttled()), 429, "rate_limit_error", "Too many requests"),
    (
        "exception in a 200",
        lambda: faults.error_in_200({"__type": "ThrottlingException", "message": NAMING}),
        429,
        "rate_limit_error",
        "out of quota",
    ),
    (
        "envelope in a 200",
        lambda: faults.error_in_200(OVERLOADED),
        529,
        "overloaded_error",
        "Overloaded",
    ),
]
VERTEX = [
    ("throttled", faults.google_throttled, 429, "rate_limit_error", "Resource exhausted"),
    ("throttled in an array", lambda: faults.google_throttled(array=True), 429, "rate_limit_error", "exhausted"),
    ("denied", faults.google_denied, 403, "permission_error", "the gateway's own credential"),
    ("denied in an array", lambda: faults.google_denied(array=True), 403, "permission_error", "own credential"),
    ("expired token", faults.google_expired, 401, "authentication_error", "the gateway's own credential"),
    (
        "model not in this region",
        lambda: faults.model_not_in_region("claude-opus-4-8"),
        404,
        "not_found_error",
        "does not have this model",
    ),
    (
        "unavailable",
        lambda: google_error(503, "UNAVAILABLE", NAMING, array=True),
        529,
        "overloaded_error",
        "overloaded",
    ),
    ("compressed error", lambda: zipped(faults.google_throttled()), 429, "rate_limit_error", "Resource exhausted"),
    ("error in a 200", lambda: faults.error_in_200(GOOGLE), 429, "rate_limit_error", "Resource exhausted"),
    ("array in a 200", lambda: faults.error_in_200([GOOGLE]), 429, "rate_limit_error", "Resource exhausted"),
    ("envelope in a 200", lambda: faults.error_in_200(OVERLOADED), 529, "overloaded_error", "Overloaded"),
]
ANTHROPIC = [
    ("overloaded", lambda: envelope(529, "overloaded_error", "Overloaded"), 529, "overloaded_error", "Overloaded"),
    (
        "credential refused",
        lambda: envelope(401, "authentication_error", "invalid x-api-key"),
        401,
        "authentication_error",
        "the gateway's own credential",
    ),
    (
        "error that names an account",
        lambda: envelope(400, "invalid_request_error", NAMING),
        400,
        "invalid_request_error",
        "out of quota",
    ),
    (
        "compressed error",
        lambda: zipped(envelope(529, "overloaded_error", "Overloaded")),
        529,
        "overloaded_error",
        "Overloaded",
    ),
    ("envelope in a 200", lambda: faults.error_in_200(OVERLOADED), 529, "overloaded_error", "Overloaded"),
    ("another's error in a 200", azure_error, 502, "api_error", "failed"),
]
OWN = {"bedrock": BEDROCK, "vertex": VERTEX, "anthropic": ANTHROPIC}
CASES = [
    *(Case(name, kind, *rest) for kind, rows in OWN.items() for name, *rest in rows),
    *(case for kind in OWN for case in anywhere(kind)),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with failing_clouds(tmp_path_factory.mktemp("faults")) as opened:
        yield opened


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_failure_is_told_in_the_clients_dialect_and_settled(bench: Bench, case: Case, dialect: str) -> None:
    for stream in case.streams:
        outcome = await bench.ask(case.kind, dialect, case.answer(), stream=stream)

        spoken_as, body = heard(dialect, outcome.body)
        status, name = spoken(spoken_as, case.status, case.error_type)
        said_type, said = read_error(spoken_as, outcome.headers, body)
        assert (outcome.status, said_type.partition(":")[0], outcome.cut) == (status, name, False)
        assert case.words in said and outcome.leaks == []
        assert outcome.headers["content-type"].startswith("application/json")
        assert "content-encoding" not in outcome.headers
        assert outcome.headers["request-id"] and outcome.headers["x-ringfence-decision"].startswith("dec_")
        assert (outcome.record["reason"], outcome.money) == (case.reason, case.money)
        assert outcome.record["status"] == outcome.status


COUNTS = [
    ("page of a balancer", faults.html_page, 502, "api_error", "failed"),
    ("page in a 200", lambda: faults.html_page(200), 502, "api_error", "no count"),
    ("array in a 200", lambda: faults.error_in_200([GOOGLE]), 429, "rate_limit_error", "Resource exhausted"),
    ("envelope in a 200", lambda: faults.error_in_200(OVERLOADED), 529, "overloaded_error", "Overloaded"),
    ("compressed", lambda: zipped(json_answer({"input_tokens": 4, "inputTokens": 4})), 502, "api_error", "'gzip'"),
    ("cut off", lambda: cut_short(b'{"input_tokens": 41 }'), 502, "api_error", "broke off"),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", OWN)
async def test_count_that_fails_is_told_in_the_clients_dialect_and_costs_nothing(
    bench: Bench, kind: str, dialect: str
) -> None:
    for _, answer, status, error_type, words in COUNTS:
        outcome = await bench.count(kind, dialect, answer())
        said_type, said = read_error(dialect, outcome.headers, outcome.body)
        assert (outcome.status, said_type) == spoken(dialect, status, error_type)
        assert words in said and outcome.leaks == []
        assert (outcome.record["hold"], outcome.record["cost_nanousd"], outcome.held_nanousd) == (None, 0, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", ["bedrock", "vertex"])
async def test_headers_that_name_the_operators_account_stay_here(bench: Bench, kind: str, dialect: str) -> None:
    naming = (("x-amzn-bedrock-profile", faults.ARN), ("x-goog-quota", f"projects/{faults.PROJECT_NUMBER}/x"))
    streamed = event_stream_answer(BLOCKS) if kind == "bedrock" else stream_answer(BLOCKS)
    whole = json_answer(message(BLOCKS))
    refused = faults.throttled() if kind == "bedrock" else faults.google_throttled()
    for answer, status in ((streamed, 200), (whole, 200), (refused, 429)):
        told = dataclasses.replace(answer, headers=(*answer.headers, *naming, ("x-harmless", "kept")))
        outcome = await bench.ask(kind, dialect, told, stream=answer is streamed)
        assert (outcome.status, outcome.leaks) == (status, [])
        assert outcome.headers.get("x-harmless") == ("kept" if dialect == kind else None)


async def test_upstream_without_credentials_is_unreachable_in_every_dialect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clouds' own chains look for them and find none; nothing is sent, and nothing is paid."""
    (tmp_path / "aws").write_text("[default]\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    searching = {"bedrock": {"bearer": None}, "vertex": {"bearer": None}}
    async with failing_clouds(tmp_path, overrides=searching) as bench:
        for kind, dialect in itertools.product(searching, DIALECTS):
            outcome = await bench.ask(kind, dialect, faults.throttled(), stream=True)
            said_type, said = read_error(dialect, outcome.headers, outcome.body)
            assert (outcome.status, said_type) == spoken(dialect, 502, "api_error")
            assert f"'{kind}' has no usable credential" in said and outcome.leaks == []
            assert (outcome.record["reason"], outcome.money) == ("upstream_unreachable", "nothing")
        assert not any(bench.clouds[kind].received for kind in searching)


def heard(dialect: str, body: bytes) -> tuple[str, bytes]:
    """The dialect of an error that reached a client. On Google Cloud the model's own errors are those of the Messages
    API, and the platform's come in an array on methods that stream; clients of Vertex read all three."""
    found = json.loads(body)
    if dialect == "vertex" and isinstance(found, list):
        return dialect, json.dumps(found[0]).encode()
    return ("anthropic" if dialect == "vertex" and "type" in found else dialect), body
