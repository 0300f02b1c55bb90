"""The commands about agents at work, as typed: what each one asks the gateway."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.__main__ import main
from gateway.commands.output import EXIT_DONE, EXIT_FAILED, EXIT_USAGE

ADMIN = "/ringfence/v1"
DIGEST = "ab" * 32


@dataclass
class Gateway:
    """Says nothing that a command could read, and remembers what it was asked."""

    url: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list[tuple[str, str, Any]])

    def command(self, *arguments: str) -> int:
        return main([*arguments, "--url", self.url])


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    told = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            told.asked.append((self.command, self.path, json.loads(body) if body else None))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test looks at `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("RINGFENCE_CREDENTIAL", "rf_operator")
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("fuses list", "/fuses"),
        ("fuses show fuse_1", "/fuses/fuse_1"),
        ("sessions", "/sessions?limit=20"),
        ("sessions --limit 3", "/sessions?limit=3"),
        ("sessions show s1", "/sessions/s1"),
        ("sessions controls", "/controls"),
        ("approvals list", "/approvals?limit=20"),
        ("approvals list --state waiting --limit 2", "/approvals?state=waiting&limit=2"),
        ("approvals show apr_1", "/approvals/apr_1"),
        ("workflows list", "/scripts"),
    ],
)
def test_question_reads_its_path(typed: str, path: str, gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway.command(*typed.split()) == EXIT_FAILED
    assert gateway.asked == [("GET", ADMIN + path, None)]
    assert "is it this gateway?" in capsys.readouterr().err


def said(verdict: str, scope: str, why: str) -> dict[str, str]:
    return {"verdict": verdict, "scope": scope, "why": why}


def ordered(action: str, target: str) -> dict[str, str]:
    return {"action": action, "target": target, "reason": "loop"}


@pytest.mark.parametrize(
    ("typed", "path", "body"),
    [
        ("fuses replace fuse_1 --reason meant", "/fuses/fuse_1/replace", {"reason": "meant"}),
        ("sessions stop s1 --reason loop", "/controls", ordered("stop", "session:s1")),
        ("sessions hold s1 --agent a1 --reason loop", "/controls", ordered("hold", "agent:s1/a1")),
        ("sessions hold --run wf_1 --reason loop", "/controls", ordered("hold", "run:wf_1")),
        ("sessions stop --user bob --reason loop", "/controls", ordered("stop", "user:bob")),
        ("sessions release --team core --reason loop", "/controls", ordered("release", "team:core")),
        ("sessions release --everything --reason loop", "/controls", ordered("release", "org")),
        ("approvals approve apr_1", "/approvals/apr_1", said("approve", "once", "")),
        ("approvals approve apr_1 --scope always --why ok", "/approvals/apr_1", said("approve", "always", "ok")),
        ("approvals deny apr_1 --why no", "/approvals/apr_1", said("deny", "once", "no")),
        ("approvals revoke apr_1 --why over", "/approvals/apr_1", said("revoke", "once", "over")),
        (f"workflows approve {DIGEST} --why read", "/scripts", {"sha256": DIGEST, "why": "read"}),
        (f"workflows revoke {DIGEST} --why old", f"/scripts/{DIGEST}/revoke", {"why": "old"}),
    ],
)
def test_order_sends_its_body(typed: str, path: str, body: dict[str, str], gateway: Gateway) -> None:
    assert gateway.command(*typed.split()) == EXIT_FAILED
    assert gateway.asked == [("POST", ADMIN + path, body)]


@pytest.mark.parametrize(
    "typed",
    [
        "fuses replace fuse_1",
        "sessions stop s1",
        "sessions hold s1 --agent",
        "approvals",
        "approvals deny apr_1",
        "approvals approve apr_1 --scope ever",
        "approvals list --state open",
        "workflows approve",
        f"workflows approve {DIGEST}",
    ],
)
def test_order_without_its_reason_or_with_an_unknown_word_is_wrong_usage(typed: str, gateway: Gateway) -> None:
    with pytest.raises(SystemExit) as exited:
        gateway.command(*typed.split())
    assert exited.value.code == EXIT_USAGE and gateway.asked == []


@pytest.mark.parametrize("typed", ["sessions stop --reason loop", "sessions hold s1 --user bob --reason loop"])
def test_control_of_no_or_two_targets_is_wrong_usage(typed: str, gateway: Gateway) -> None:
    assert gateway.command(*typed.split()) == EXIT_USAGE
    assert gateway.asked == []


def test_script_is_profiled_without_a_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "sweep.js"
    script.write_text("export const meta = {name: 'sweep', description: 'sweeps'}\nawait agent('look')\n")
    assert main(["workflows", "profile", str(script), "--json"]) == EXIT_DONE
    told = json.loads(capsys.readouterr().out)
    assert told["profile"]["name"] == "sweep" and told["profile"]["agent_calls"] == 1
