"""Asking a gateway over HTTP, and every way in which it does not answer."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from gateway.commands.client import GatewayClient, GatewayRefused, path_part
from gateway.commands.output import EXIT_FAILED, EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE, CommandFailed

CREDENTIAL = "rf_operator-credential"


class Answer(msgspec.Struct):
    """What the tests expect of a good answer."""

    value: int


@dataclass
class Gateway:
    """A gateway that says what it is told to, and remembers what it was asked."""

    status: int = 200
    body: bytes = b'{"value":1,"more":2}'
    headers: dict[str, str] = field(default_factory=dict[str, str])
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(
        default_factory=list[tuple[str, str, dict[str, str], bytes]]
    )
    url: str = ""
    broken: int = 0
    """Requests that it takes and does not answer."""

    def client(self, credential: str | None = CREDENTIAL) -> GatewayClient:
        return GatewayClient(self.url, credential)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    told = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            told.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if told.broken:
                told.broken -= 1
                self.close_connection = True
                return
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test looks at `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def test_question_carries_path_query_and_credential(gateway: Gateway) -> None:
    answer = gateway.client().read("/limits", Answer, account="user:a b", window=None)
    method, path, headers, _ = gateway.asked[0]
    assert answer.value == 1
    assert (method, path) == ("GET", "/ringfence/v1/limits?account=user%3Aa+b")
    assert headers["x-api-key"] == CREDENTIAL


def test_order_carries_its_body(gateway: Gateway) -> None:
    gateway.client().send(f"/fuses/{path_part('a/b ?')}/replace", {"reason": "é"}, Answer)
    method, path, headers, body = gateway.asked[0]
    assert (method, path) == ("POST", "/ringfence/v1/fuses/a%2Fb%20%3F/replace")
    assert json.loads(body) == {"reason": "é"} and headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not know this credential"),
        (403, "is no operator's"),
        (404, "answered 404: fuse x is unknown\ufffd[2J"),
        (500, "answered 500"),
        (302, "answered 302"),
    ],
)
def test_refusal_is_one_line_without_the_credential(gateway: Gateway, status: int, said: str) -> None:
    gateway.status = status
    gateway.headers = {"location": "http://127.0.0.1:1/elsewhere"}
    gateway.body = b'{"type":"error","error":{"type":"x","message":"fuse x is unknown\\u001b[2J"}}'
    with pytest.raises(CommandFailed) as failed:
        gateway.client().read("/fuses", Answer)
    assert said in failed.value.message and failed.value.exit_code == EXIT_REFUSED
    assert "\n" not in failed.value.message and CREDENTIAL not in failed.value.message
    assert len(gateway.asked) == 1


def test_missing_credential_is_asked_for(gateway: Gateway) -> None:
    gateway.status = 401
    with pytest.raises(CommandFailed, match="asks for a credential: set RINGFENCE_CREDENTIAL"):
        gateway.client(None).read("/fuses", Answer)
    assert "x-api-key" not in gateway.asked[0][2]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"value":"text"}'])
def test_answer_of_something_else_is_a_failure(gateway: Gateway, body: bytes) -> None:
    gateway.body = body
    with pytest.raises(CommandFailed, match="is it this gateway") as failed:
        gateway.client().read("/limits", Answer)
    assert failed.value.exit_code == EXIT_FAILED


def test_refusal_that_is_no_envelope_is_told_as_such(gateway: Gateway) -> None:
    gateway.status, gateway.body = 502, b"<html>"
    with pytest.raises(CommandFailed, match="answered 502: no reason given"):
        gateway.client().read("/limits", Answer)


def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(CommandFailed, match="is `ringfence serve` running there") as failed:
        GatewayClient("http://127.0.0.1:1").read("/limits", Answer)
    assert failed.value.exit_code == EXIT_UNREACHABLE


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "file:///etc/passwd", "http://", "http://["])
def test_url_that_is_none_is_wrong_usage(url: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        GatewayClient(url).read("/limits", Answer)
    assert failed.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("credential", ["two\nlines", "sp ace", "ü"])
def test_credential_that_no_header_carries_is_not_shown(credential: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        GatewayClient("http://127.0.0.1:1", credential).read("/limits", Answer)
    assert failed.value.exit_code == EXIT_USAGE and credential not in failed.value.message


def test_order_carries_a_key_of_its_own(gateway: Gateway) -> None:
    for _ in range(2):
        gateway.client().order("/runs", {}, Answer)
    keys = {headers["idempotency-key"] for _, _, headers, _ in gateway.asked}
    assert len(keys) == 2


def test_order_without_an_answer_is_sent_once_more_under_the_same_key(gateway: Gateway) -> None:
    gateway.broken = 1
    assert gateway.client().order("/runs", {"name": "a"}, Answer).value == 1
    (_, _, first, body), (_, _, second, again) = gateway.asked
    assert first["idempotency-key"] == second["idempotency-key"] and body == again
    gateway.broken = 2
    with pytest.raises(CommandFailed) as failed:
        gateway.client().order("/runs", {}, Answer)
    assert failed.value.exit_code == EXIT_UNREACHABLE


def test_refused_order_is_not_sent_again(gateway: Gateway) -> None:
    gateway.status, gateway.body = 409, b'{"error":{"type":"conflict_error","message":"no","code":"c"}}'
    with pytest.raises(GatewayRefused) as refused:
        gateway.client().order("/runs/wf_1/stop", {}, Answer)
    assert len(gateway.asked) == 1 and refused.value.status == 409 and refused.value.error["code"] == "c"


def test_copy_writes_what_came_and_tells_a_refusal(gateway: Gateway) -> None:
    gateway.body = b"x" * 200_000
    pieces: list[bytes] = []
    gateway.client().copy("/runs/wf_1/journal", pieces.append)
    assert b"".join(pieces) == gateway.body and len(pieces) > 1
    gateway.status = 404
    with pytest.raises(GatewayRefused, match="answered 404"):
        gateway.client().copy("/runs/wf_1/journal", pieces.append)


def test_reader_that_goes_away_is_not_taken_for_a_gateway_that_does(gateway: Gateway) -> None:
    def broken(_: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        gateway.client().copy("/runs/wf_1/journal", broken)
