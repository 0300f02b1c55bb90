"""Asking a gateway over HTTP, and every way in which it does not answer."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from gateway.commands.client import GatewayClient, path_part
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

    def client(self, credential: str | None = CREDENTIAL) -> GatewayClient:
        return GatewayClient(self.url, credential)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    told = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            told.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
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
