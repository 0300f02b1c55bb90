"""A real OPA server as a process of its own, or the reason why there is none. No test here.

`RINGFENCE_OPA` names the program, else `opa` on PATH, else what `scripts/opa` has built. With `RINGFENCE_REQUIRE_OPA=1`
a test that has none fails instead of being skipped.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
START_SECONDS = 20.0
PROBE_SECONDS = 0.02
LINES_KEPT = 500


@cache
def opa_program() -> str:
    """The program; skips the test, or fails it where there must be one."""
    built = sorted((ROOT / ".cache" / "tools").glob("opa-v*/opa"))
    found = os.environ.get("RINGFENCE_OPA") or shutil.which("opa") or (str(built[-1]) if built else None)
    if found is None:
        reason = "no OPA was found: scripts/opa builds it where Go is installed, RINGFENCE_OPA names one"
        if os.environ.get("RINGFENCE_REQUIRE_OPA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@dataclass(slots=True)
class Opa:
    """A server that takes questions. `lines` are the last ones of its log."""

    url: str
    process: "subprocess.Popen[str]"
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One call of its API; None when it answers nothing."""
        text = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        request = urllib.request.Request(self.url + path, text, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def call_if_possible(self, method: str, path: str) -> None:
        """As `call`, and a refusal is no failure."""
        try:
            self.call(method, path)
        except urllib.error.HTTPError as refused:
            refused.close()

    def policy_ids(self) -> set[str]:
        return {policy["id"] for policy in self.call("GET", "/v1/policies")["result"]}

    def stop(self) -> None:
        """At once, as if it had crashed."""
        self.process.kill()
        self.process.wait()

    def follow(self) -> None:
        """Read its log until it ends, so that it never waits for a reader."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def await_listening(self, port: int) -> None:
        """Until it takes connections."""
        for _ in range(round(START_SECONDS / PROBE_SECONDS)):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PROBE_SECONDS)
                break
        raise AssertionError(f"OPA did not start: {''.join(self.lines)}")


@contextlib.contextmanager
def opa_server(*arguments: str, port: int | None = None) -> Generator[Opa]:
    """A server on loopback, on any free port unless one is given."""
    chosen = port or free_port()
    address = f"127.0.0.1:{chosen}"
    command = [opa_program(), "run", "--server", f"--addr={address}", "--skip-version-check", "--log-level=info"]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    server = Opa(f"http://{address}", process)
    reader = threading.Thread(target=server.follow, name="opa log")
    reader.start()
    try:
        server.await_listening(chosen)
        yield server
    finally:
        server.stop()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
